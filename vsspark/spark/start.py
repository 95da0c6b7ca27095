"""What must be said before the driver's JVM starts: its memory, its options, its jars."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pyspark
from pyspark import SparkConf
from pyspark.errors import PySparkRuntimeError
from pyspark.sql import SparkSession

from vsspark.errors import ConfigError
from vsspark.masking import mask_text
from vsspark.spark import jvm
from vsspark.spark.versions import delta_package

log = logging.getLogger("vsspark")

# Spark reads them when the JVM starts, and never again.
_AT_START = (
    "spark.driver.memory",
    "spark.driver.extraJavaOptions",
    "spark.driver.defaultJavaOptions",
    "spark.driver.extraClassPath",
    "spark.driver.extraLibraryPath",
    "spark.jars",
    "spark.jars.packages",
    "spark.jars.excludes",
    "spark.jars.repositories",
    "spark.jars.ivy",
    "spark.jars.ivySettings",
)
_DELTA_CLASS = "io.delta.tables.DeltaTable"


def start_jvm(properties: Mapping[str, str]) -> None:
    """Starts the driver's JVM with what `properties` say of it, and with Delta's jars where nobody has given any.

    Raises ConfigError for a setting that comes too late, because spark-submit or an earlier session has started the
    JVM with another value, and where no JVM can be started. No other property is handed over here: a command line can
    be read by every user of the machine.
    """
    at_start = {key: value for key, value in properties.items() if key in _AT_START}
    if jvm.runs():
        jvm.start({})
        _refuse_late(at_start)
        return
    if not _names_delta(at_start):
        package = delta_package()
        log.info("spark      no jars of Delta are set up: spark.jars.packages gets %s", package)
        others = at_start.get("spark.jars.packages")
        at_start["spark.jars.packages"] = f"{others},{package}" if others else package
        # Spark has a Hadoop already; Delta's own would be 87 MB more.
        at_start.setdefault("spark.jars.excludes", "org.apache.hadoop:hadoop-client-runtime")
    if not sys.stderr.isatty():
        # Spark's launcher takes Python for a shell and turns its progress bars on: noise in a log file.
        at_start["spark.ui.showConsoleProgress"] = "false"
    try:
        jvm.start(at_start)
    except (PySparkRuntimeError, OSError) as error:
        packages = at_start.get("spark.jars.packages")
        fetching = f"; it was to fetch {packages} (spark.jars.packages)" if packages else ""
        raise ConfigError(
            f"Spark's JVM did not start: {str(error).strip().splitlines()[0]} The lines above say why{fetching}. "
            "It needs a Java 17 or 21 runtime (PATH or JAVA_HOME)"
        ) from None


def check_delta(spark: SparkSession) -> None:
    """Raises ConfigError where this Spark has no Delta."""
    if not jvm.has_class(spark, _DELTA_CLASS):
        raise ConfigError(f"this Spark has no jars of Delta: add `--packages {delta_package()}` to spark-submit")


def _refuse_late(at_start: Mapping[str, str]) -> None:
    now = SparkConf()
    for key, value in at_start.items():
        if now.get(key, None) != value:
            raise ConfigError(
                f"spark: {key}={mask_text(value)} comes too late: the JVM runs already, with "
                f"{mask_text(str(now.get(key, 'nothing')))}; give it to spark-submit as --conf {key}=..."
            )


def _names_delta(properties: Mapping[str, str]) -> bool:
    """Whether Delta's jars are named in the settings, in Spark's own defaults, or lie in its folder."""
    home = Path(os.environ.get("SPARK_HOME") or pyspark.__path__[0])
    defaults = Path(os.environ.get("SPARK_CONF_DIR") or home / "conf") / "spark-defaults.conf"
    named = [properties.get("spark.jars", ""), properties.get("spark.jars.packages", "")]
    named.append(os.environ.get("PYSPARK_SUBMIT_ARGS", ""))
    if defaults.exists():
        lines = defaults.read_text(encoding="utf-8").splitlines()
        named += [line for line in lines if line.strip().startswith(("spark.jars", "spark.driver.extraClassPath"))]
    return any("delta-spark" in text for text in named) or any((home / "jars").glob("delta-spark*.jar"))
