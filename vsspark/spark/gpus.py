"""GPUs of executors: a stage requests one per task, with its share of the cores, or none and runs a task per core."""

from __future__ import annotations

import os

from pyspark import TaskContext
from pyspark.resource import ResourceProfile, ResourceProfileBuilder, TaskResourceRequests
from pyspark.sql import SparkSession

from vsspark.errors import ConfigError


def cores_per_gpu(spark: SparkSession) -> int | None:
    """The cores of an executor that go with each of its GPUs; None where the session's executors have none."""
    gpus = int(spark.conf.get("spark.executor.resource.gpu.amount", "0"))
    return max(1, int(spark.conf.get("spark.executor.cores", "1")) // gpus) if gpus else None


def one_gpu_per_task(cpus: int | None) -> ResourceProfile | None:
    """The resource profile of a stage whose tasks have a GPU and `cpus` cores each; None where cpus is None."""
    if cpus is None:
        return None
    return ResourceProfileBuilder().require(TaskResourceRequests().cpus(cpus).resource("gpu", 1)).build


def take_gpu() -> bool:
    """Whether Spark has given this task a GPU; all others are then hidden from CUDA, to which it is the first one.

    CUDA looks once, when it is first used in the process. Raises ConfigError where the worker's earlier task had
    another GPU.
    """
    gpu = TaskContext.get().resources().get("gpu")
    if gpu is None:
        return False
    addresses = ",".join(gpu.addresses)
    earlier = os.environ.get("VSSPARK_GPUS")
    if earlier not in (None, addresses):
        raise ConfigError(
            f"this Python worker runs on GPU {earlier} and its task was given {addresses}: "
            "give executors one GPU each, or set spark.python.worker.reuse=false"
        )
    os.environ["VSSPARK_GPUS"] = os.environ["CUDA_VISIBLE_DEVICES"] = addresses
    return True
