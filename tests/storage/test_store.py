from __future__ import annotations

import json
import os
import time

import duckdb
import pytest
from deltalake import DeltaTable
from pyspark.sql.types import LongType, StringType, StructField, StructType

from vsspark.config import OutputConfig
from vsspark.errors import SchemaError, StorageError
from vsspark.storage.store import Store

SCHEMA = StructType([StructField("id", LongType()), StructField("run_id", StringType())])


@pytest.fixture(params=["delta", "parquet"])
def store(spark, tmp_path, request):
    return Store(spark, OutputConfig(path=f"{tmp_path}/out", format=request.param))


def _frame(spark, ids, run_id):
    return spark.createDataFrame([(run_id, i) for i in ids], "run_id string, id long")


def _ids(store, table):
    return sorted(r.id for r in store.read(table).collect())


def test_overwrite_replaces_everything_and_orders_the_columns(spark, store):
    store.overwrite("t", _frame(spark, [1, 2], "a"), SCHEMA, "a")
    store.overwrite("t", _frame(spark, [3], "b"), SCHEMA, "b")
    assert store.read("t").columns == ["id", "run_id"]
    assert _ids(store, "t") == [3]


def test_replace_touches_only_its_own_rows_and_twice_is_harmless(spark, store):
    store.replace("t", _frame(spark, [1, 2], "20260101"), SCHEMA, by="run_id", value="20260101", run_id="20260101")
    for _ in range(2):
        store.replace("t", _frame(spark, [3, 4], "20260102"), SCHEMA, by="run_id", value="20260102", run_id="20260102")
    store.replace("t", _frame(spark, [5], "20260101"), SCHEMA, by="run_id", value="20260101", run_id="20260101")
    assert {(r.id, r.run_id) for r in store.read("t").collect()} == {(5, "20260101"), (3, "20260102"), (4, "20260102")}


@pytest.mark.parametrize("form", ["delta", "parquet"])
def test_names_with_characters_that_paths_escape(spark, tmp_path, form):
    store = Store(spark, OutputConfig(path=f"{tmp_path}/a%20b c", format=form))
    rows = {(1, "scheduled__2026-01-01T00:00:00+00:00"), (2, "a=b")}
    for number, run_id in rows:
        store.replace("t", _frame(spark, [number], run_id), SCHEMA, by="run_id", value=run_id, run_id=run_id)
    assert {(r.id, r.run_id) for r in store.read("t").collect()} == rows


def test_replacing_rows_by_none_leaves_none(spark, store):
    store.replace("t", _frame(spark, [1], "a"), SCHEMA, by="run_id", value="a", run_id="a")
    store.replace("t", _frame(spark, [2], "b:1"), SCHEMA, by="run_id", value="b:1", run_id="b:1")
    store.replace("t", _frame(spark, [], "b:1"), SCHEMA, by="run_id", value="b:1", run_id="b:1")
    assert _ids(store, "t") == [1]


def test_a_delta_table_is_not_replaced_by_a_parquet_one(spark, tmp_path):
    Store(spark, OutputConfig(path=f"{tmp_path}/out")).overwrite("t", _frame(spark, [1], "a"), SCHEMA, "a")
    with pytest.raises(StorageError, match=r"out/t is a Delta table"):
        Store(spark, OutputConfig(path=f"{tmp_path}/out", format="parquet")).overwrite(
            "t", _frame(spark, [2], "b"), SCHEMA, "b"
        )
    assert _ids(Store(spark, OutputConfig(path=f"{tmp_path}/out")), "t") == [1]


def test_published_runs_come_back(spark, store):
    assert store.published_runs("t") == []
    assert store.current_run("t") is None
    for ids, run_id in (([1], "one"), ([2], "two"), ([3], "three")):
        store.publish("t", _frame(spark, ids, run_id), SCHEMA, run_id)
    assert store.published_runs("t") == ["three", "two", "one"]
    store.restore("t", "one")
    assert _ids(store, "t") == [1]
    assert store.published_runs("t") == ["three", "two", "one"]
    assert store.current_run("t") == "one"
    store.restore("t", "three")
    assert _ids(store, "t") == [3]
    with pytest.raises(StorageError, match="no published run four; it has three"):
        store.restore("t", "four")


def test_other_readers_see_the_current_run(spark, store):
    store.publish("t", _frame(spark, [1], "one"), SCHEMA, "one")
    store.publish("t", _frame(spark, [2, 3], "two"), SCHEMA, "two")
    if store.format == "delta":
        table = DeltaTable(store.path("t"))
        assert sorted(table.to_pyarrow_table()["id"].to_pylist()) == [2, 3]
        assert [json.loads(h["userMetadata"])["run_id"] for h in table.history()] == ["two", "one"]
    else:
        assert sorted(duckdb.sql(f"select id from read_parquet('{store.path('t')}/*.parquet')").fetchall()) == [
            (2,),
            (3,),
        ]


def test_a_wrong_schema_lists_every_mismatch(spark, store):
    with pytest.raises(SchemaError, match=r"t: run_id is missing; id is string, expected bigint"):
        store.overwrite("t", spark.createDataFrame([("x",)], "id string"), SCHEMA, "a")


def test_a_table_nobody_wrote_says_what_to_do(store):
    with pytest.raises(
        StorageError, match=r"table embeddings does not exist below output\.path=.*run the stage that writes it first"
    ):
        store.read("embeddings")


def test_an_output_that_cannot_be_written_is_named(spark, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"output\.path=.*file/out cannot be written"):
        Store(spark, OutputConfig(path=f"{tmp_path}/file/out")).check_writable()


def test_staging_is_invisible_and_goes(spark, store):
    staged = store.stage("run/1", "part", _frame(spark, [1], "a"))
    assert staged.count() == 1
    assert not store.exists("part")
    store.drop_staging()
    with pytest.raises(Exception, match=r"PATH_NOT_FOUND|does not exist"):
        spark.read.parquet(store.staging("run/1", "part")).count()


@pytest.mark.parametrize(("created_with", "days", "stays"), [(2, 2, False), (2, 5, True), (5, 2, False)])
def test_vacuum_keeps_as_many_days_as_are_configured_now(spark, tmp_path, created_with, days, stays):
    path = f"{tmp_path}/out"
    Store(spark, OutputConfig(path=path, keep_days=created_with)).overwrite(
        "images", _frame(spark, [1, 2], "a"), SCHEMA, "a"
    )
    store = Store(spark, OutputConfig(path=path, keep_days=days))
    left_behind = tmp_path / "out" / "images" / "part-00000-left-by-a-killed-write.snappy.parquet"
    left_behind.write_bytes(b"")
    long_ago = time.time() - 3 * 86_400
    os.utime(left_behind, (long_ago, long_ago))
    store.vacuum()  # nothing in the log is as old as that: the table's files are not even listed
    assert left_behind.exists()
    longer_ago = time.time() - 6 * 86_400
    os.utime(tmp_path / "out" / "images" / "_delta_log" / "00000000000000000000.json", (longer_ago, longer_ago))
    store.vacuum()
    assert left_behind.exists() is stays
    assert _ids(store, "images") == [1, 2]
