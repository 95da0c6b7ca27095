"""The catalogue's table in any format -> its rows as they are."""

from __future__ import annotations

import os
import re

from delta.tables import DeltaTable
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from vsspark.catalogue.hadoop_feed import read_through_spark
from vsspark.catalogue.json_feed import read_json_feed
from vsspark.catalogue.parquet import read_parquet
from vsspark.catalogue.text_feed import is_text_feed, read_text_feed, stem
from vsspark.config import CatalogueConfig
from vsspark.errors import ConfigError, VssparkError, raised_in_task
from vsspark.storage.filesystems import S3_SCHEMES, split_uri

_ENDINGS = {
    "json": (".json", ".jsonl", ".ndjson"),
    "excel": (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"),
    "merchant_xml": (".xml", ".rss", ".atom"),
}
_IDENTIFIER = re.compile(r"(?:[A-Za-z_]\w*|`[^`]+`)(?:\.(?:[A-Za-z_]\w*|`[^`]+`)){0,2}")


def read_catalogue(spark: SparkSession, config: CatalogueConfig) -> DataFrame:
    """The catalogue's rows as they are. Cells of text feeds are text, and lines of theirs that cannot be read are rows
    too, see `text_feed`.

    Raises ConfigError when there is no such table.
    """
    try:
        return _READERS[table_format(spark, config)](spark, config)
    except (PySparkException, Py4JJavaError) as error:
        raise unreadable(config, error) from None


def table_format(spark: SparkSession, config: CatalogueConfig) -> str:
    """The format of the settings, or the one that the table's name shows."""
    path = config.table
    if config.format != "auto":
        return config.format
    if path.startswith("jdbc:"):
        return "jdbc"
    if DeltaTable.isDeltaTable(spark, path):
        return "delta"
    if is_text_feed(path):
        return "csv"
    for name, endings in _ENDINGS.items():
        if stem(path).endswith(endings):
            return name
    if _IDENTIFIER.fullmatch(path) and not os.path.exists(path) and spark.catalog.tableExists(path):
        return "table"
    return "parquet"


def unreadable(config: CatalogueConfig, error: Exception) -> VssparkError:
    """The one message for a table that Spark cannot read: no such file, no such format, a broken file; or the error of
    ours that ended a task."""
    known = raised_in_task(error)
    if known is not None:
        return known
    # A file system that lists nothing, such as https://, says nothing either.
    message = str(getattr(error, "java_exception", None) or error).strip()
    cause = message.splitlines()[0] if message else type(error).__name__
    return ConfigError(
        f"catalogue.table={config.table} cannot be read: {cause}; expected CSV (*.csv, *.tsv), JSON lines, a workbook "
        "(*.xlsx), a Google Merchant feed (*.xml), a Delta folder, Parquet, jdbc:... or a table of the metastore"
    )


def _read_jdbc(spark: SparkSession, config: CatalogueConfig) -> DataFrame:
    if not config.query:
        raise ConfigError("catalogue.query: needed with catalogue.table=jdbc:..., a table's name or SELECT ...")
    what = "query" if re.match(r"(?i)\s*(select|with)\b", config.query) else "dbtable"
    return spark.read.format("jdbc").options(**config.options, url=config.table, **{what: config.query}).load()


def _read_sheet(spark: SparkSession, config: CatalogueConfig) -> DataFrame:
    from vsspark.catalogue.sheet_feed import read_sheet_feed  # python-calamine is an extra

    return read_sheet_feed(spark, config)


def _read_merchant(spark: SparkSession, config: CatalogueConfig) -> DataFrame:
    from vsspark.catalogue.merchant_feed import read_merchant_feed  # lxml is an extra

    return read_merchant_feed(spark, config)


def _read_text(spark: SparkSession, config: CatalogueConfig) -> DataFrame:
    scheme, _ = split_uri(config.table)
    if scheme == "file" or scheme in S3_SCHEMES:
        return read_text_feed(spark, config)
    return read_through_spark(spark, config)


_READERS = {
    "csv": _read_text,
    "json": read_json_feed,
    "excel": _read_sheet,
    "merchant_xml": _read_merchant,
    "parquet": read_parquet,
    "delta": lambda spark, config: spark.read.format("delta").load(config.table),
    "jdbc": _read_jdbc,
    "table": lambda spark, config: spark.table(config.table),
}
