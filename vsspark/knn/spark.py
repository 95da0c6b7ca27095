"""The neighbour search on Spark: pack rows into tile files, plan pairs of tiles, join them, merge the partial lists."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from vsspark.config import KnnConfig
from vsspark.errors import ConfigError
from vsspark.knn import metrics, packing, partials, plan
from vsspark.knn.tiles import Tile, holds_files, read_texts, write_text
from vsspark.spark.gpus import cores_per_gpu, one_gpu_per_task, take_gpu
from vsspark.spark.workers import map_in_arrow

log = logging.getLogger(__name__)

_PARTIAL = "number int, chunk int, query long, values binary, ids binary, groups binary"
_FOUND = "query_image_id long, rank int, item_image_id long, similarity float"
APPROXIMATE_TILE = 4  # times config.tile_rows
_MERGE_BYTES = 128 * 2**20  # partial lists one merge task holds


def search_neighbours(
    items: DataFrame, scratch: str, config: KnnConfig, storage_options: Mapping[str, str] | None = None
) -> DataFrame:
    """query_image_id long, rank int (1 = nearest, no gaps), item_image_id long, similarity float: each query's k
    nearest images of other groups.

    items: image_id long (unique), group_id long (the product; null = the image alone), embedding array<float>, block
    int (where the row is an item; null = nowhere), probes array<int> (the blocks the row searches, its own among them
    as a rule; null or empty = it does not search), floor float (optional: the similarity below which the row wants no
    neighbour; null = any). A list holds at most one image of a group, its best; equal similarities order by lower id.
    similarity: cosine, else 1 / (1 + distance). scratch: a folder for tile files and partial lists, a local path all
    executors share, file: or s3a://; delete it once the result is written. Until then it is what a killed search goes
    on from: called again with the same rows, settings and scratch, it repeats no finished task that found anything.
    Name it after what is searched: tiles found there are taken for those of these rows. storage_options: Hadoop's
    fs.s3a names, see `vsspark.storage.filesystems.open_filesystem`.

    Packing and joining run at once, and the rows are read twice (sizes, then packing): pass what is read from
    storage. Merging the partial lists is left to whoever writes the result.

    Cost and memory, for n rows of d floats: packing shuffles the embeddings once, n * d * 4 bytes, whatever the
    number of probes. A join task maps two tiles at a time (2 * tile_rows * d * 4 bytes; 84 MB at 8192 x 1280) and
    holds the lists of its unit, at most 2 * 16 * tile_rows * k * 20 bytes. A tile is read once per unit it takes part
    in. A query is in one partial list per unit, k * 20 bytes each: for a block of T tiles T / side lists, the side up
    to 16 tiles as the block outgrows an even share of the cluster. A merge task holds 128 MiB of partial lists. By
    arithmetic, not measured: ten million images of 1280 floats in 1,000 uneven blocks on 100 executors of 4 cores, k
    = 20, 3 probes: 51 GB packed, about 0.5 GB an executor; at most some 10 partial lists a query, 40 GB through the
    shuffle, 0.4 GB an executor; tile reads of some 10 times the packed bytes.

    Approximate mode joins tiles of 4 * tile_rows rows, one pair a unit, each join calibrated and audited by itself
    (`audited_recall`).

    Raises what the kernels raise for NaN, infinity and embeddings of differing lengths.
    """
    spark = items.sparkSession
    if config.mode == "approximate":  # cells pay off on large tiles
        config = config.model_copy(update={"tile_rows": APPROXIMATE_TILE * config.tile_rows})
    packed = packing.packed_before(scratch, storage_options)
    if packed is None:
        slots = max(1, spark.sparkContext.defaultParallelism)
        packed = packing.Packed(
            slots, config.tile_rows, packing.pack_tiles(items, scratch, config, slots, storage_options)
        )
        write_text(scratch, packing.PLAN, json.dumps(packed), storage_options)
    # With other slots or tiles than those it was packed for, the work would be cut into other units, and finished
    # ones would be taken for them.
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
        # A task's units rely on each other's lists (`floors`), so all of them are there or none: one file a task,
        # whatever the session says.
        found = found.option("maxRecordsPerFile", 0)
        # Version 2 moves a task's file into place when the task ends, not when the job does: a killed search keeps
        # what was finished.
        found.option("mapreduce.fileoutputcommitter.algorithm.version", "2").parquet(partial_lists)
    merge = partial(_merge_lists, metric=config.metric)
    joined = spark.read.schema(_PARTIAL).parquet(partial_lists) if work else spark.createDataFrame([], _PARTIAL)
    return map_in_arrow(joined.repartitionById(chunks, F.col("chunk")), merge, _FOUND)


def audited_recall(scratch: str, storage_options: Mapping[str, str] | None = None) -> float | None:
    """The recall of a finished search's approximate joins, each by its number of queries; None where every join was
    exact.

    Each join measures its own against exact search, on queries that its calibration has not seen, and does its work
    again exactly where knn.target_recall is missed, which counts as 1. Call this after the result is written and
    before scratch is deleted.
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
    """The GPU a task searches on: the one Spark gave it; with device "gpu" and none given, the first. None where it
    searches on its cores.
    """
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
