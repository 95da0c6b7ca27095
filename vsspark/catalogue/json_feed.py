"""JSON lines, and records that are written as such: one object a line -> the catalogue's rows.

Numbers stay the text that they are; objects are structs, lists arrays. Lines that are no object are set aside with
their numbers, as those of a text feed are.
"""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from vsspark.catalogue.csv_dialect import Dialect, Layout, find_encoding
from vsspark.catalogue.text_feed import EXTRA, REASON, TEXT, Source, find_files, read_head, read_records
from vsspark.config import CatalogueConfig
from vsspark.errors import DataQualityError
from vsspark.spark import session
from vsspark.storage.filesystems import PLAIN_PATHS

OBJECT, _CORRUPT = "object", "__vsspark_corrupt"
_SHOWN = 1000
_NUMBERS_AS_TEXT = {"primitivesAsString": "true"}


def read_json_feed(spark: SparkSession, config: CatalogueConfig) -> DataFrame:
    """A column for every key of the objects, and EXTRA. A file that is one list of objects is read in one task."""
    source = Source(session.storage_options(spark))
    files = find_files(config.table, source)
    layouts = []
    for path, _ in files:
        head, _ = read_head(path, source)
        bom, encoding = find_encoding(head, config.csv, path)
        if head[len(bom) :].decode(encoding, "replace").lstrip().startswith("["):
            reader = spark.read.options(multiLine="true", mode="FAILFAST", **_NUMBERS_AS_TEXT, **PLAIN_PATHS)
            return reader.json(config.table)
        # No separator, no quote: a record is a line.
        layouts.append(Layout(Dialect(encoding, "\x1f", "", ""), (OBJECT,), len(bom), 1, ()))
    return from_objects(spark, read_records(spark, source, files, layouts, [OBJECT]), config)


def from_objects(spark: SparkSession, lines: DataFrame, config: CatalogueConfig) -> DataFrame:
    """A column for every key that an object has, and EXTRA. lines: a column of JSON objects, and EXTRA."""
    found = spark.read.options(columnNameOfCorruptRecord=_CORRUPT, **_NUMBERS_AS_TEXT).json(lines.select(OBJECT))
    fields = [field for field in found.schema.fields if field.name != _CORRUPT]
    if not fields:
        raise DataQualityError(f"catalogue.table={config.table} holds no JSON object")
    schema = StructType([*fields, StructField(_CORRUPT, StringType())])
    parsed = F.from_json(F.col(OBJECT), schema, {"columnNameOfCorruptRecord": _CORRUPT})
    rows = lines.withColumn("_parsed", parsed)
    corrupt = F.col("_parsed")[_CORRUPT]
    no_object = F.when(corrupt.isNotNull(), F.lit("no JSON object"))
    return rows.select(
        *[F.when(corrupt.isNull(), F.col("_parsed")[field.name]).alias(field.name) for field in fields],
        *[name for name in EXTRA.names if name not in (REASON, TEXT)],
        F.coalesce(REASON, no_object).alias(REASON),
        F.coalesce(TEXT, F.left(corrupt, F.lit(_SHOWN))).alias(TEXT),
    ).select(*[field.name for field in fields], *EXTRA.names)
