"""The main job with its pictures and its tables in an object store: moto's server, asked over HTTP by Spark and by the Python workers."""

from __future__ import annotations

import boto3
import pytest
from invariants import check, connect
from moto.server import ThreadedMotoServer
from shops import arguments, draw_shop

from jobs import recommend

KEYS = {"access": "testing", "secret": "canary-secret"}


@pytest.fixture
def store(spark):
    """Endpoint of a running S3 server whose bucket `shop` is empty; Spark knows it for the time of the test."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    settings = {
        "fs.s3a.endpoint": endpoint,
        "fs.s3a.endpoint.region": "us-east-1",
        "fs.s3a.path.style.access": "true",
        "fs.s3a.connection.ssl.enabled": "false",
        "fs.s3a.access.key": KEYS["access"],
        "fs.s3a.secret.key": KEYS["secret"],
    }
    hadoop = spark.sparkContext._jsc.hadoopConfiguration()
    for key, value in settings.items():
        hadoop.set(key, value)
    client = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=KEYS["access"], aws_secret_access_key=KEYS["secret"], region_name="us-east-1")
    client.create_bucket(Bucket="shop")
    yield endpoint, client
    for key in settings:
        hadoop.unset(key)
    server.stop()


def test_pictures_and_tables_in_a_bucket(spark, store, tmp_path, capfd):
    endpoint, client = store
    rows = draw_shop(tmp_path, products=5, images=1)
    for row in rows[:-1]:
        client.upload_file(str(tmp_path / row["photo"]), "shop", f"photos/new season/{row['photo']}")
    own = arguments(tmp_path, "s3a://shop/tables", "catalogue.images_root=s3a://shop/photos/new season", "gate.max_quarantined=0.5")
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
    assert con.execute("select reason, uri from quarantine").fetchall() == [("missing", f"s3a://shop/photos/new season/{rows[-1]['photo']}")]
    assert "canary-secret" not in "".join(capfd.readouterr())
