"""What differs between the releases of Spark that vsspark runs on, 4.0 to 4.2; the rest of the package names no release.

Tried on PySpark 4.2.0, 4.1.4 and 4.0.5 (tests/spark/test_versions.py).
"""

from __future__ import annotations

import re

import numpy as np
import pyspark
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from vsspark.errors import ConfigError

# The newest Delta that works with each: 4.1 and 4.2 have their own build of the jars, that of 4.0 names no release.
_DELTA = {
    "4.0": "io.delta:delta-spark_2.13:4.0.1",
    "4.1": "io.delta:delta-spark_4.1_2.13:4.4.0",
    "4.2": "io.delta:delta-spark_4.2_2.13:4.4.0",
}
_SEED = 42  # of the hash by which Spark deals rows to partitions


def check_spark(version: str = pyspark.__version__) -> str:
    """The release of Spark, as in 4.2. Raises ConfigError for one that vsspark does not run on."""
    release = ".".join(re.findall(r"\d+", version)[:2])
    if release not in _DELTA:
        raise ConfigError(f"pyspark {version} is installed, and vsspark runs on Spark {', '.join(_DELTA)}")
    return release


def delta_package(version: str = pyspark.__version__) -> str:
    """The Maven name of the Delta that works with this Spark."""
    return _DELTA[check_spark(version)]


def has_unix_sockets() -> bool:
    """Whether Python workers can talk to the JVM over Unix sockets: since Spark 4.1."""
    return check_spark() != "4.0"


def repartition_by_id(df: DataFrame, partitions: int, number: Column) -> DataFrame:
    """`df.repartitionById`, which is new in Spark 4.1: rows go to partition `number` modulo `partitions`."""
    if hasattr(df, "repartitionById"):
        return df.repartitionById(partitions, number)
    return repartition_by_key(df, partitions, number)


def repartition_by_key(df: DataFrame, partitions: int, number: Column) -> DataFrame:
    """The same on Spark 4.0: the number is replaced by one whose hash leads to that partition.

    The query holds `partitions` integers.
    """
    keys = F.array(*(F.lit(int(key)) for key in keys_of_partitions(partitions)))
    return df.repartition(partitions, F.element_at(keys, (F.pmod(number, F.lit(partitions)) + 1).cast("int")))


def keys_of_partitions(partitions: int) -> np.ndarray:
    """(partitions,) int32; Spark's `repartition(partitions, key)` sends a row with the i-th key to partition i.

    About `partitions * log(partitions)` numbers are tried.
    """
    keys = np.full(partitions, -1, np.int32)
    start, step = 0, 4 * partitions
    while (keys < 0).any():
        numbers = np.arange(start, start + step, dtype=np.int32)
        places, first = np.unique(murmur3(numbers) % partitions, return_index=True)
        new = keys[places] < 0
        keys[places[new]] = numbers[first[new]]
        start += step
    return keys


def murmur3(numbers: np.ndarray) -> np.ndarray:
    """Spark's hash of integers. numbers: (n,) int32. Returns (n,) int32.

    MurmurHash3, x86, 32 bits, of one block (Austin Appleby).
    """
    with np.errstate(over="ignore"):
        block = _rotate(numbers.astype(np.uint32) * np.uint32(0xCC9E2D51), 15) * np.uint32(0x1B873593)
        mixed = _rotate(np.uint32(_SEED) ^ block, 13) * np.uint32(5) + np.uint32(0xE6546B64)
        mixed ^= np.uint32(4)  # bytes in a block
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
            mixed = (mixed ^ (mixed >> np.uint32(shift))) * np.uint32(factor)
        return (mixed ^ (mixed >> np.uint32(16))).view(np.int32)


def _rotate(words: np.ndarray, bits: int) -> np.ndarray:
    return (words << np.uint32(bits)) | (words >> np.uint32(32 - bits))
