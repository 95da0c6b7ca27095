"""Writes the facts that a search under rules compares, a file for each of its tiles.

Cost: 8 bytes a row for each column of facts, shuffled once; the ids of the searched tiles are read, no vectors.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vsspark.arrow import to_array
from vsspark.knn.eligibility import Terms
from vsspark.knn.tiles import Tile, read_ids, write_facts_of
from vsspark.spark.versions import repartition_by_id
from vsspark.spark.workers import map_in_arrow


@dataclass(frozen=True)
class Rules:
    """facts: image_id long (unique), codes array<long> (as many as the terms name, 0 = not known), amount double (null
    = not known), of every image that is searched or found."""

    terms: Terms
    facts: DataFrame


def write_facts(
    facts: DataFrame, tiles: Mapping[int, Tile], scratch: str, storage_options: Mapping[str, str] | None
) -> None:
    """Writes the facts of the tiles' rows below scratch."""
    if not tiles:
        return
    spark = facts.sparkSession
    tasks = max(1, min(len(tiles), 4 * spark.sparkContext.defaultParallelism))
    numbers = spark.createDataFrame(pa.table({"tile": pa.array(sorted(tiles), pa.int32())}))
    listed = partial(_tile_ids, tiles=dict(tiles), storage_options=storage_options)
    rows = map_in_arrow(repartition_by_id(numbers, tasks, F.col("tile")), listed, "tile int, image_id long")
    known = rows.join(facts, "image_id", "left").select("tile", "image_id", "codes", "amount")
    write = partial(_write, scratch=scratch, storage_options=storage_options)
    map_in_arrow(repartition_by_id(known, tasks, F.col("tile")), write, "tile int").collect()


def _tile_ids(
    batches: Iterable[pa.RecordBatch], tiles: Mapping[int, Tile], storage_options: Mapping[str, str] | None
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for number in batch.column("tile").to_pylist():
            ids = read_ids(tiles[number], storage_options)
            yield pa.record_batch([pa.array(np.full(len(ids), number, np.int32)), ids], names=["tile", "image_id"])


def _write(
    batches: Iterable[pa.RecordBatch], scratch: str, storage_options: Mapping[str, str] | None
) -> Iterator[pa.RecordBatch]:
    batches = [batch for batch in batches if batch.num_rows]
    if not batches:
        return
    rows = pa.Table.from_batches(batches).sort_by([("tile", "ascending"), ("image_id", "ascending")]).combine_chunks()
    numbers, ids = to_array(rows["tile"]), to_array(rows["image_id"])
    codes = rows["codes"].combine_chunks()
    codes = to_array(codes.flatten()).reshape(len(rows), -1)
    amounts = rows["amount"].to_numpy()
    bounds = np.flatnonzero(np.diff(numbers, prepend=-1, append=-1))
    for start, stop in itertools.pairwise(bounds.tolist()):
        part = slice(start, stop)
        write_facts_of(scratch, int(numbers[start]), ids[part], (codes[part], amounts[part]), storage_options)
        yield pa.record_batch([pa.array([numbers[start]], pa.int32())], names=["tile"])
