"""Credentials planted in the configuration of runs that fail: neither the log, nor `runs`, nor any file below the
output says them.
"""

from __future__ import annotations

import json

import pytest
from shops import arguments, draw_shop

from jobs import recommend
from vsspark.config import load_config
from vsspark.storage.store import Store

CANARY = "canary-7f3a"
PLANTED = (
    f"spark.hadoop.fs.s3a.secret.key={CANARY}-1",
    f"spark.hadoop.fs.s3a.access.key={CANARY}-2",
    f"spark.hadoop.fs.s3a.bucket.shop.session.token={CANARY}-3",
    f"spark.ssl.keyStorePassword={CANARY}-4",
    f"spark.executor.extraJavaOptions=-Djavax.net.ssl.trustStorePassword={CANARY}-5",
)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (f"mlflow.tracking_uri=http://me:{CANARY}-6@127.0.0.1:9", "mlflow.tracking_uri=http://***@127.0.0.1:9"),
        (
            f"catalogue.table=https://me:{CANARY}-7@127.0.0.1:9/shop.csv",
            "catalogue.table=https://***@127.0.0.1:9/shop.csv",
        ),
    ],
)
def test_a_failed_run_keeps_its_secrets(spark, tmp_path, capfd, monkeypatch, fault, says):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    draw_shop(tmp_path, products=2, images=1)
    output = str(tmp_path / "out")
    assert recommend.main([*arguments(tmp_path, output, *PLANTED, fault), "--run-id", "unlucky"]) == 2
    caught = "".join(capfd.readouterr())
    assert says in caught
    assert CANARY not in caught
    row = Store(spark, load_config(None, [f"output.path={output}"]).output).run_row("unlucky")
    assert (row["status"], says in row["message"]) == ("failed", True)
    assert CANARY not in str(row)
    assert json.loads(row["config"])["spark"]["hadoop.fs.s3a.secret.key"] == "***"
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in written if CANARY.encode() in path.read_bytes()] == []
