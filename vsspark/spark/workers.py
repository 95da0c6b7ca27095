"""Functions over Arrow batches in Python workers that are soon ready for their next task.

Tried on PySpark 4.2.0, whose daemon collects garbage after every task: measured, 50 ms a task.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import pyarrow as pa
from pyspark.resource import ResourceProfile
from pyspark.sql import DataFrame
from pyspark.sql.types import StructType

_frozen_modules = 0


def map_in_arrow(
    df: DataFrame, task: Callable, schema: StructType | str, profile: ResourceProfile | None = None
) -> DataFrame:
    """`df.mapInArrow(task, schema)`, without what PySpark does to a worker with many modules between two tasks.

    A worker that is used again collects garbage after every task, and so walks through every object of every module
    it has imported: 50 ms with pandas, Numba and ONNX Runtime, in which the core is idle for Spark. Modules stay, so
    they are taken out of the collector's sight once.
    """
    return df.mapInArrow(partial(_without_modules_in_sight, task), schema, profile=profile)


def _without_modules_in_sight(task: Callable, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    global _frozen_modules
    yield from task(batches)
    # Not after every task: what is frozen is never collected, and tasks leave garbage too.
    if len(sys.modules) > _frozen_modules:
        gc.collect()
        gc.freeze()
        _frozen_modules = len(sys.modules)
