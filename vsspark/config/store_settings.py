"""Hadoop's settings of object storage for a process that starts no Spark: from where Spark itself would take them.

Later ones win: core-site.xml in HADOOP_CONF_DIR, spark-defaults.conf, what spark-submit was given, the config's
`spark:` section.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

from vsspark.errors import ConfigError

S3_OPTIONS = (
    "fs.s3a.endpoint",
    "fs.s3a.endpoint.region",
    "fs.s3a.access.key",
    "fs.s3a.secret.key",
    "fs.s3a.session.token",
    "fs.s3a.path.style.access",
    "fs.s3a.connection.ssl.enabled",
    "fs.s3a.aws.credentials.provider",
    "fs.s3a.proxy.host",
    "fs.s3a.proxy.port",
    "fs.s3a.proxy.username",
    "fs.s3a.proxy.password",
    "fs.s3a.proxy.ssl.enabled",
    # Refused by name where a bucket is read with them: see `storage.s3`.
    "fs.s3a.requester.pays.enabled",
    "fs.s3a.encryption.algorithm",
    "fs.s3a.server-side-encryption-algorithm",
    "fs.s3a.security.credential.provider.path",
    "hadoop.security.credential.provider.path",
)
PER_BUCKET = "fs.s3a.bucket."
_HADOOP = "spark.hadoop."
_LINE = re.compile(r"\s*([^\s=:#!]+)\s*[=:\s]\s*(.*?)\s*$")  # of a Java properties file


def storage_options(
    properties: Mapping[str, str | int | float | bool], submitted: Mapping[str, str] | None = None
) -> dict[str, str]:
    """What `session.storage_options` gives of a session with these properties. Holds secrets: never log it.

    properties: the config's `spark:` section. submitted: what spark-submit was given, `SparkConf().getAll()`, with its
    defaults file in it; None = nobody has read that file yet.
    """
    own = {name if name.startswith("spark.") else f"spark.{name}": value for name, value in properties.items()}
    spark = {**(_spark_defaults() if submitted is None else submitted), **own}
    hadoop = _core_site() | {name.removeprefix(_HADOOP): _text(spark[name]) for name in spark if _HADOOP in name}
    return {name: value for name, value in hadoop.items() if name in S3_OPTIONS or name.startswith(PER_BUCKET)}


def _text(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _spark_defaults() -> dict[str, str]:
    folder = os.environ.get("SPARK_CONF_DIR")
    if folder is None:
        home = os.environ.get("SPARK_HOME")
        if home is None:
            found = importlib.util.find_spec("pyspark")  # its place; it is not imported
            home = os.path.dirname(found.origin) if found and found.origin else ""
        folder = f"{home}/conf"
    file = Path(folder) / "spark-defaults.conf"
    if not file.is_file():
        return {}
    matches = (_LINE.match(line) for line in file.read_text(encoding="utf-8").splitlines())
    return {match[1]: match[2] for match in matches if match}


def _core_site() -> dict[str, str]:
    file = Path(os.environ.get("HADOOP_CONF_DIR", "")) / "core-site.xml"
    if "HADOOP_CONF_DIR" not in os.environ or not file.is_file():
        return {}
    try:
        entries = ElementTree.parse(file).getroot().iter("property")
        return {entry.findtext("name", "").strip(): entry.findtext("value", "").strip() for entry in entries}
    except ElementTree.ParseError as error:
        raise ConfigError(f"{file} cannot be read: {error}") from None
