"""Calls into Spark's JVM, through names that PySpark keeps private (`_jvm`, `_jsc`, `_gateway`). Everything else uses
PySpark's public interface: ruff's SLF001 refuses private names.

Tried on PySpark 4.2.0. Spark Connect has none of these names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from py4j.java_gateway import JavaPackage
from py4j.protocol import Py4JJavaError
from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession


def runs() -> bool:
    """Whether there is a JVM already: spark-submit has started it, or an earlier session of this process."""
    return "PYSPARK_GATEWAY_PORT" in os.environ or SparkContext._gateway is not None


def start(properties: Mapping[str, str]) -> None:
    """Starts the JVM with these properties of Spark, or joins the one that runs; only then does SparkConf() have
    spark-submit's settings.
    """
    conf = SparkConf(loadDefaults=False)
    for key, value in properties.items():
        conf.set(key, value)
    SparkContext._ensure_initialized(conf=conf)


def submitted_settings() -> dict[str, str]:
    """Spark's settings as spark-submit was given them, its defaults file included."""
    start({})
    return dict(SparkConf().getAll())


def has_class(spark: SparkSession, name: str) -> bool:
    """Whether the driver's JVM finds a class, given with its package."""
    place = spark._jvm
    for part in name.split("."):
        place = getattr(place, part)
    return not isinstance(place, JavaPackage)


def print_error(message: str) -> None:
    """Writes to the JVM's stderr: spark-submit pipes Python's own into its stdout."""
    SparkContext._ensure_initialized()
    SparkContext._jvm.System.err.println(message)


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


def stored_credentials(spark: SparkSession, settings: Mapping[str, str]) -> dict[str, str]:
    """The `fs.s3a.` secrets in Hadoop's credential files (JCEKS) that these settings name; a bucket's own file gives
    secrets of that bucket. Holds secrets: never log it.
    """
    security = spark._jvm.org.apache.hadoop.security.alias.CredentialProviderFactory
    secrets: dict[str, str] = {}
    for key, paths in settings.items():
        if not key.endswith("security.credential.provider.path"):
            continue
        place = key.removesuffix("security.credential.provider.path")
        conf = spark._jvm.org.apache.hadoop.conf.Configuration(hadoop_configuration(spark))
        conf.set(security.CREDENTIAL_PROVIDER_PATH, paths)
        try:
            entries = {
                alias: "".join(provider.getCredentialEntry(alias).getCredential())
                for provider in security.getProviders(conf)
                for alias in provider.getAliases()
                if alias.startswith("fs.s3a.")
            }
        except Py4JJavaError:
            continue  # who needs its keys refuses it by name, see `storage.s3`; others need not be able to read it
        for alias, secret in entries.items():
            general = place == "hadoop." or alias.startswith("fs.s3a.bucket.")
            secrets[alias if general else place + alias.removeprefix("fs.s3a.")] = secret
    return secrets
