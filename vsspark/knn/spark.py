"""The neighbour search on Spark: pack rows into tile files, plan pairs of tiles, join them, merge the partial lists."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from vsspark.config import KnnConfig
from vsspark.errors import ConfigError
from vsspark.gpus import cores_per_gpu, one_gpu_per_task, take_gpu
from vsspark.knn import metrics, partials, plan
from vsspark.knn.tiles import NO_BLOCK, Tile, holds_files, read_texts, write_text
from vsspark.workers import map_in_arrow

log = logging.getLogger(__name__)

_TILE = "tile int, uri string, batch int, rows int, blocks array<int>, counts array<int>"
_LAYOUT = pa.schema(
    [("block", pa.int32()), ("asks", pa.bool_()), ("first", pa.int32()), ("packs", pa.list_(pa.int32()))]
)
_PARTIAL = "number int, chunk int, query long, values binary, ids binary, groups binary"
_FOUND = "query_image_id long, rank int, item_image_id long, similarity float"
APPROXIMATE_TILE = 4  # times config.tile_rows
APPROXIMATE_SMALLEST = 16_384  # rows: in smaller tiles cells gain little
_PLAN = "plan.json"
_MERGE_BYTES = 128 * 2**20  # partial lists one merge task holds


def search_neighbours(
    items: DataFrame, scratch: str, config: KnnConfig, storage_options: Mapping[str, str] | None = None
) -> DataFrame:
    """query_image_id long, rank int (1 = nearest, no gaps), item_image_id long, similarity float: each query's k nearest images of other groups.

    items: image_id long (unique), group_id long (the product; null = the image alone), embedding array<float>, block int (where the row is an
    item; null = nowhere), probes array<int> (the blocks the row searches, its own among them as a rule; null or empty = it does not search),
    floor float (optional: the similarity below which the row wants no neighbour, give or take what float32 may differ by; null = any).
    A list holds at most one image of a group, its best; equal similarities order by lower id. similarity: cosine, else 1 / (1 + distance).
    scratch: a folder for tile files and partial lists, a local path all executors share, file: or s3a://; delete it once the result is written.
    Until then it is what a killed search goes on from: called again with the same rows, settings and scratch, it repeats no finished task that found anything.
    Name it after what is searched: tiles found there are taken for those of these rows.
    storage_options: Hadoop's fs.s3a names, see `vsspark.images.fetch.open_filesystem`.

    Packing and joining run at once, and the rows are read twice (sizes, then packing): pass what is read from storage. Merging the partial
    lists is left to whoever writes the result.

    Cost and memory, for n rows of d floats: packing shuffles the embeddings once, n * d * 4 bytes, whatever the number of probes.
    A join task maps two tiles at a time (2 * tile_rows * d * 4 bytes; 84 MB at 8192 x 1280) and holds the lists of its unit, at most
    2 * 16 * tile_rows * k * 20 bytes. A tile is read once per unit it takes part in. A query is in one partial list per unit, k * 20 bytes each:
    for a block of T tiles T / side lists, the side up to 16 tiles as the block outgrows an even share of the cluster. A merge task holds
    128 MiB of partial lists. By arithmetic, not measured: ten million images of 1280 floats in 1,000 uneven blocks on 100 executors of 4 cores, k = 20, 3 probes: 51 GB
    packed, about 0.5 GB an executor; at most some 10 partial lists a query, 40 GB through the shuffle, 0.4 GB an executor; tile reads of
    some 10 times the packed bytes.

    Approximate mode joins tiles of 4 * tile_rows rows, one pair a unit, each join calibrated and audited by itself (`audited_recall`).

    Raises what the kernels raise for NaN, infinity and embeddings of differing lengths.
    """
    spark = items.sparkSession
    if config.mode == "approximate":  # cells pay off on large tiles
        config = config.model_copy(update={"tile_rows": APPROXIMATE_TILE * config.tile_rows})
    packed = _packed_before(scratch, storage_options)
    if packed is None:
        slots = max(1, spark.sparkContext.defaultParallelism)
        packed = _Packed(slots, config.tile_rows, _pack(items, scratch, config, slots, storage_options))
        write_text(scratch, _PLAN, json.dumps(packed), storage_options)
    # With other slots or tiles than those it was packed for, the work would be cut into other units, and finished ones would be taken for them.
    slots, tile_rows, tiles = packed
    config = config.model_copy(update={"tile_rows": tile_rows})
    work = plan.units(tiles, slots, config.tile_rows, plan.WIDEST if config.mode == "exact" else 1)
    lists = sum(plan.lists(tiles, unit) for unit, _ in work)
    chunks = max(slots, -(-lists * config.k * 20 // _MERGE_BYTES))
    partial_lists = f"{scratch.rstrip('/')}/partial-lists"
    todo = _unfinished(spark, partial_lists, scratch, work, storage_options)
    bins = max(
        1, min(len(todo), plan.UNITS_PER_SLOT * slots, round(sum(cost for _, _, cost in todo) / plan.SMALLEST_TASK))
    )
    log.info(
        "knn %d tiles, %d of %d units in %d tasks, %.3g pairs, %d partial lists",
        len(tiles),
        len(todo),
        len(work),
        bins,
        sum(c for _, c in work),
        lists,
    )
    if todo:
        dealt: list[list[tuple[int, plan.Unit]]] = [[] for _ in range(bins)]
        for b, (i, unit, _) in zip(plan.deal([cost for _, _, cost in todo], bins), todo, strict=True):
            dealt[b].append((i, unit))
        join = partial(
            _join_units,
            dealt=dealt,
            tiles=tiles,
            config=config,
            chunks=chunks,
            scratch=scratch,
            storage_options=storage_options,
        )
        profile = (
            one_gpu_per_task(cores_per_gpu(spark))
            if config.device != "cpu" and config.metric in metrics.ON_GPU
            else None
        )
        found = (
            map_in_arrow(spark.range(0, bins, 1, bins), join, _PARTIAL, profile=profile)
            .write.mode("append")
            .option("compression", "none")
        )
        # A task's units rely on each other's lists (`floors`), so all of them are there or none: one file a task, whatever the session says.
        found = found.option("maxRecordsPerFile", 0)
        # Version 2 moves a task's file into place when the task ends, not when the job does: a killed search keeps what was finished.
        found.option("mapreduce.fileoutputcommitter.algorithm.version", "2").parquet(partial_lists)
    merge = partial(_merge_lists, metric=config.metric)
    joined = spark.read.schema(_PARTIAL).parquet(partial_lists) if work else spark.createDataFrame([], _PARTIAL)
    return map_in_arrow(joined.repartitionById(chunks, F.col("chunk")), merge, _FOUND)


def audited_recall(scratch: str, storage_options: Mapping[str, str] | None = None) -> float | None:
    """The recall of a finished search's approximate joins, each by its number of queries; None where every join was exact.

    Each join measures its own against exact search, on queries that its calibration has not seen, and does its work again exactly where
    knn.target_recall is missed, which counts as 1. Call this after the result is written and before scratch is deleted.
    """
    audits = [audit for text in read_texts(scratch, "audit-", storage_options) for audit in json.loads(text)]
    if not audits:
        return None
    recalls, queries = np.array(audits).T
    recall = float(np.average(recalls, weights=queries))
    log.info(
        "knn approximate: recall %.4f over the queries of %d joins, lowest %.4f", recall, len(audits), recalls.min()
    )
    return recall


class _Packed(NamedTuple):
    """What a search must know to cut its work into the units it was cut into before."""

    slots: int
    tile_rows: int
    tiles: dict[int, Tile]


def _packed_before(scratch: str, storage_options: Mapping[str, str] | None) -> _Packed | None:
    """What an earlier search left in scratch; None where it did not get so far."""
    for text in read_texts(scratch, _PLAN, storage_options):
        slots, tile_rows, written = json.loads(text)
        tiles = {int(number): Tile(*fields) for number, fields in written.items()}
        return _Packed(
            slots,
            tile_rows,
            {
                number: tile._replace(probed={int(b): rows for b, rows in tile.probed.items()})
                for number, tile in tiles.items()
            },
        )
    return None


def _unfinished(
    spark: SparkSession,
    partial_lists: str,
    scratch: str,
    work: list[tuple[plan.Unit, float]],
    storage_options: Mapping[str, str] | None,
) -> list[tuple[int, plan.Unit, float]]:
    """(number, unit, cost) of the units of which no task has left partial lists yet."""
    done: set[int] = set()
    if holds_files(partial_lists, storage_options):
        done = {
            row.number
            for row in spark.read.schema(_PARTIAL).parquet(partial_lists).select("number").distinct().collect()
        }
    return [(i, unit, cost) for i, (unit, cost) in enumerate(work) if i not in done]


def _pack(
    items: DataFrame, scratch: str, config: KnnConfig, slots: int, storage_options: Mapping[str, str] | None
) -> dict[int, Tile]:
    """The tiles, written. Rows of one block are dealt to its tiles by a hash of their id; small tiles share a file and a task."""
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
    """For hamming, each dimension's median over 4,000 rows chosen by a hash: signs of features that are never negative say little."""
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


