"""One short text for the rows of a DataFrame or for settings: equal content, equal digest."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import MapType


def rows_digest(df: DataFrame) -> str:
    """The digest of the rows, whatever their order and partitioning. One pass, nothing is shuffled but one row per
    partition.

    Two 64-bit hashes of every row, each added up: a change goes unseen with a chance of about 1 in 2^128.
    """
    columns = [
        F.array_sort(F.map_entries(f.name)) if isinstance(f.dataType, MapType) else F.col(f.name)
        for f in df.schema.fields
    ]
    # A null changes no hash by itself: where a column is null is hashed along.
    nulls = [F.col(f.name).isNull() for f in df.schema.fields]
    total = lambda seed: F.sum(F.xxhash64(F.lit(seed), *nulls, *columns).cast("decimal(20,0)"))  # noqa: E731
    sums = df.agg(F.count("*"), total(1), total(2)).first()
    return settings_digest([str(value) for value in sums])


def settings_digest(settings: Any) -> str:
    """The digest of plain values."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:32]
