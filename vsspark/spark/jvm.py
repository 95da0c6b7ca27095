"""Calls into Spark's JVM, through names that PySpark keeps private (`_jvm`, `_jsc`, `_gateway`). Everything else uses
PySpark's public interface: ruff's SLF001 refuses private names.

Tried on PySpark 4.2.0. Spark Connect has none of these names.
"""

from __future__ import annotations

from pyspark import SparkContext
from pyspark.sql import SparkSession


def start() -> None:
    """Starts the JVM or joins the one of spark-submit; only then does SparkConf() have spark-submit's settings."""
    SparkContext._ensure_initialized()


def packages(spark: SparkSession):
    """The root of Java's packages: `packages(spark).org.apache.hadoop.fs.Path(path)`."""
    return spark._jvm


def hadoop_configuration(spark: SparkSession):
    """Hadoop's settings as the driver has them, core-site.xml included; `spark.conf` has only Spark's own."""
    return spark.sparkContext._jsc.hadoopConfiguration()


def partition_folder(spark: SparkSession, column: str, value: str) -> str:
    """The name of the folder that Spark writes a partition's files to, unusual characters escaped."""
    names = packages(spark).org.apache.spark.sql.catalyst.catalog.ExternalCatalogUtils
    return f"{column}={names.escapePathName(value)}"


def drop_connection() -> None:
    """Closes this thread's connection to the JVM; the next call opens another."""
    connection = SparkContext._gateway._gateway_client.get_thread_connection()
    if connection is not None:
        connection.close()