def _join_units(
    batches: Iterable[pa.RecordBatch],
    dealt: list[list[tuple[int, plan.Unit]]],
    tiles: dict[int, Tile],
    config: KnnConfig,
    chunks: int,
    scratch: str,
    storage_options: Mapping[str, str] | None,
) -> Iterator[pa.RecordBatch]:
    device, threads, floors = _device(config), TaskContext.get().cpus(), {}
    for batch in batches:
        for b in batch.column("id").to_pylist():
            for number, unit in dealt[b]:
                yield from partials.search_unit(
                    number, unit, tiles, config, chunks, scratch, storage_options, device, threads, floors
                )


def _device(config: KnnConfig) -> str | None:
    """The GPU a task searches on: the one Spark gave it; with device "gpu" and none given, the first. None where it searches on its cores."""
    if config.device == "cpu" or (not take_gpu() and config.device == "auto"):
        return None
    from vsspark.knn import gpu

    if not gpu.available():
        if config.device == "gpu":
            raise ConfigError(
                "knn.device=gpu: TensorFlow is not installed on this executor or sees no GPU; use cpu or auto"
            )
        return None
    return "/GPU:0"


def _merge_lists(batches: Iterable[pa.RecordBatch], metric: str) -> Iterator[pa.RecordBatch]:
    batches = [batch for batch in batches if batch.num_rows]
    if batches:
        yield from partials.merge(batches, metric)
