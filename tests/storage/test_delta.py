"""Delta tables as other tools leave them, and going back to a published run: all tables or none."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

import pytest
import small_shop
from delta.tables import DeltaTable
from pyspark.sql import functions as F
from pyspark.sql.types import LongType, StringType, StructField, StructType

from vsspark import __version__
from vsspark.config import OutputConfig
from vsspark.errors import StorageError
from vsspark.schemas import IMAGES
from vsspark.storage.lock import OutputLock
from vsspark.storage.store import Store

SCHEMA = StructType([StructField("id", LongType()), StructField("run_id", StringType())])
BESIDE = ("images", "neighbours", "_searched")


@pytest.fixture
def path(tmp_path):
    return f"{tmp_path}/out"


@pytest.fixture
def store(spark, path):
    return Store(spark, OutputConfig(path=path))


def _frame(spark, ids, run_id):
    return spark.createDataFrame([(i, run_id) for i in ids], SCHEMA).coalesce(1)


def _ids(store, table, version=None):
    return sorted(row.id for row in store.read(table, version).collect())


def test_rows_deleted_by_deletion_vectors_are_not_read(spark, store):
    store.overwrite("t", _frame(spark, range(10), "a"), SCHEMA, "a")
    spark.sql(f"ALTER TABLE delta.`{store.path('t')}` SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')")
    spark.sql(f"DELETE FROM delta.`{store.path('t')}` WHERE id < 5")
    assert _ids(store, "t") == [5, 6, 7, 8, 9]
    assert _ids(store, "t", 0) == list(range(10))
    store.replace("t2", _frame(spark, [1], "a"), SCHEMA, by="run_id", value="a", run_id="a")
    store.overwrite("t", _frame(spark, [1], "b"), SCHEMA, "b")
    assert _ids(store, "t") == [1]


def test_a_session_that_maps_columns_by_default(spark, store):
    spark.conf.set("spark.databricks.delta.properties.defaults.columnMapping.mode", "name")
    try:
        store.overwrite("t", _frame(spark, [1, 2], "a"), SCHEMA, "a")
        store.replace("p", _frame(spark, [1], "a"), SCHEMA, by="run_id", value="a", run_id="a")
        store.replace("p", _frame(spark, [2], "b"), SCHEMA, by="run_id", value="b", run_id="b")
        store.overwrite("t", _frame(spark, [3], "b"), SCHEMA, "b")
    finally:
        spark.conf.unset("spark.databricks.delta.properties.defaults.columnMapping.mode")
    assert _ids(store, "t") == [3]
    assert _ids(store, "p") == [1, 2]


def test_a_table_that_was_compacted_or_has_a_renamed_column(spark, store):
    for run_id in "abc":
        store.replace("t", _frame(spark, [ord(run_id)], run_id), SCHEMA, by="run_id", value=run_id, run_id=run_id)
    DeltaTable.forPath(spark, store.path("t")).optimize().executeCompaction()
    assert _ids(store, "t") == [97, 98, 99]
    mapping = "'delta.columnMapping.mode' = 'name', 'delta.minReaderVersion' = '2', 'delta.minWriterVersion' = '5'"
    spark.sql(f"ALTER TABLE delta.`{store.path('t')}` SET TBLPROPERTIES ({mapping})")
    spark.sql(f"ALTER TABLE delta.`{store.path('t')}` RENAME COLUMN id TO number")
    assert sorted(row.number for row in store.read("t").collect()) == [97, 98, 99]


def test_a_run_reads_what_it_has_written_whatever_others_commit(spark, path):
    lock = OutputLock(spark, path, "a")
    run, other = Store(spark, OutputConfig(path=path), lock), Store(spark, OutputConfig(path=path))
    lock.acquire()
    run.overwrite("images", _frame(spark, [1], "a"), SCHEMA, "a")
    other.overwrite("images", _frame(spark, [2], "b"), SCHEMA, "b")
    assert _ids(run, "images") == [1]
    assert run.versions() == {"images": 0}
    assert _ids(other, "images") == [2]
    lock.release()


@pytest.mark.parametrize("there", [True, False], ids=["there", "new"])
def test_a_commit_on_its_way_fails_when_its_run_is_revoked(spark, path, tmp_path, there):
    reader = Store(spark, OutputConfig(path=path))
    if there:
        reader.overwrite("images", _images(spark, 1), IMAGES, "before")
    lock = OutputLock(spark, path, "slow")
    run, go, errors = Store(spark, OutputConfig(path=path), lock), tmp_path / "go", []

    @F.udf("string")
    def late(name):
        while not go.exists():
            time.sleep(0.05)
        return name

    def write():
        try:
            run.overwrite("images", _images(spark, 2).withColumn("uri", late("uri")), IMAGES, "slow")
        except StorageError as error:
            errors.append(str(error))

    thread = threading.Thread(target=write)
    thread.start()
    time.sleep(2)
    reader.revoke([lock.token])
    go.touch()
    thread.join()
    assert len(errors) == 1
    assert "another writer has committed" in errors[0]
    assert [row.image_id for row in reader.read("images").collect()] == ([1] if there else [])


def _images(spark, number):
    row = (number, f"P{number}", "a.jpg", 0, *[None] * 12)
    return spark.createDataFrame([row], IMAGES).coalesce(1)


def _night(spark, store, run_id, ids):
    """What a run leaves, in small: tables of two columns, and its row of `runs`."""
    for table in (*BESIDE, "embeddings"):
        store.overwrite(table, _frame(spark, ids, run_id), SCHEMA, run_id)
    versions = store.publish("similar_products", _frame(spark, ids, run_id), SCHEMA, run_id, store.versions())
    store.write_run_row(small_shop.run_row() | {"run_id": run_id, "versions": versions})


@pytest.fixture(scope="module")
def two_nights(spark, tmp_path_factory):
    """A folder with the tables of runs one and two; a test works on a copy."""
    folder = tmp_path_factory.mktemp("nights") / "out"
    store = Store(spark, OutputConfig(path=str(folder)))
    _night(spark, store, "one", [1])
    _night(spark, store, "two", [1, 2])
    return folder


def test_going_back_is_all_or_nothing(two_nights, store, path):
    shutil.copytree(two_nights, path)
    before = {table: store.read(table).collect() for table in (*BESIDE, "similar_products")}
    versions = store.versions()
    last = store.read("similar_products", store.run_row("one")["versions"]["similar_products"]).inputFiles()[0]
    os.rename(last.removeprefix("file:"), f"{path}/away")  # as VACUUM removes it
    gone = "similar_products cannot go back to run one, version 0: 1 of its 1 files are gone"
    with pytest.raises(StorageError, match=gone):
        store.restore("similar_products", "one")
    assert store.versions() == versions
    os.rename(f"{path}/away", last.removeprefix("file:"))
    new = store.restore("similar_products", "one")
    assert new == {table: version for table, version in store.versions().items() if table != "embeddings"}
    assert all(_ids(store, table) == [1] for table in before)
    assert _ids(store, "embeddings") == [1, 2]  # it only grows: what is in it is right for every run
    assert store.current_run("similar_products") == "one"


def test_a_restore_that_fails_half_way_is_taken_back(spark, two_nights, path):
    """The commit to the second of four tables cannot be made: the one before it is taken back."""
    shutil.copytree(two_nights, path)
    reader = Store(spark, OutputConfig(path=path))
    log = Path(path) / "neighbours" / "_delta_log"
    newest = max(log.glob("*.json"))
    taken = log / f"{int(newest.stem) + 1:020d}.json"
    taken.mkdir()  # a commit that cannot be made: its name is a folder's
    with pytest.raises(StorageError, match="neighbours cannot go back to run one"):
        reader.restore("similar_products", "one")
    taken.rmdir()
    fresh = Store(spark, OutputConfig(path=path))
    assert all(_ids(fresh, table) == [1, 2] for table in (*BESIDE, "similar_products"))


def test_what_is_published_is_known_when_the_log_has_forgotten_it(spark, store, path):
    """A run is published for longer than the log is kept, while other commits go on."""
    _night(spark, store, "one", [1])
    table = store.path("similar_products")
    spark.sql(f"ALTER TABLE delta.`{table}` SET TBLPROPERTIES ('delta.checkpointInterval' = '2')")
    long_ago = time.time() - 60 * 86_400
    for file in Path(table, "_delta_log").glob("*"):
        os.utime(file, (long_ago, long_ago))
    for number in range(4):
        spark.sql(f"ALTER TABLE delta.`{table}` SET TBLPROPERTIES ('number' = '{number}')")
    log = spark._jvm.org.apache.spark.sql.delta.DeltaLog.forTable(spark._jsparkSession, table)
    nothing = spark._jvm.scala.Option.empty()
    log.doLogCleanup(log.update(False, nothing, nothing), nothing)
    assert not Path(table, "_delta_log", f"{0:020d}.json").exists()
    assert store.current_run("similar_products") == "one"
    assert store.published_runs("similar_products") == ["one"]
    assert store.published_run()["run_id"] == "one"


def test_finished_work_is_not_shared_between_releases(store):
    assert __version__ in store.work("embedded/model")
