"""The lease that stands for a run's lock in an object store: one holder at a time, renewed while it lives, free when it has died."""

from __future__ import annotations

import sys
import time
from datetime import date
from pathlib import Path

import pytest
from py4j.protocol import Py4JJavaError

from vsspark import lock
from vsspark.config import load_config
from vsspark.errors import StorageError
from vsspark.lock import OutputLock
from vsspark.run import Run
from vsspark.store.files import Files

sys.path.insert(0, str(Path(__file__).parents[1] / "images"))
from unreliable_store import KEYS, s3_server

ROOT = "s3a://leases/tables"  # a bucket of its own: Hadoop keeps the client of one it knows, and with it the server's port


@pytest.fixture(scope="module")
def bucket(spark):
    """A client of the server that Spark knows for the time of these tests."""
    hadoop = spark.sparkContext._jsc.hadoopConfiguration()
    with s3_server() as (port, client):
        client.create_bucket(Bucket="leases")
        settings = {
            "fs.s3a.endpoint": f"http://127.0.0.1:{port}",
            "fs.s3a.endpoint.region": "us-east-1",
            "fs.s3a.path.style.access": "true",
            "fs.s3a.connection.ssl.enabled": "false",
            "fs.s3a.access.key": KEYS["access"],
            "fs.s3a.secret.key": KEYS["secret"],
        }
        for key, value in settings.items():
            hadoop.set(key, value)
        yield client
        for key in settings:
            hadoop.unset(key)


def _holder(client) -> str:
    return client.get_object(Bucket="leases", Key="tables/_lock")["Body"].read().decode()


def test_a_lease_keeps_others_out_until_it_ends_or_is_no_longer_renewed(spark, bucket, monkeypatch):
    monkeypatch.setattr(lock, "_RENEW_S", 0.5)
    monkeypatch.setattr(lock, "_SETTLE_S", 0.2)
    first, second = OutputLock(spark, ROOT, "first"), OutputLock(spark, ROOT, "second")
    first.acquire()
    written = Files(spark).modified(f"{ROOT}/_lock")
    with pytest.raises(StorageError, match=r"run first \(process \d+ on .*\) is writing below output.path=s3a://leases/tables"):
        second.acquire()
    time.sleep(2)
    assert Files(spark).modified(f"{ROOT}/_lock") > written  # S3 tells the time in whole seconds
    first.release()
    assert Files(spark).modified(f"{ROOT}/_lock") is None
    second.acquire()
    assert '"second"' in _holder(bucket)
    # As if the machine had slept: nobody renews, and another run takes the lease over.
    second._over.set()
    second._renewing.join()
    third = OutputLock(spark, ROOT, "third")
    with pytest.raises(StorageError, match="run second"):
        third.acquire()
    monkeypatch.setattr(lock, "LEASE_S", 0.0)
    third.acquire()
    third.check()
    with pytest.raises(StorageError, match="run third has taken over"):
        second.check()
    assert second.lost()
    assert not third.lost()
    second.release()
    assert '"third"' in _holder(bucket)  # a lease that was lost is not given back by its loser
    third.release()
    assert Files(spark).modified(f"{ROOT}/_lock") is None


@pytest.mark.slow
def test_a_run_that_has_lost_its_lease_clears_nothing_away(spark, bucket, monkeypatch):
    monkeypatch.setattr(lock, "_SETTLE_S", 0.2)
    monkeypatch.setattr(lock, "LEASE_S", 0.0)
    output, files, others = f"{ROOT}-lost", Files(spark), []

    def interrupted() -> None:
        with Run(spark, load_config(None, [f"output.path={output}"]), "slow", date(2026, 1, 1)) as run:
            run.lock._over.set()  # as if the machine slept: nobody renews
            run.lock._renewing.join()
            others.append(OutputLock(spark, output, "quick"))
            others[0].acquire()
            files.write_text(run.store.staging("quick", "rows"), "rows")
            run.lock.check()

    with pytest.raises(StorageError, match="run quick has taken over"):
        interrupted()
    assert files.read_text(f"{output}/_staging/quick/rows") == "rows"
    assert not others[0].lost()
    others[0].release()


def test_a_store_that_does_not_answer_has_not_said_that_nobody_is_there(spark, bucket):
    hadoop = spark.sparkContext._jsc.hadoopConfiguration()
    elsewhere = {"endpoint": "http://127.0.0.1:1", "attempts.maximum": "1", "retry.limit": "0", "connection.establish.timeout": "1s"}
    for key, value in elsewhere.items():
        hadoop.set(f"fs.s3a.bucket.nobody.{key}", value)
    with pytest.raises(Py4JJavaError):
        Files(spark).modified("s3a://nobody/tables/_lock")


def test_a_text_is_created_once(spark, bucket, tmp_path):
    for path in (f"{ROOT}/note", f"{tmp_path}/note"):
        assert Files(spark).create_text(path, "mine")
        assert not Files(spark).create_text(path, "yours")
        assert Files(spark).read_text(path) == "mine"
