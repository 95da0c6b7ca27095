"""Searches that read a kept index: nothing that it holds is packed again.

    search_all          every row searches its blocks: what `search_neighbours` finds; only visiting queries are packed
    search_queries      a few queries, whole lists: each tile of the index is read once
    search_new_items    every other query meets the new items of its blocks: each tile is read once, no list is merged
    search_changed      the two before, for the changes of a night

All give query_image_id, rank, item_image_id, similarity, and the bits that `search_neighbours` gives.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vsspark.config import KnnConfig
from vsspark.knn import layout, packing, partials
from vsspark.knn.facts import Rules
from vsspark.knn.index import Index
from vsspark.knn.index_update import index_contents, with_numbers
from vsspark.knn.spark import LISTS, search_packed
from vsspark.knn.tiles import ITEMS, MEMBERS, QUERIES, Tile, read_tile
from vsspark.spark.versions import repartition_by_id
from vsspark.spark.workers import map_in_arrow

EVERYTHING = 0  # the one block of a search that knows no categories


def search_all(index: Index, rows: DataFrame, scratch: str, config: KnnConfig) -> DataFrame:
    """Every row's nearest items. rows: those that `update_index` was given last; group_id, content and floor are of no
    use here, image_id, group_id, embedding, block and probes are.
    """
    numbered = with_numbers(index, rows)
    away = F.filter("probes", lambda block: F.col("block").isNull() | (block != F.col("block")))
    queries = _queries(numbered.withColumn("probes", away))
    return _search(index, queries, scratch, config, lambda tile: tile)


def search_queries(
    index: Index,
    queries: DataFrame,
    scratch: str,
    config: KnnConfig,
    everywhere: bool = False,
    rules: Rules | None = None,
) -> DataFrame:
    """The nearest items of a few queries, by one pass over the tiles of the blocks that they probe.

    queries: image_id, group_id, embedding, probes array<string>. everywhere: whatever the block of an item and the
    probes of a query. rules: as in `search_neighbours`.
    """
    if everywhere:
        placed = _queries(queries.withColumn("probes", F.array(F.lit(EVERYTHING))))
        return _search(index, placed, scratch, config, lambda tile: tile._replace(block=EVERYTHING, role=ITEMS), rules)
    placed = _queries(with_numbers(index, queries.withColumn("block", F.lit(None).cast("string"))))
    return _search(index, placed, scratch, config, lambda tile: tile._replace(role=ITEMS), rules)


def search_new_items(index: Index, queries: DataFrame, fresh: DataFrame, scratch: str, config: KnnConfig) -> DataFrame:
    """The items of `fresh` that are as near to a query as its floor or nearer, at most config.k; searched exactly.

    queries: image_id, probes array<string>, floor float (null = any); those that the index does not hold are left out.
    fresh: image_id, group_id, embedding, block string. The floors are shuffled, some 20 bytes a query, no vectors.
    """
    spark = queries.sparkSession
    placed = with_numbers(index, fresh.withColumn("probes", F.array().cast("array<string>")))
    placed = placed.where("block IS NOT NULL").select(
        "image_id",
        F.coalesce("group_id", "image_id").alias("group_id"),
        "embedding",
        F.lit(None).cast("float").alias("floor"),
        "block",
        F.lit(ITEMS).alias("role"),
    )
    counts = packing.count_places(placed)
    if not counts or not index.entries:
        return spark.createDataFrame([], LISTS)
    slots = max(1, spark.sparkContext.defaultParallelism)
    target = partials.PackTarget(scratch, "fresh", config.metric, None, index.storage_options)
    new, _ = packing.pack_rows(placed, layout.lay_out(counts, config.tile_rows, config.tile_rows, slots), target)
    blocks = sorted({block for block, _ in counts})
    numbered = with_numbers(index, queries.withColumn("block", F.lit(None).cast("string")))
    asked = F.array_intersect("probes", F.lit(blocks).cast("array<int>"))
    numbered = numbered.select("image_id", asked.alias("probes"), F.col("floor").cast("float")).where(
        "size(probes) > 0"
    )
    held = index_contents(spark, index).select("image_id", "tile")
    tasks = min(len(index.entries), 4 * slots)
    rows = repartition_by_id(numbered.join(held, "image_id"), tasks, F.col("tile"))
    by_block: dict[int, list[Tile]] = {}
    for tile in new.values():
        by_block.setdefault(tile.block, []).append(tile)
    meeting = partials.Meeting(by_block, config, index.storage_options)
    meet = partial(_meet, tiles=index.tiles(), meeting=meeting)
    return map_in_arrow(rows.select("tile", "image_id", "probes", "floor"), meet, LISTS)


def search_changed(index: Index, rows: DataFrame, changed: DataFrame, scratch: str, config: KnnConfig) -> DataFrame:
    """What `incremental.merged_lists` takes as found: whole lists of the queries that are searched in full, new items
    for the others.

    rows: those that `update_index` was given last. changed: `incremental.changes`, of few rows that are full or fresh.
    """

    def chosen(condition: str) -> DataFrame:
        return rows.join(F.broadcast(changed.where(condition).select("image_id")), "image_id", "left_semi")

    floors = changed.where("NOT full").select("image_id", "floor")
    others = rows.select("image_id", "probes").join(floors, "image_id")
    root = scratch.rstrip("/")
    whole = search_queries(index, chosen("full"), f"{root}/full", config)
    new = search_new_items(index, others, chosen("fresh"), f"{root}/new", config)
    return whole.unionByName(new)


def _queries(rows: DataFrame) -> DataFrame:
    """A row per query and block that it probes, as `packing.pack_rows` takes them. rows: probes by number."""
    floor = (F.col("floor") if "floor" in rows.columns else F.lit(None)).cast("float")
    return rows.select(
        "image_id",
        F.coalesce("group_id", "image_id").alias("group_id"),
        "embedding",
        floor.alias("floor"),
        F.explode(F.array_distinct("probes")).alias("block"),
        F.lit(QUERIES).alias("role"),
    )


def _search(
    index: Index,
    queries: DataFrame,
    scratch: str,
    config: KnnConfig,
    role_of: Callable[[Tile], Tile],
    rules: Rules | None = None,
) -> DataFrame:
    """Queries packed, items read from the index. role_of: the tile as this search sees it."""

    def pack(slots: int, config: KnnConfig) -> packing.Packed:
        held = {number: role_of(tile) for number, tile in index.tiles().items() if tile.role in (MEMBERS, ITEMS)}
        filled = {tile.block for tile in held.values()}
        counts = {key: count for key, count in packing.count_places(queries).items() if key[0] in filled}
        target = partials.PackTarget(scratch, "pack", config.metric, None, index.storage_options)
        parts = layout.lay_out(counts, config.tile_rows, config.tile_rows, slots, index.next_tile)
        packed, _ = packing.pack_rows(queries, parts, target)
        asked = {block for block, _ in counts} | {tile.block for tile in held.values() if tile.role == MEMBERS}
        tiles = {number: tile for number, tile in held.items() if tile.block in asked} | packed
        return packing.Packed(slots, config.tile_rows, index.row_bytes(), tiles)

    return search_packed(queries.sparkSession, pack, scratch, config, index.storage_options, rules)


def _meet(
    batches: Iterable[pa.RecordBatch], tiles: Mapping[int, Tile], meeting: partials.Meeting
) -> Iterator[pa.RecordBatch]:
    batches = [batch for batch in batches if batch.num_rows]
    if not batches:
        return
    meeting = meeting._replace(threads=TaskContext.get().cpus())
    rows = pa.Table.from_batches(batches).sort_by([("tile", "ascending"), ("image_id", "ascending")]).combine_chunks()
    numbers = rows["tile"].to_numpy()
    bounds = np.flatnonzero(np.diff(numbers, prepend=-1, append=-1))
    for start, stop in itertools.pairwise(bounds.tolist()):
        content = read_tile(tiles[int(numbers[start])], meeting.storage_options)
        yield from partials.meet_items(content, rows.slice(start, stop - start), meeting)
