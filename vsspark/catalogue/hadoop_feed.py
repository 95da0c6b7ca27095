"""Text feeds on stores that only Spark reaches, such as hdfs:// and gs://: a file is one row of Spark's, one task."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from vsspark.catalogue.csv_chunks import Chunk, decoded
from vsspark.catalogue.csv_dialect import Layout
from vsspark.catalogue.csv_records import read_pages
from vsspark.catalogue.text_feed import EXTRA, HEAD, distinct, layout_of, record_batches
from vsspark.config import CatalogueConfig
from vsspark.errors import ConfigError, SchemaError
from vsspark.storage.filesystems import PLAIN_PATHS


def read_through_spark(spark: SparkSession, config: CatalogueConfig) -> DataFrame:
    """The feed's columns as text, and EXTRA. Raises ConfigError where there is no file."""
    files = spark.read.options(**PLAIN_PATHS).format("binaryFile").load(config.table)
    first = files.orderBy("path").select("path", F.substring("content", 1, HEAD + 1).alias("head")).first()
    if first is None:
        raise ConfigError(f"catalogue.table={config.table} cannot be read: there is no file with rows")
    columns = distinct(_layout(bytes(first.head), first.path, config).columns, config.table)
    schema = StructType([*[StructField(name, StringType()) for name in columns], *EXTRA])
    rows = files.orderBy("path").select("path", "content")
    return rows.mapInArrow(partial(read_contents, config, columns), schema)


def read_contents(
    config: CatalogueConfig, columns: list[str], batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Rows of the files. batches: path, content. Raises SchemaError for a file with another number of columns."""
    for batch in batches:
        for path, content in zip(batch.column(0).to_pylist(), batch.column(1), strict=True):
            data = content.as_py()
            layout = _layout(data[: HEAD + 1], path, config)
            if len(layout.columns) != len(columns):
                raise SchemaError(f"catalogue.table={path} has {len(layout.columns)} columns, expected {len(columns)}")
            text = decoded(io.BytesIO(data), layout.body, None, layout.dialect.encoding)
            for page in read_pages(text, layout.dialect, len(columns), layout.body_line):
                yield from record_batches(page, columns, Chunk(path, 0, -1, 1))


def _layout(head: bytes, path: str, config: CatalogueConfig) -> Layout:
    return layout_of(head[:HEAD], len(head) <= HEAD, path, config)
