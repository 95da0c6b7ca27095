"""A kept index follows the tables: what is new is packed into new tiles, what is gone is struck out, worn tiles are
written anew.

Cost of a night with c changed rows of n, d floats each: the ids and contents of all rows are read and compared (some 60
bytes a row, from the tile files, no vectors); c * d * 4 bytes are shuffled and written; the positions of all rows that
are struck out, at most a fifth, are written again, 4 bytes each.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from vsspark.config import KnnConfig
from vsspark.errors import DataQualityError
from vsspark.knn import layout, packing, partials, plan
from vsspark.knn.compaction import worn_tiles
from vsspark.knn.index import OUTSIDE, Change, Entry, Index, commit, delete_unused
from vsspark.knn.tiles import ITEMS, MEMBERS, QUERIES, Tile, TileRows, read_facts, read_tile, write_tiles
from vsspark.spark.versions import repartition_by_id
from vsspark.spark.workers import map_in_arrow
from vsspark.storage.filesystems import PLAIN_PATHS

log = logging.getLogger(__name__)

_FACTS = "image_id long, group_id long, content string, block int, role int, tile int, position int"
_MOST_BROADCAST = 5_000_000  # ids: 80 MB where they are looked up
_REWRITTEN = "number int, file string, rows int"


def index_contents(spark: SparkSession, index: Index) -> DataFrame:
    """image_id, group_id, content, block (by number; OUTSIDE: no item), role, tile, position: what the index holds."""
    tiles = index.tiles()
    numbers = spark.createDataFrame(pa.table({"tile": pa.array(tiles, pa.int32())}))
    slots = 4 * spark.sparkContext.defaultParallelism
    tasks = repartition_by_id(numbers, max(1, min(len(tiles), slots)), F.col("tile"))
    return map_in_arrow(tasks, partial(_facts, tiles=tiles, storage_options=index.storage_options), _FACTS)


def with_numbers(index: Index, rows: DataFrame) -> DataFrame:
    """The rows with block and probes (names) as the index numbers them; a probe of a block it has not falls away."""
    names = F.lit(list(index.blocks)).cast("array<string>")
    number = lambda name: (F.array_position(names, name) - 1).cast("int")  # noqa: E731
    probes = F.filter(F.transform("probes", number), lambda block: block >= 0)
    return rows.withColumns({"block": number(F.col("block")), "probes": probes})


def update_index(index: Index, rows: DataFrame, scratch: str, config: KnnConfig, label: str = "") -> Index:
    """The index of these rows, committed; the same one where it holds them already.

    rows: image_id long (unique), group_id long, content string (equal where the embedding is), embedding array<float>,
    block string (null: no item), probes array<string>. scratch: a folder; delete it afterwards. label: what the caller
    calls these rows, see `Index.label`. Raises DataQualityError for embeddings of another length than the index has.
    """
    spark = rows.sparkSession
    named = rows.select("block").where("block IS NOT NULL").distinct().collect()
    names = {row.block for row in named}
    index = index._replace(blocks=(*index.blocks, *sorted(names - set(index.blocks))))
    wanted = _wanted(index, rows)
    struck: dict[int, np.ndarray] = {}
    if index.entries:
        changed = _changed(spark, index, wanted, f"{scratch.rstrip('/')}/changed")
        struck = _positions(changed.where("tile IS NOT NULL"))
        fresh = changed.where("fresh").select("image_id")
        few = fresh.count() <= _MOST_BROADCAST
        wanted = wanted.join(F.broadcast(fresh) if few else fresh, "image_id", "left_semi")
    counts = packing.count_places(wanted)
    if not counts and not struck and index.version and label == index.label:
        return index
    index = _sized(index, counts, config, _slots(spark))
    added, row_bytes = _pack(index, wanted, counts, config, _slots(spark))
    if index.settings.dimension and row_bytes not in (0, index.row_bytes()):
        raise DataQualityError(
            f"embeddings: the index has {index.settings.dimension} numbers a row, got {row_bytes // 4}; "
            "build a new index"
        )
    if row_bytes:
        index = index._replace(settings=index.settings._replace(dimension=row_bytes // 4))
    before = index
    change = Change(added, struck, blocks=index.blocks, label=label)
    index = commit(index, change, f"struck-{uuid.uuid4().hex[:12]}")
    log.info(
        "index      version %d: %d rows in %d tiles, %d rows added, %d struck out",
        index.version, index.rows(), len(index.entries), sum(counts.values()), index_struck(index, before, added),
    )  # fmt: skip
    index = compact(spark, index)
    delete_unused(index)
    return index


def index_struck(index: Index, before: Index, added: Iterable[Entry]) -> int:
    """How many rows of `before` the index does not hold any more."""
    return before.rows() + sum(entry.rows for entry in added) - index.rows()


def compact(spark: SparkSession, index: Index) -> Index:
    """The index with its worn tiles written anew; the same one where none is."""
    groups = worn_tiles(index)
    if not groups:
        return index
    tiles, token = index.tiles(), uuid.uuid4().hex[:12]
    sources = [[tiles[number] for number in group] for group in groups]
    numbers = spark.range(0, len(groups), 1, len(groups))
    rewrite = partial(_rewrite, sources=sources, index=index, token=token)
    written = {row.number: row for row in map_in_arrow(numbers, rewrite, _REWRITTEN).collect()}
    added = [
        Entry(row.file, 0, row.rows, index.entries[groups[number][0]].block, index.entries[groups[number][0]].role)
        for number, row in sorted(written.items())
    ]
    removed = frozenset(number for group in groups for number in group)
    log.info("index compaction: %d tiles from %d, %d rows", len(added), len(removed), sum(e.rows for e in added))
    return commit(index, Change(added, removed=removed), f"struck-{token}")


def _wanted(index: Index, rows: DataFrame) -> DataFrame:
    """Each row's home: block and role by the index's numbers; rows that are no items and search nothing are left
    out.
    """
    numbered = with_numbers(index, rows).withColumn("block", F.coalesce("block", F.lit(OUTSIDE)))
    role: Column = F.when(F.col("block") == OUTSIDE, QUERIES)
    role = role.when(F.array_contains("probes", F.col("block")), MEMBERS).otherwise(ITEMS)
    return numbered.where((F.col("block") != OUTSIDE) | (F.size("probes") > 0)).select(
        "image_id",
        F.coalesce("group_id", "image_id").alias("group_id"),
        "content",
        "embedding",
        F.lit(None).cast("float").alias("floor"),
        "block",
        role.alias("role"),
    )


def _changed(spark: SparkSession, index: Index, wanted: DataFrame, to: str) -> DataFrame:
    """image_id, tile and position (of a row to strike out, or null), fresh (to be added): where rows and index
    differ. Written, because it is used several times.
    """
    held = index_contents(spark, index).select("image_id", "tile", "position", _digest().alias("held"))
    both = held.join(wanted.select("image_id", _digest().alias("now")), "image_id", "full_outer")
    fresh = F.col("now").isNotNull().alias("fresh")
    both.where("NOT held <=> now").select("image_id", "tile", "position", fresh).write.mode("overwrite").parquet(to)
    return spark.read.options(**PLAIN_PATHS).parquet(to)


def _digest() -> Column:
    """64 bits of all that an index says of a row: the comparison shuffles 8 bytes instead of a content's name."""
    return F.xxhash64("group_id", F.coalesce("content", F.lit("")), "block", "role")


