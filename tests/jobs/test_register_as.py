"""`output.register_as`: names and comments of the published tables in a metastore."""

from __future__ import annotations

import itertools

import pytest

from vsspark.config import OutputConfig
from vsspark.errors import ConfigError
from vsspark.job.register import VIEW, check_metastore, register_tables
from vsspark.schemas import TABLES
from vsspark.storage.store import Store


@pytest.fixture
def schema(spark):
    spark.sql("CREATE SCHEMA shop")
    yield "spark_catalog.shop"
    spark.sql("DROP SCHEMA shop CASCADE")


def _comments(spark, table: str) -> dict[str, str | None]:
    rows = itertools.takewhile(
        lambda row: row.col_name[:1] not in ("", "#"), spark.sql(f"DESCRIBE shop.{table}").collect()
    )
    return {row.col_name: row.comment for row in rows}


def test_every_table_and_every_column_is_described(spark, published, schema):
    store = Store(spark, OutputConfig(path=published[1]))
    versions = store.versions()
    for _ in range(2):  # every publish names them again
        register_tables(store, schema)
    names = {row.tableName for row in spark.sql("SHOW TABLES IN shop").collect()}
    assert names >= {"similar_products", "images", "embeddings", "quarantine", "neighbours", "runs", VIEW}
    assert not any(name.startswith("_") for name in names)
    for table in names - {VIEW}:
        assert _comments(spark, table) == {field.name: field.metadata["comment"] for field in TABLES[table].fields}
    assert all(_comments(spark, VIEW).values())
    top = spark.sql(f"SELECT count(*), max(rank) FROM shop.{VIEW}").first()
    assert tuple(top) == (spark.sql("SELECT 1 FROM shop.similar_products WHERE rank <= 5").count(), 5)
    assert Store(spark, OutputConfig(path=published[1])).versions() == versions


def test_the_name_of_another_table_is_not_taken(spark, published, schema):
    spark.sql("CREATE TABLE shop.images (id INT) USING DELTA")
    with pytest.raises(ConfigError, match=r"spark_catalog\.shop\.images is another table already, at file:"):
        register_tables(Store(spark, OutputConfig(path=published[1])), schema)


def test_a_metastore_that_ends_with_the_session_is_refused(spark):
    check_metastore(spark, None)
    with pytest.raises(ConfigError, match=r"spark_catalog\.shop.*catalogImplementation=hive"):
        check_metastore(spark, "spark_catalog.shop")
    with pytest.raises(ConfigError, match=r"nobody\.shop: there is no such schema; CREATE SCHEMA `nobody`\.`shop`"):
        check_metastore(spark, "nobody.shop")


@pytest.mark.parametrize("values", [{"register_as": "shop"}, {"register_as": "a.b.c"}, {"register_as": "a.b; DROP"}])
def test_a_place_has_a_catalog_and_a_schema(values):
    with pytest.raises(ValueError, match="register_as"):
        OutputConfig(**values)


def test_files_without_comments_are_not_named():
    with pytest.raises(ValueError, match="got format=parquet, expected delta"):
        OutputConfig(register_as="a.b", format="parquet")
