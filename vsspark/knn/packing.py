"""Packs rows into tile files, block by block: the one shuffle of the embeddings that a search needs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vsspark.config import KnnConfig
from vsspark.knn import partials, plan
from vsspark.knn.tiles import NO_BLOCK, Tile, read_texts
from vsspark.spark.workers import map_in_arrow

PLAN = "plan.json"  # the file in scratch that holds what was packed
_TILE = "tile int, uri string, batch int, rows int, blocks array<int>, counts array<int>"
_LAYOUT = pa.schema(
    [("block", pa.int32()), ("asks", pa.bool_()), ("first", pa.int32()), ("packs", pa.list_(pa.int32()))]
)
APPROXIMATE_SMALLEST = 16_384  # rows: in smaller tiles cells gain little


class Packed(NamedTuple):
    """What a search must know to cut its work into the units it was cut into before."""

    slots: int
    tile_rows: int
    tiles: dict[int, Tile]


def packed_before(scratch: str, storage_options: Mapping[str, str] | None) -> Packed | None:
    """What an earlier search left in scratch; None where it did not get so far."""
    for text in read_texts(scratch, PLAN, storage_options):
        slots, tile_rows, written = json.loads(text)
        tiles = {int(number): Tile(*fields) for number, fields in written.items()}
        return Packed(
            slots,
            tile_rows,
            {
                number: tile._replace(probed={int(b): rows for b, rows in tile.probed.items()})
                for number, tile in tiles.items()
            },
        )
    return None


def pack_tiles(
    items: DataFrame, scratch: str, config: KnnConfig, slots: int, storage_options: Mapping[str, str] | None
) -> dict[int, Tile]:
    """The tiles, written. Rows of one block are dealt to its tiles by a hash of their id; small tiles share a file
    and a task.
    """
    rows = items.select(
        "image_id",
        F.coalesce("group_id", "image_id").alias("group_id"),
        "embedding",
        F.coalesce("block", F.lit(NO_BLOCK)).alias("block"),
        F.coalesce("probes", F.array().cast("array<int>")).alias("probes"),
        (F.col("floor") if "floor" in items.columns else F.lit(None)).cast("float").alias("floor"),
    )
    asks, searches = F.array_contains("probes", F.col("block")), F.size("probes") > 0
    probes = F.array_distinct(F.flatten(F.collect_set("probes")))
    kinds_of_rows = (
        rows.groupBy("block", asks.alias("asks"), searches.alias("searches"))
        .agg(F.count("*").alias("count"), probes.alias("probes"))
        .collect()
    )
    probed = sorted({block for kind in kinds_of_rows for block in kind["probes"]})
    counts: dict[tuple[int, bool], int] = {}
    for kind in kinds_of_rows:
        block = kind["block"] if kind["block"] in probed else NO_BLOCK  # items nobody asks for
        if block != NO_BLOCK or kind["searches"]:
            counts[block, kind["asks"]] = counts.get((block, kind["asks"]), 0) + kind["count"]
    sizes = [(block, asking, count) for (block, asking), count in sorted(counts.items())]
    wanted = F.array_contains(F.lit(probed).cast("array<int>"), F.col("block"))
    useful = rows.withColumns({"asks": asks, "block": F.when(wanted, F.col("block")).otherwise(NO_BLOCK)}).where(
        (F.col("block") != NO_BLOCK) | searches
    )
    per_block: dict[int, int] = {}
    for block, _, count in sizes:
        per_block[block] = per_block.get(block, 0) + count
    smallest = plan.SMALLEST_TILE if config.mode == "exact" else APPROXIMATE_SMALLEST
    tile_rows = plan.rows_per_tile(
        [n for block, n in per_block.items() if block != NO_BLOCK], config.tile_rows, slots, smallest
    )
    capacity = min(config.tile_rows, max(plan.SMALLEST_PACK, sum(per_block.values()) // (2 * slots)))
    layout, kinds, packs, filled = [], {}, 0, 0.0
    for block, asking, count in sizes:
        parts = -(-count // tile_rows)
        first, where = len(kinds), []
        for number in range(first, first + parts):
            kinds[number] = (block, asking)
            if filled and filled + count / parts > capacity:
                packs, filled = packs + 1, 0.0
            filled += count / parts
            where.append(packs)
        layout.append({"block": block, "asks": asking, "first": first, "packs": where})
    spark = items.sparkSession
    # From Arrow the rows are a part of the plan; from Python's tuples they would be a job of their own.
    tiles_of_blocks = spark.createDataFrame(pa.Table.from_pylist(layout, schema=_LAYOUT))
    placed = useful.join(F.broadcast(tiles_of_blocks), ["block", "asks"])
    placed = placed.withColumn("part", F.pmod(F.xxhash64("image_id"), F.size("packs")).cast("int"))
    placed = placed.select(
        "image_id",
        "group_id",
        "embedding",
        "floor",
        F.array_remove("probes", F.col("block")).alias("probes"),
        (F.col("first") + F.col("part")).alias("tile"),
        F.element_at("packs", F.col("part") + 1).alias("pack"),
    )
    write = partial(
        partials.write_pack,
        folder=scratch,
        metric=config.metric,
        thresholds=median_thresholds(useful, config),
        storage_options=storage_options,
    )
    written = map_in_arrow(
        placed.repartitionById(packs + 1, F.col("pack")), partial(_pack_rows, write=write), _TILE
    ).collect()
    return {
        t.tile: Tile(t.uri, t.batch, t.rows, *kinds[t.tile], dict(zip(t.blocks, t.counts, strict=True)))
        for t in written
    }


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


def _pack_rows(batches: Iterable[pa.RecordBatch], write) -> Iterator[pa.RecordBatch]:
    batches = [batch for batch in batches if batch.num_rows]
    if batches:
        yield write(pa.Table.from_batches(batches))
