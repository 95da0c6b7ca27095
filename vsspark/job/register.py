"""Names the published tables in the session's metastore, so that BI finds them as catalog.schema.table."""

from __future__ import annotations

from collections.abc import Iterator

from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession

from vsspark.errors import ConfigError
from vsspark.schemas import SIMILAR_PRODUCTS, TABLES
from vsspark.storage.store import Store

VIEW = "top_similar_products"
_TOP = 5
_VIEW_COLUMNS = (
    "product_id",
    "surface",
    "rank",
    "similar_product_id",
    "similarity",
    "category",
    "price",
    "similar_price",
)


def check_metastore(spark: SparkSession, place: str | None) -> None:
    """Raises ConfigError where the metastore ends with the session, or has no such schema. place: catalog.schema."""
    if place is None:
        return
    catalog = place.split(".")[0]
    if catalog == "spark_catalog" and spark.conf.get("spark.sql.catalogImplementation") != "hive":
        raise ConfigError(
            f"output.register_as={place}: this session's metastore ends with it; "
            "set spark.sql.catalogImplementation=hive and say where the metastore is"
        )
    try:
        known = spark.catalog.databaseExists(_quoted(place))
    except AnalysisException:
        known = False
    if not known:
        raise ConfigError(f"output.register_as={place}: there is no such schema; CREATE SCHEMA {_quoted(place)} first")


def register_tables(store: Store, place: str) -> None:
    """Every table below output.path that readers may look at, and the view of the first places.

    A table's columns have their comments from `vsspark.schemas`: Delta keeps them. Nothing is written below
    output.path. Raises ConfigError where a name belongs to another table.
    """
    for table in _readable(store):
        name, path = f"{_quoted(place)}.{table}", store.path(table)
        store.spark.sql(f"CREATE TABLE IF NOT EXISTS {name} USING DELTA LOCATION '{_literal(path)}'")
        location = store.spark.sql(f"DESCRIBE DETAIL {name}").first().location
        if _plain(location) != _plain(path):
            raise ConfigError(f"output.register_as: {place}.{table} is another table already, at {location}")
    comments = {field.name: field.metadata["comment"] for field in SIMILAR_PRODUCTS.fields}
    columns = ", ".join(f"{name} COMMENT '{_literal(comments[name])}'" for name in _VIEW_COLUMNS)
    store.spark.sql(
        f"CREATE OR REPLACE VIEW {_quoted(place)}.{VIEW} ({columns}) "
        f"COMMENT 'the first {_TOP} of every list of similar_products' AS "
        f"SELECT {', '.join(_VIEW_COLUMNS)} FROM {_quoted(place)}.similar_products WHERE rank <= {_TOP}"
    )


def _readable(store: Store) -> Iterator[str]:
    return (table for table in TABLES if not table.startswith("_") and store.exists(table))


def _quoted(place: str) -> str:
    return ".".join(f"`{part}`" for part in place.split("."))


def _literal(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _plain(path: str) -> str:
    """A local path without the scheme that Spark puts before it."""
    return "/" + path.removeprefix("file:").lstrip("/") if path.startswith(("file:", "/")) else path