def _positions(rows: DataFrame) -> dict[int, np.ndarray]:
    """Row positions by tile: 8 bytes a row on the driver."""
    table = rows.select("tile", "position").toArrow()
    if not len(table):
        return {}
    tile, position = table["tile"].to_numpy(), table["position"].to_numpy()
    order = np.lexsort((position, tile))
    numbers, starts = np.unique(tile[order], return_index=True)
    return dict(zip(numbers.tolist(), np.split(position[order], starts[1:]), strict=True))


def _sized(index: Index, counts: layout.Rows, config: KnnConfig, slots: int) -> Index:
    """The index with the size of its tiles, which its first rows decide."""
    if index.tile_rows:
        return index
    exact = config.mode == "exact"
    most = config.tile_rows if exact else plan.APPROXIMATE_TILE * config.tile_rows
    smallest = layout.SMALLEST_TILE if exact else layout.APPROXIMATE_SMALLEST
    return index._replace(tile_rows=layout.rows_per_tile(counts, most, slots, smallest))


def _pack(
    index: Index, wanted: DataFrame, counts: layout.Rows, config: KnnConfig, slots: int
) -> tuple[list[Entry], int]:
    if not counts:
        return [], 0
    parts = layout.lay_out(counts, index.tile_rows, max(index.tile_rows, config.tile_rows), slots)
    name = f"{index.version + 1:06d}-{uuid.uuid4().hex[:12]}"
    target = partials.PackTarget(f"{index.folder}/tiles", name, config.metric, None, index.storage_options)
    tiles, row_bytes = packing.pack_rows(wanted, parts, target)
    entries = [
        Entry(tile.uri.rpartition("/")[2], tile.batch, tile.rows, tile.block, tile.role)
        for _, tile in sorted(tiles.items())
    ]
    return entries, row_bytes


def _slots(spark: SparkSession) -> int:
    return max(1, spark.sparkContext.defaultParallelism)


def _facts(batches: Iterable[pa.RecordBatch], tiles: dict[int, Tile], storage_options) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for number in batch.column("tile").to_pylist():
            tile = tiles[number]
            rows = read_facts(tile, storage_options)
            same = [pa.array(np.full(rows.num_rows, value, np.int32)) for value in (tile.block, tile.role, number)]
            columns = [rows.column("id"), rows.column("group"), rows.column("content"), *same, rows.column("position")]
            names = [name.split()[0] for name in _FACTS.split(", ")]
            yield pa.record_batch(columns, names=names)


def _rewrite(
    batches: Iterable[pa.RecordBatch], sources: list[list[Tile]], index: Index, token: str
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for number in batch.column("id").to_pylist():
            parts = [read_tile(tile, index.storage_options) for tile in sources[number]]
            columns = [np.concatenate(column) for column in list(zip(*parts, strict=True))[:4]]
            contents = pa.concat_arrays([part.contents for part in parts])
            rows = TileRows(*columns, contents).take(np.argsort(columns[1], kind="stable"))
            name = f"{index.version + 1:06d}-{token}-{number:06d}"
            write_tiles(f"{index.folder}/tiles", name, [rows], index.storage_options)
            yield pa.record_batch(
                [pa.array([number], pa.int32()), pa.array([f"{name}.arrow"]), pa.array([len(rows.ids)], pa.int32())],
                names=["number", "file", "rows"],
            )
