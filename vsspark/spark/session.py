"""The Spark session a job runs in, and what the Python side needs to know of it."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import sys
import tempfile
from functools import lru_cache

from pyspark import SparkConf
from pyspark.sql import SparkSession

from vsspark.config.store_settings import PER_BUCKET, S3_OPTIONS
from vsspark.spark import jvm
from vsspark.spark.start import check_delta, start_jvm
from vsspark.spark.versions import check_spark, has_unix_sockets

# Set where nothing else was said: the config's `spark:` section wins over --conf and spark-defaults.conf, and all
# three win over these.
_DEFAULTS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    # A run_id or model_version that looks like a number stays text when it is a partition column.
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
    # Finding the caller's line costs six more calls into the JVM for every column; the jobs' messages do not show it.
    "spark.python.sql.dataFrameDebugging.enabled": "false",
    # HotSpot compiles no method of more bytes: a query with many expressions then runs interpreted, three times slower.
    "spark.sql.codegen.hugeMethodLimit": "8000",
    # oneDNN is off by default on some CPUs, where it doubles TensorFlow's speed.
    "spark.executorEnv.TF_ENABLE_ONEDNN_OPTS": "1",
    "spark.executorEnv.TF_CPP_MIN_LOG_LEVEL": "3",
    "spark.executorEnv.CUDA_MODULE_LOADING": "LAZY",
}
# On one machine Spark's 200 shuffle partitions and Delta's 50 snapshot partitions are 250 tiny tasks per write; on 400
# slots 200 leave half of them idle.
_PARTITIONS_PER_SLOT = 2
_CLUSTER_PARTITIONS = 200  # at least: Spark's own default
_LOCAL_DEFAULTS = {
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.ui.enabled": "false",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
}
_LONGEST_SOCKET_FOLDER = 60  # letters: Linux takes 107 for a socket's path, and Spark adds a slash and a name of 42


def create(app_name: str, properties: dict[str, str | int | float | bool]) -> SparkSession:
    """The session: the one spark-submit or a notebook already made, else a local one on all cores."""
    check_spark()
    # The driver's own TensorFlow (export, training) and the workers forked in local mode read these from the
    # environment.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Started as `python jobs/NAME.py`: the workers are this interpreter too, not the PATH's python3.
    if not os.environ.get("SPARK_ENV_LOADED"):
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    own = {_full_name(key): _text(value) for key, value in properties.items()}
    start_jvm(own)
    conf = SparkConf()
    if not conf.contains("spark.master"):
        conf.set("spark.master", "local[*]")
    for key, value in own.items():
        conf.set(key, value)
    local = conf.get("spark.master").startswith("local")
    defaults = _DEFAULTS | (_LOCAL_DEFAULTS if local else {}) | _unix_sockets(conf)
    for key, value in defaults.items():
        if not conf.contains(key):
            conf.set(key, value)
    spark = SparkSession.builder.appName(app_name).config(conf=conf).getOrCreate()
    check_delta(spark)
    if not conf.contains("spark.sql.shuffle.partitions"):
        spark.conf.set("spark.sql.shuffle.partitions", str(shuffle_partitions(task_slots(spark), local)))
    return spark


def _full_name(key: str) -> str:
    return key if key.startswith("spark.") else f"spark.{key}"


def _text(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def shuffle_partitions(slots: int, local: bool) -> int:
    """Shuffle partitions for so many task slots, where nobody has set them: none of the slots stays idle."""
    return _PARTITIONS_PER_SLOT * slots if local else max(_CLUSTER_PARTITIONS, _PARTITIONS_PER_SLOT * slots)


def _unix_sockets(conf: SparkConf) -> dict[str, str]:
    """Settings that let Python workers on this machine talk over Unix sockets in a folder of their own; none where
    they would not work.

    Over TCP every Python task and every collect waits 40 ms for a delayed acknowledgement. The executors of a cluster
    may not have this package where their daemon starts (`--py-files` reaches only its workers), nor a folder whose
    name is short enough: there it is for the operator to say.
    """
    one_machine = re.fullmatch(r"local(\[[^\]]*\])?", conf.get("spark.master")) is not None
    # Spark also lists there the jars that spark.jars.packages has brought.
    shipped = [file for file in conf.get("spark.submit.pyFiles", "").split(",") if file and not file.endswith(".jar")]
    if not has_unix_sockets() or not one_machine or shipped:
        return {}
    folder = _socket_folder()
    if len(folder) > _LONGEST_SOCKET_FOLDER:
        return {}
    return {
        "spark.python.unix.domain.socket.enabled": "true",
        "spark.python.unix.domain.socket.dir": folder,
        "spark.python.daemon.module": "vsspark.spark.daemon",
    }


@lru_cache(maxsize=1)
def _socket_folder() -> str:
    """A folder of this process, closed to other users."""
    folder = tempfile.mkdtemp(prefix="vsspark-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def reconnect(spark: SparkSession) -> None:
    """Leaves a call into the JVM that a signal has interrupted: its answer must not be taken for that of the next call.

    Spark's jobs are cancelled; what the call does beside them, it may still do.
    """
    jvm.drop_connection()
    spark.sparkContext.cancelAllJobs()


def storage_options(spark: SparkSession) -> dict[str, str]:
    """The Hadoop settings the Python workers need to read object storage as the JVM does. Holds secrets: never log
    it.
    """
    hadoop = jvm.hadoop_configuration(spark)
    per_bucket = hadoop.getPropsWithPrefix(PER_BUCKET)
    written = {key: value for key in S3_OPTIONS if (value := hadoop.get(key))} | {
        f"{PER_BUCKET}{key}": per_bucket[key] for key in per_bucket
    }
    return written | jvm.stored_credentials(spark, written)


def task_slots(spark: SparkSession) -> int:
    """How many tasks the session's executors run at a time."""
    return max(1, spark.sparkContext.defaultParallelism)


def executor_settings(spark: SparkSession) -> dict[str, str]:
    """Spark's properties; with a local master, whose one executor is the driver, its slots are the executor's cores."""
    settings = dict(spark.sparkContext.getConf().getAll())
    if spark.sparkContext.master.startswith("local"):
        settings["spark.executor.cores"] = str(task_slots(spark) * int(settings.get("spark.task.cpus", "1")))
    return settings
