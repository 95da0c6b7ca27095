"""The main job with its pictures and its tables in an object store: moto's server, asked over HTTP by Spark and by
the Python workers.
"""

from __future__ import annotations

import socket
import subprocess
import sys

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from invariants import check, connect
from shops import arguments, draw_shop
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from jobs import query, recommend
from vsspark.knn import index_copy

KEYS = {"access": "testing", "secret": "canary-secret"}


def _settings(endpoint):
    return {
        "fs.s3a.endpoint": endpoint,
        "fs.s3a.endpoint.region": "us-east-1",
        "fs.s3a.path.style.access": "true",
        "fs.s3a.connection.ssl.enabled": "false",
        "fs.s3a.access.key": KEYS["access"],
        "fs.s3a.secret.key": KEYS["secret"],
    }


@pytest.fixture
def store(spark):
    """Endpoint of a running S3 server whose bucket `shop` is empty; Spark knows it for the time of the test."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # A process of its own: a reader that keeps the interpreter lock while it waits would starve a server thread.
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], **quiet)
    endpoint = f"http://127.0.0.1:{port}"
    settings = _settings(endpoint)
    hadoop = spark.sparkContext._jsc.hadoopConfiguration()
    for key, value in settings.items():
        hadoop.set(key, value)
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=KEYS["access"],
        aws_secret_access_key=KEYS["secret"],
        region_name="us-east-1",
    )
    for attempt in Retrying(
        stop=stop_after_delay(60),
        wait=wait_fixed(0.2),
        retry=retry_if_exception_type(EndpointConnectionError),
        reraise=True,
    ):
        with attempt:
            client.create_bucket(Bucket="shop")
    yield endpoint, client
    for key in settings:
        hadoop.unset(key)
    server.terminate()
    server.wait()


def test_pictures_and_tables_in_a_bucket(spark, store, tmp_path, capfd, monkeypatch):
    endpoint, client = store
    rows = draw_shop(tmp_path, products=5, images=1)
    for row in rows[:-1]:
        client.upload_file(str(tmp_path / row["photo"]), "shop", f"photos/new season/{row['photo']}")
    own = arguments(
        tmp_path, "s3a://shop/tables", "catalogue.images_root=s3a://shop/photos/new season", "gate.max_quarantined=0.5"
    )
    own += ["--set", f"spark.hadoop.fs.s3a.secret.key={KEYS['secret']}"]
    assert recommend.main([*own, "--run-id", "s3"]) == 0
    options = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": KEYS["access"],
        "AWS_SECRET_ACCESS_KEY": KEYS["secret"],
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }
    con = connect("s3://shop/tables", options)
    check(con, 5, "s3")
    assert con.execute("select reason, uri from quarantine").fetchall() == [
        ("missing", f"s3a://shop/photos/new season/{rows[-1]['photo']}")
    ]
    own_picture = f"s3a://shop/photos/new season/{rows[0]['photo']}"
    # A query starts no Spark: it has what the config says, not what this session was told.
    asked = [
        *own,
        *(part for item in _settings(endpoint).items() for part in ("--set", "spark.hadoop.{}={}".format(*item))),
    ]
    monkeypatch.setattr(index_copy, "_COPIES", tmp_path / "copies")
    for _ in range(2):
        capfd.readouterr()
        assert query.main([*asked, "--k", "2", own_picture]) == 0
    caught = capfd.readouterr()
    assert "not used" not in caught.err  # the index: copied once, then found
    assert list(tmp_path.glob("copies/*/tiles/*.arrow"))
    assert [line.split()[:2] for line in caught.out.splitlines() if own_picture in line][1:] == [["1", "P00"]]
    assert "canary-secret" not in "".join(caught)
    config, message = con.execute("select config, message from runs").fetchone()
    assert '"hadoop.fs.s3a.secret.key": "***"' in config
    assert message is None
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"mlflow.db", "report.html"} <= {path.name for path in written}
    assert [path for path in written if b"canary-secret" in path.read_bytes()] == []
