"""The neighbour search on Spark: pack rows into tile files, plan pairs of tiles, join them, merge the partial lists."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from vsspark.config import KnnConfig
from vsspark.errors import ConfigError
from vsspark.knn import metrics, packing, partials, plan
from vsspark.knn.facts import Rules, write_facts
from vsspark.knn.tiles import holds_files, read_texts, write_text
from vsspark.spark.gpus import cores_per_gpu, one_gpu_per_task, take_gpu
from vsspark.spark.versions import repartition_by_id
from vsspark.spark.workers import map_in_arrow
from vsspark.storage.filesystems import PLAIN_PATHS

log = logging.getLogger(__name__)

_PARTIAL = "number int, chunk int, query long, values binary, ids binary, groups binary"
LISTS = "query_image_id long, rank int, item_image_id long, similarity float"
_MERGE_BYTES = 128 * 2**20  # partial lists one merge task holds


def search_neighbours(
    items: DataFrame,
    scratch: str,
    config: KnnConfig,
    storage_options: Mapping[str, str] | None = None,
    rules: Rules | None = None,
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
    fs.s3a names, see `vsspark.storage.filesystems.open_filesystem`. rules: which items may be in a query's list; such a
    search is exact, on the CPU.

    Packing and joining run at once, and the rows are read twice (sizes, then packing): pass what is read from
    storage. Merging the partial lists is left to whoever writes the result.

    Cost and memory, for n rows of d floats: packing shuffles a row once for each block that it is in or probes, d * 4
    bytes. A join task holds at most 640 MiB of left tiles and their lists and reads right tiles one after the other
    (`plan.task_bytes`). A query is in one partial list, k * 20 bytes, for each unit that its tile takes part in. A
    merge task holds 128 MiB of partial lists. Ten million images of 1280 floats in 1,000 categories by Zipf's law on
    400 slots, k = 20 and 5 spare places, 3 probes, by simulation (`simulate`; docs/knn.md has the whole table): 154 GB
    packed, tile reads of 7.0 times the packed bytes (approximate: 8.7), 10.1 partial lists a query, 1.0 GB in the
    largest task (approximate: 1.6).

    Approximate mode joins tiles of 4 * tile_rows rows, each pair calibrated and audited by itself (`audited_recall`).

    Raises what the kernels raise for NaN, infinity and embeddings of differing lengths.
    """

    def pack(slots: int, config: KnnConfig) -> packing.Packed:
        return packing.pack_tiles(items, scratch, config, slots, storage_options)

    return search_packed(items.sparkSession, pack, scratch, config, storage_options, rules)


def search_packed(
    spark: SparkSession,
    pack: Callable[[int, KnnConfig], packing.Packed],
    scratch: str,
    config: KnnConfig,
    storage_options: Mapping[str, str] | None,
    rules: Rules | None = None,
) -> DataFrame:
    """What `search_neighbours` returns, of the tiles that `pack` gives for so many slots; it is called where scratch
    holds none yet.
    """
    if rules is not None:
        config = config.model_copy(update={"mode": "exact", "device": "cpu"})
    if config.mode == "approximate":
        config = config.model_copy(update={"tile_rows": plan.APPROXIMATE_TILE * config.tile_rows})
    packed = packing.packed_before(scratch, storage_options)
    if packed is None:
        packed = pack(_slots(spark, config), config)
        if rules is not None:
            write_facts(rules.facts, packed.tiles, scratch, storage_options)
        write_text(scratch, packing.PLAN, json.dumps(packed), storage_options)
    # With other slots or tiles than those it was packed for, the work would be cut into other units, and finished
    # ones would be taken for them.
    slots, tiles = packed.slots, packed.tiles
    config = config.model_copy(update={"tile_rows": packed.tile_rows})
    work = plan.units(tiles, slots, plan.held_rows(plan.Shape(packed.row_bytes, config.k)))
    lists = sum(plan.lists(tiles, unit) for unit, _ in work)
    chunks = max(slots, -(-lists * plan.list_bytes(config.k) // _MERGE_BYTES))
    partial_lists = f"{scratch.rstrip('/')}/lists"
    done = _finished(spark, partial_lists, storage_options)
    dealt = plan.tasks(work, slots, done)
    log.info(
        "knn        %d tiles, %d units (%d done before) in %d tasks, %.3g pairs, %d partial lists",
        len(tiles),
        len(work),
        len(done),
        len(dealt),
        sum(c for _, c in work),
        lists,
    )
    if dealt:
        search = partials.Search(tiles, config, chunks, scratch, storage_options, terms=rules and rules.terms)
        profile = one_gpu_per_task(_cores_beside_gpu(spark, config))
        numbers = spark.range(0, len(dealt), 1, len(dealt))
        found = map_in_arrow(numbers, partial(_join_units, dealt=dealt, search=search), _PARTIAL, profile=profile)
        # A task's units rely on each other's lists (`floors`), so all of them are there or none: one file a task,
        # whatever the session says.
        found = found.write.mode("append").option("compression", "none").option("maxRecordsPerFile", 0)
        # Version 2 moves a task's file into place when the task ends, not when the job does: a killed search keeps
        # what was finished.
        found.option("mapreduce.fileoutputcommitter.algorithm.version", "2").parquet(partial_lists)
    merge = partial(_merge_lists, metric=config.metric)
    joined = (
        spark.read.options(**PLAIN_PATHS).schema(_PARTIAL).parquet(partial_lists)
        if work
        else spark.createDataFrame([], _PARTIAL)
    )
    return map_in_arrow(repartition_by_id(joined, chunks, F.col("chunk")), merge, LISTS)


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


def _cores_beside_gpu(spark: SparkSession, config: KnnConfig) -> int | None:
    """The cores of a task that has a GPU to itself; None where the search uses none."""
    return cores_per_gpu(spark) if config.device != "cpu" and config.metric in metrics.ON_GPU else None


def _slots(spark: SparkSession, config: KnnConfig) -> int:
    """How many join tasks run at once: the cluster's cores by those of a task."""
    cores = _cores_beside_gpu(spark, config) or int(spark.conf.get("spark.task.cpus", "1"))
    return max(1, spark.sparkContext.defaultParallelism // cores)


def _finished(spark: SparkSession, partial_lists: str, storage_options: Mapping[str, str] | None) -> set[int]:
    """The numbers of the units of which a task has left partial lists."""
    if not holds_files(partial_lists, storage_options):
        return set()
    numbers = spark.read.options(**PLAIN_PATHS).schema(_PARTIAL).parquet(partial_lists).select("number").distinct()
    return {row.number for row in numbers.collect()}


def _join_units(
    batches: Iterable[pa.RecordBatch], dealt: list[list[tuple[int, plan.Unit]]], search: partials.Search
) -> Iterator[pa.RecordBatch]:
    search = search._replace(device=_device(search.config), threads=TaskContext.get().cpus())
    floors: dict[int, np.ndarray] = {}
    for batch in batches:
        for task in batch.column("id").to_pylist():
            for number, unit in dealt[task]:
                yield from partials.search_unit(number, unit, search, floors)


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
