"""Reading without Spark gives what the store gives: versions, features of other writers, folders of odd names."""

from __future__ import annotations

import json

import pytest
from small_shop import RUN_ID, run_row

from vsspark.config import Config, OutputConfig
from vsspark.errors import StorageError
from vsspark.schemas import RUNS, SIMILAR_PRODUCTS
from vsspark.storage.reader import PublishedTables, delta_options
from vsspark.storage.store import Store

SCHEMA = "id long, run_id string"


@pytest.fixture(params=["delta", "parquet"])
def output(request, tmp_path):
    return OutputConfig(path=f"{tmp_path}/a shop's 100% größe/out", format=request.param)


def _ids(reader, table, run=None):
    return sorted(row["id"] for row in reader.read(table, run, ["id"]).to_pylist())


def _publish(store, run_id, versions=None, rows=1):
    lists = store.spark.createDataFrame([(None,) * 14 + (run_id, None)] * rows, SIMILAR_PRODUCTS).coalesce(1)
    store.publish("similar_products", lists, SIMILAR_PRODUCTS, run_id)
    config = json.dumps(Config().public())
    row = run_row() | {"run_id": run_id, "config": config, "versions": versions or store.versions()}
    store.write_run_row({name: row[name] for name in RUNS.names})


def test_the_published_run_and_its_tables(spark, output):
    store, reader = Store(spark, output), PublishedTables(output, {})
    with pytest.raises(StorageError, match="nothing is published below"):
        reader.published_run()
    first = spark.createDataFrame([(1, "a"), (2, "a")], SCHEMA)
    store.overwrite("images", first, first.schema, "a")
    _publish(store, RUN_ID)
    run = reader.published_run()
    assert (run["run_id"], run["status"]) == (RUN_ID, "published")
    assert run["config"]["knn"]["metric"] == "cosine"
    assert run["versions"] == store.versions()
    state = reader.publish_state()
    assert reader.publish_state() == state
    store.overwrite("images", spark.createDataFrame([(3, "b")], SCHEMA), first.schema, "b")
    assert _ids(reader, "images") == [3]
    assert _ids(reader, "images", run) == ([1, 2] if output.format == "delta" else [3])
    assert reader.publish_state() == state
    _publish(store, "another: run='x'")
    assert reader.publish_state() != state
    assert reader.published_run()["run_id"] == "another: run='x'"
    store.restore("similar_products", RUN_ID)
    assert reader.published_run()["run_id"] == RUN_ID


def test_a_run_without_rows_is_known_by_its_commit(spark, output):
    store, reader = Store(spark, output), PublishedTables(output, {})
    _publish(store, "empty", rows=0)
    assert reader.published_run()["run_id"] == "empty"


def test_columns_that_a_table_lacks_are_null_and_partitions_are_text(spark, output):
    store, reader = Store(spark, output), PublishedTables(output, {})
    _publish(store, "007")
    store.overwrite("embeddings", spark.createDataFrame([(1, "2")], "id long, model_version string"),
                    spark.createDataFrame([], "id long, model_version string").schema, "a", "model_version")  # fmt: skip
    table = reader.read("embeddings", None, ["id", "box", "model_version"], ("model_version", "2"))
    assert table.to_pylist() == [{"id": 1, "box": None, "model_version": "2"}]
    assert len(reader.read("embeddings", None, ["id", "box"], ("model_version", "3"))) == 0
    assert reader.published_run()["run_id"] == "007"


def test_deleted_rows_and_renamed_columns_are_read_as_delta_means_them(spark, tmp_path):
    output = OutputConfig(path=f"{tmp_path}/out")
    store, reader = Store(spark, output), PublishedTables(output, {})
    rows = spark.createDataFrame([(i, "a") for i in range(10)], SCHEMA).coalesce(1)
    store.overwrite("t", rows, rows.schema, "a")
    spark.sql(f"ALTER TABLE delta.`{store.path('t')}` SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')")
    spark.sql(f"DELETE FROM delta.`{store.path('t')}` WHERE id < 5")
    mapping = "'delta.columnMapping.mode' = 'name', 'delta.minReaderVersion' = '3', 'delta.minWriterVersion' = '7'"
    spark.sql(f"ALTER TABLE delta.`{store.path('t')}` SET TBLPROPERTIES ({mapping})")
    spark.sql(f"ALTER TABLE delta.`{store.path('t')}` RENAME COLUMN run_id TO run")
    assert reader.read("t", None, ["id", "run"]).sort_by("id").to_pylist() == [
        {"id": i, "run": "a"} for i in range(5, 10)
    ]


def test_a_version_that_is_gone_and_a_broken_log_are_said(spark, tmp_path):
    output = OutputConfig(path=f"{tmp_path}/out")
    store, reader = Store(spark, output), PublishedTables(output, {})
    rows = spark.createDataFrame([(1, "a")], SCHEMA)
    store.overwrite("images", rows, rows.schema, "a")
    with pytest.raises(StorageError, match=r"images, version 7 cannot be read: "):
        reader.read("images", {"status": "published", "versions": {"images": 7}}, ["id"])
    with pytest.raises(StorageError, match=r"nowhere does not exist"):
        reader.read("nowhere", None, ["id"])


def test_settings_of_a_bucket_as_delta_takes_them():
    assert delta_options("/a/b", {"fs.s3a.endpoint": "x"}) == {}
    own = {
        "fs.s3a.endpoint": "localhost:9000",
        "fs.s3a.connection.ssl.enabled": "false",
        "fs.s3a.access.key": "k",
        "fs.s3a.secret.key": "s",
        "fs.s3a.bucket.shop.secret.key": "of the shop",
        "fs.s3a.path.style.access": "true",
    }
    assert delta_options("s3a://shop/out", own) == {
        "aws_endpoint_url": "http://localhost:9000",
        "aws_region": "us-east-1",
        "aws_access_key_id": "k",
        "aws_secret_access_key": "of the shop",
        "aws_allow_http": "true",
        "aws_virtual_hosted_style_request": "false",
    }
    assert delta_options("s3a://other/out", {}) == {}


def test_a_folder_that_deltalake_would_take_for_another_is_refused(tmp_path):
    with pytest.raises(StorageError, match=r"output\.path=.*/100%25.*give it another name"):
        PublishedTables(OutputConfig(path=f"{tmp_path}/100%25/out"), {})
