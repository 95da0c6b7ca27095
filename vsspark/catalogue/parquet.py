"""Parquet files -> the catalogue's rows, without columns of a type that Spark does not read."""

from __future__ import annotations

import logging

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from vsspark.config import CatalogueConfig
from vsspark.errors import SchemaError
from vsspark.spark import session
from vsspark.storage.filesystems import PLAIN_PATHS, open_filesystem

log = logging.getLogger("vsspark")
_NANOS = "spark.sql.legacy.parquet.nanosAsLong"


def read_parquet(spark: SparkSession, config: CatalogueConfig) -> DataFrame:
    """The table's rows. Timestamps in nanoseconds, which pandas writes and Spark does not read, are left out and said;
    SchemaError where the settings name one.
    """
    path = config.table
    try:
        return spark.read.options(**PLAIN_PATHS).parquet(path)
    except PySparkException as error:
        if "NANOS" not in str(error):
            raise
    left_out = _columns_in_nanoseconds(spark, config.table)
    needed = {name.partition(".")[0] for name in config.columns.model_dump().values() if name} & set(left_out)
    if needed:
        raise SchemaError(f"catalogue.table={config.table}: column {min(needed)!r} is a time in nanoseconds")
    before = spark.conf.get(_NANOS)
    spark.conf.set(_NANOS, "true")  # to learn the other columns
    try:
        schema = spark.read.options(**PLAIN_PATHS).parquet(path).schema
    finally:
        spark.conf.set(_NANOS, before)
    names = ", ".join(map(repr, left_out))
    log.info("catalogue  %s is read without %s: times in nanoseconds", config.table, names)
    return (
        spark.read.options(**PLAIN_PATHS)
        .schema(StructType([f for f in schema.fields if f.name not in left_out]))
        .parquet(path)
    )


def _columns_in_nanoseconds(spark: SparkSession, table: str) -> list[str]:
    """Names of the top-level columns that hold such a time, by the first file's own schema."""
    files, name = open_filesystem(table, session.storage_options(spark))
    if files.get_file_info(name).type == fs.FileType.Directory:
        inside = files.get_file_info(fs.FileSelector(name, recursive=True))
        parts = [i.path for i in inside if i.type == fs.FileType.File and not i.base_name.startswith((".", "_"))]
        name = min(parts)
    with files.open_input_file(name) as file:
        schema = pq.read_schema(file)
    return [field.name for field in schema if _is_nanos(field.type)]


def _is_nanos(kind: pa.DataType) -> bool:
    if pa.types.is_timestamp(kind) or pa.types.is_time64(kind):
        return kind.unit == "ns"
    return any(_is_nanos(kind.field(i).type) for i in range(kind.num_fields))
