"""GPUs of executors: a stage that wants them asks for one per task, with the cores that belong to it; every other
stage runs a task per core.
"""

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
    """A stage's own resources: a GPU to itself and the cores that feed it; the stages around it ask for neither. None
    where there are no such cores.
    """
    if cpus is None:
        return None
    return ResourceProfileBuilder().require(TaskResourceRequests().cpus(cpus).resource("gpu", 1)).build


def take_gpu() -> bool:
    """Whether Spark has given this task a GPU; all others are then hidden from CUDA, to which it is the first one.

    CUDA looks once, when it is first used in the process. Raises ConfigError where the worker's earlier task had
    another GPU.
    """
    given = TaskContext.get().resources().get("gpu")
    if given is None:
        return False
    wanted = ",".join(given.addresses)
    seen = os.environ.get("VSSPARK_GPUS")
    if seen not in (None, wanted):
        raise ConfigError(
            f"this Python worker runs on GPU {seen} and its task was given {wanted}: "
            "give executors one GPU each, or set spark.python.worker.reuse=false"
        )
    os.environ["VSSPARK_GPUS"] = os.environ["CUDA_VISIBLE_DEVICES"] = wanted
    return True
