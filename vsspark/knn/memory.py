"""The Python memory that a search needs on an executor, and whether the executor's settings give it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from vsspark.config import KnnConfig
from vsspark.errors import ConfigError
from vsspark.knn import plan

_UNITS = {"b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_LEAST_OVERHEAD = 384 * 2**20  # Spark's own least
_OVERHEAD = {"yarn": 0.1, "k8s": 0.4}  # share of spark.executor.memory, where none is set; k8s: for Python jobs


def python_bytes(config: KnnConfig, dimension: int, tasks: int, threads: int = 1) -> int:
    """The most that the Python workers of an executor hold in a search, with so many tasks at once.

    dimension: numbers of an embedding. threads: cores of a task.
    """
    approximate = config.mode == "approximate"
    row_bytes = -(-dimension // 64) * 8 if config.metric == "hamming" else dimension * 4
    shape = plan.Shape(row_bytes, config.k, approximate, threads)
    tile_rows = config.tile_rows * (plan.APPROXIMATE_TILE if approximate else 1)
    return tasks * plan.most_task_bytes(shape, tile_rows)


def given_bytes(properties: Mapping[str, str]) -> int | None:
    """What an executor's container has for Python workers; None where nothing bounds them (local, standalone).

    properties: Spark's.
    """
    kind = properties.get("spark.master", "").partition("://")[0].partition(":")[0]
    if kind not in _OVERHEAD:
        return None
    memory = _bytes(properties.get("spark.executor.memory", "1g"), "m")
    overhead = properties.get("spark.executor.memoryOverhead")
    share = float(properties.get("spark.executor.memoryOverheadFactor", _OVERHEAD[kind]))
    beside = _bytes(overhead, "m") if overhead else max(_LEAST_OVERHEAD, int(memory * share))
    return beside + _bytes(properties.get("spark.executor.pyspark.memory", "0"), "m")


def check_memory(properties: Mapping[str, str], config: KnnConfig, dimension: int) -> str:
    """One line that says what a search needs on each executor.

    Raises ConfigError where the executors' containers are smaller: call it before the work, not when it is killed.
    """
    cores, threads = (int(properties.get(name, "1")) for name in ("spark.executor.cores", "spark.task.cpus"))
    tasks = max(1, cores // threads)
    needed, given = python_bytes(config, dimension, tasks, threads), given_bytes(properties)
    said = f"{needed / 1e9:.1f} GB of Python memory an executor ({tasks} tasks of {threads} cores)"
    if given is not None and needed > given:
        missing = (needed - given) / 2**20
        raise ConfigError(
            f"spark.executor.memoryOverhead: the neighbour search needs {said}, got {given / 1e9:.1f} GB with "
            f"spark.executor.pyspark.memory; give {missing:,.0f} MiB more, fewer cores an executor, or a smaller "
            f"knn.tile_rows than {config.tile_rows}"
        )
    return f"the neighbour search holds at most {said}"


def _bytes(text: str, unit: str) -> int:
    found = re.fullmatch(r"\s*(\d+)\s*([bkmgt]?)b?\s*", text.lower())
    if found is None:
        raise ConfigError(f"expected an amount of memory such as 4g, got {text!r}")
    return int(found[1]) * _UNITS[found[2] or unit]
