"""The lease that stands for a run's lock in an object store: one holder at a time, renewed while it lives, free when
it has died.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from datetime import date
from pathlib import Path

import pytest
from py4j.protocol import Py4JJavaError
from pyspark.sql import functions as F

from vsspark.config import load_config
from vsspark.errors import StorageError
from vsspark.job.run import Run
from vsspark.schemas import IMAGES, NEIGHBOURS, QUARANTINE, SIMILAR_PRODUCTS, TABLES, complete
from vsspark.storage import lock
from vsspark.storage.files import Files
from vsspark.storage.lock import OutputLock
from vsspark.storage.store import Store

sys.path.insert(0, str(Path(__file__).parents[1] / "images"))
from unreliable_store import KEYS, s3_server

# A bucket of its own: Hadoop keeps the client of one it knows, and with it the server's port.
ROOT = "s3a://leases/tables"


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


def _holder(client, folder: str = "tables") -> str:
    return client.get_object(Bucket="leases", Key=f"{folder}/_lock")["Body"].read().decode()


def test_a_lease_keeps_others_out_until_it_ends_or_is_no_longer_renewed(spark, bucket, monkeypatch):
    monkeypatch.setattr(lock, "_RENEW_S", 0.5)
    monkeypatch.setattr(lock, "_SETTLE_S", 0.2)
    first, second = OutputLock(spark, ROOT, "first"), OutputLock(spark, ROOT, "second")
    first.acquire()
    written = Files(spark).modified(f"{ROOT}/_lock")
    with pytest.raises(
        StorageError, match=r"run first \(process \d+ on .*\) is writing below output.path=s3a://leases/tables"
    ):
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


@pytest.mark.parametrize("skew_s", [-3600, 3600])
def test_a_live_lease_is_kept_whatever_the_clock_of_this_machine_says(spark, bucket, monkeypatch, skew_s):
    first, second = OutputLock(spark, f"{ROOT}-skew", "first"), OutputLock(spark, f"{ROOT}-skew", "second")
    first.acquire()
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + skew_s)
    with pytest.raises(StorageError, match="run first"):
        second.acquire()
    assert not first.lost()
    first.release()


def test_of_two_runs_that_take_over_a_lease_at_once_one_has_it(spark, bucket, monkeypatch):
    monkeypatch.setattr(lock, "_SETTLE_S", 0.2)
    dead = OutputLock(spark, f"{ROOT}-duel", "dead")
    dead.acquire()
    _stop_renewing(dead)
    monkeypatch.setattr(lock, "LEASE_S", 2.0)
    time.sleep(4)  # S3 tells the time in whole seconds
    runs, refused = [OutputLock(spark, f"{ROOT}-duel", name) for name in ("left", "right")], []

    def take_over(run):
        try:
            run.acquire()
        except StorageError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=take_over, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    holder = json.loads(_holder(bucket, "tables-duel"))
    assert [run.token for run in runs if run._renewing is not None] == [holder["token"]]
    for run in runs:
        run.release()


def _stop_renewing(held: OutputLock) -> None:
    """As if the machine slept."""
    held._over.set()
    held._renewing.join()


def _images(spark, ids, when: Path | None = None):
    """Rows of `images`; when: writing them waits until this file is there."""

    @F.udf("string")
    def late(name):
        while not when.exists():
            time.sleep(0.1)
        return name

    rows = spark.createDataFrame([(i, f"P{i}") for i in ids], "image_id long, product_id string").coalesce(1)
    types = {field.name: field.dataType for field in IMAGES.fields if field.name not in rows.columns}
    rows = rows.withColumns({name: F.lit(None).cast(kind) for name, kind in types.items()})
    return rows.withColumn("product_id", late("product_id")) if when else rows


def _enter(run: Run) -> Run:
    """A run that does not end with the lines below a `with`."""
    return run.__enter__()


def test_a_run_that_has_lost_its_lease_writes_nothing(spark, bucket, monkeypatch, tmp_path):
    """A write that is on its way when another run takes over, and every kind of write after that."""
    monkeypatch.setattr(lock, "_SETTLE_S", 0.2)
    output = f"{ROOT}-lost"
    config = load_config(None, [f"output.path={output}"])
    Store(spark, config.output).overwrite("images", _images(spark, [1]), IMAGES, "before")
    slow = _enter(Run(spark, config, "same-name", date(2026, 1, 1)))
    _stop_renewing(slow.lock)
    refused = []

    def publish_slowly():
        try:
            lists = _lists(_images(spark, [2], tmp_path / "go"))
            slow.store.publish("similar_products", lists, SIMILAR_PRODUCTS, "slow")
        except StorageError as error:
            refused.append(str(error))

    on_its_way = threading.Thread(target=publish_slowly)
    on_its_way.start()
    time.sleep(3)
    monkeypatch.setattr(lock, "LEASE_S", 0.0)
    quick = _enter(Run(spark, config, "same-name", date(2026, 1, 1)))
    (tmp_path / "go").touch()
    on_its_way.join()
    assert len(refused) == 1
    assert "run same-name has taken over" in refused[0]
    # The same name, and still not the same files.
    staged = quick.store.stage("same-name", "rows", _images(spark, [3]))
    quick.store.overwrite("images", staged, IMAGES, "quick")
    for table, schema in (("quarantine", QUARANTINE), ("neighbours", NEIGHBOURS)):
        nothing = spark.createDataFrame([], schema)
        with pytest.raises(StorageError, match="has taken over"):
            slow.store.overwrite(table, nothing, schema, "slow")
    slow.store.stage("same-name", "rows", _images(spark, [4]))
    with pytest.raises(StorageError, match="run same-name has taken over"):
        slow.__exit__(None, None, None)
    assert staged.first().image_id == 3
    reader = Store(spark, config.output)
    assert [row.image_id for row in reader.read("images").collect()] == [3]
    assert reader.current_run("similar_products") is None
    assert reader.run_row("same-name") is None
    assert not quick.lock.lost()
    quick.__exit__(None, None, None)
    assert reader.run_row("same-name")["status"] == "staged"


def _lists(images):
    rows = images.withColumn("run_id", F.lit("slow"))
    return complete(rows, SIMILAR_PRODUCTS)


def test_delta_skips_the_later_commits_of_a_run_that_was_revoked(spark, bucket, monkeypatch):
    """Even one that begins later, where the run stood still between its look at the lease and its write."""
    config = load_config(None, [f"output.path={ROOT}-revoked"])
    slow = OutputLock(spark, f"{ROOT}-revoked", "slow")
    store = Store(spark, config.output, slow)
    store.overwrite("images", _images(spark, [1]), IMAGES, "slow")
    Store(spark, config.output).revoke([slow.token])
    for table in ("images", "neighbours"):  # one that was there, and one that was not
        nothing = spark.createDataFrame([], TABLES[table])
        with pytest.raises(StorageError, match=f"{table}: another writer has committed"):
            store.overwrite(table, nothing, TABLES[table], "slow")
    assert [row.image_id for row in Store(spark, config.output).read("images").collect()] == [1]
    assert Store(spark, config.output).read("neighbours").count() == 0


def test_who_died_before_it_had_revoked_the_run_before_it_is_revoked_with_it(spark, bucket, monkeypatch):
    monkeypatch.setattr(lock, "_SETTLE_S", 0.2)
    locks = [OutputLock(spark, f"{ROOT}-chain", str(number)) for number in range(3)]
    locks[0].acquire()
    _stop_renewing(locks[0])
    monkeypatch.setattr(lock, "LEASE_S", 0.0)
    assert locks[1].acquire() == [locks[0].token]
    _stop_renewing(locks[1])
    assert locks[2].acquire() == [locks[0].token, locks[1].token]
    locks[2].release()


@pytest.mark.slow
def test_a_run_that_has_lost_its_lease_clears_nothing_away(spark, bucket, monkeypatch):
    monkeypatch.setattr(lock, "_SETTLE_S", 0.2)
    monkeypatch.setattr(lock, "LEASE_S", 0.0)
    output, files, others = f"{ROOT}-cleared", Files(spark), []

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
    elsewhere = {
        "endpoint": "http://127.0.0.1:1",
        "attempts.maximum": "1",
        "retry.limit": "0",
        "connection.establish.timeout": "1s",
    }
    for key, value in elsewhere.items():
        hadoop.set(f"fs.s3a.bucket.nobody.{key}", value)
    with pytest.raises(Py4JJavaError):
        Files(spark).modified("s3a://nobody/tables/_lock")


def test_a_text_is_created_once(spark, bucket, tmp_path):
    for path in (f"{ROOT}/note", f"{tmp_path}/note"):
        assert Files(spark).create_text(path, "mine")
        assert not Files(spark).create_text(path, "yours")
        assert Files(spark).read_text(path) == "mine"
