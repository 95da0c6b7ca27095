"""Packs rows into tile files, block by block: the one shuffle of the embeddings that a search needs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from vsspark.config import KnnConfig
from vsspark.knn import layout, partials
from vsspark.knn.tiles import ITEMS, MEMBERS, QUERIES, Tile, read_texts
from vsspark.spark.versions import repartition_by_id
from vsspark.spark.workers import map_in_arrow

PLAN = "packed.json"  # the file in scratch that holds what was packed
_TILE = "tile int, uri string, batch int, rows int, row_bytes int"
_PACKED = ("image_id", "group_id", "embedding", "floor")
_LAYOUT = pa.schema(
    [("block", pa.int32()), ("role", pa.int32()), ("first", pa.int32()), ("packs", pa.list_(pa.int32()))]
)


class Packed(NamedTuple):
    """What a search must know to cut its work into the units it was cut into before."""

    slots: int
    tile_rows: int
    row_bytes: int  # of a vector
    tiles: dict[int, Tile]


def packed_before(scratch: str, storage_options: Mapping[str, str] | None) -> Packed | None:
    """What an earlier search left in scratch; None where it did not get so far."""
    for text in read_texts(scratch, PLAN, storage_options):
        *numbers, tiles = json.loads(text)
        return Packed(*numbers, {int(number): Tile(*fields) for number, fields in tiles.items()})
    return None


def pack_tiles(
    items: DataFrame, scratch: str, config: KnnConfig, slots: int, storage_options: Mapping[str, str] | None
) -> Packed:
    """The tiles, written. A row is in a tile of its own block and in one of each other block that it probes. Rows of
    one block and role are dealt to its tiles by a hash of their id; small tiles share a file and a task.
    """
    rows = items.select(
        "image_id",
        F.coalesce("group_id", "image_id").alias("group_id"),
        "embedding",
        "block",
        F.coalesce(F.array_distinct("probes"), F.array().cast("array<int>")).alias("probes"),
        (F.col("floor") if "floor" in items.columns else F.lit(None)).cast("float").alias("floor"),
    )
    placed = rows.withColumn("place", F.explode(_places())).select(*_PACKED, "place.*")
    counts = count_places(placed)
    wanted = layout.searched(counts)
    smallest = layout.SMALLEST_TILE if config.mode == "exact" else layout.APPROXIMATE_SMALLEST
    tile_rows = layout.rows_per_tile(wanted, config.tile_rows, slots, smallest)
    probed = sorted({block for block, role in counts if role != ITEMS})
    useful = rows.where((F.size("probes") > 0) | F.col("block").isin(probed))
    target = partials.PackTarget(scratch, "pack", config.metric, median_thresholds(useful, config), storage_options)
    tiles, row_bytes = pack_rows(placed, layout.lay_out(wanted, tile_rows, config.tile_rows, slots), target)
    return Packed(slots, config.tile_rows, row_bytes, tiles)


def count_places(placed: DataFrame) -> dict[tuple[int, int], int]:
    """Rows by (block, role)."""
    counted = placed.groupBy("block", "role").count().collect()
    return {(row["block"], row["role"]): row["count"] for row in counted}


def pack_rows(
    placed: DataFrame, parts: Mapping[tuple[int, int], layout.Part], target: partials.PackTarget
) -> tuple[dict[int, Tile], int]:
    """The tiles, written, by number; and the bytes of a vector. Rows whose block and role have no part are left out.

    placed: image_id, group_id, embedding, floor, block, role and, for an index, content.
    """
    table = [
        {"block": block, "role": role, "first": part.first, "packs": part.packs}
        for (block, role), part in parts.items()
    ]
    # From Arrow the rows are a part of the plan; from Python's tuples they would be a job of their own.
    tiles_of_blocks = placed.sparkSession.createDataFrame(pa.Table.from_pylist(table, schema=_LAYOUT))
    part = F.pmod(F.xxhash64("image_id"), F.size("packs")).cast("int")
    columns = [name for name in placed.columns if name not in ("block", "role")]
    tiled = placed.join(F.broadcast(tiles_of_blocks), ["block", "role"]).select(
        *columns, (F.col("first") + part).alias("tile"), F.element_at("packs", part + 1).alias("pack")
    )
    packs = 1 + max((p.packs[-1] for p in parts.values()), default=0)
    write = partial(_pack_rows, target=target)
    written = map_in_arrow(repartition_by_id(tiled, packs, F.col("pack")), write, _TILE).collect()
    kinds = {part.first + i: key for key, part in parts.items() for i in range(len(part.packs))}
    tiles = {row.tile: Tile(row.uri, row.batch, row.rows, *kinds[row.tile]) for row in written}
    return tiles, max((row.row_bytes for row in written), default=0)


def _places() -> Column:
    """Where a row is packed, as array<struct<block, role>>: as a member or an item of its block, and as a query of each
    other block that it probes.
    """
    place = "struct<block: int, role: int>"
    own = F.when(F.array_contains("probes", F.col("block")), MEMBERS).otherwise(ITEMS)
    home = F.when(F.col("block").isNotNull(), F.array(F.struct(F.col("block"), own.alias("role"))))
    away = F.filter("probes", lambda block: F.col("block").isNull() | (block != F.col("block")))
    queries = F.transform(away, lambda block: F.struct(block.alias("block"), F.lit(QUERIES).alias("role")))
    return F.concat(
        F.coalesce(home, F.array()).cast(f"array<{place}>"),
        queries.cast(f"array<{place}>"),
    )


def median_thresholds(rows: DataFrame, config: KnnConfig) -> np.ndarray | None:
    """For hamming, each dimension's median over 4,000 rows chosen by a hash: signs of features that are never
    negative say little.
    """
    if config.metric != "hamming":
        return None
    picked = (
        rows.select("image_id").orderBy(F.xxhash64("image_id", F.lit(1)), "image_id").limit(4000)
    )  # ids alone are sorted, not vectors
    sample = rows.join(F.broadcast(picked), "image_id", "left_semi").select("embedding").repartition(1)
    found = map_in_arrow(sample, _medians, "median array<float>").first()
    return None if found is None else np.asarray(found["median"], np.float32)


def _medians(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    table = pa.Table.from_batches(batches) if (batches := list(batches)) else None
    if table is not None:
        middle = np.median(partials.to_matrix(table.column("embedding").combine_chunks()), axis=0).astype(np.float32)
        yield pa.record_batch([pa.array([middle])], names=["median"])


def _pack_rows(batches: Iterable[pa.RecordBatch], target: partials.PackTarget) -> Iterator[pa.RecordBatch]:
    batches = [batch for batch in batches if batch.num_rows]
    if batches:
        yield partials.write_pack(pa.Table.from_batches(batches), target)
