"""What a Spark task does with Arrow data: write a pack of tiles, search a unit of tile pairs, merge partial lists. No
Spark in here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from vsspark.arrow import to_matrix
from vsspark.config import KnnConfig
from vsspark.knn import engine, metrics, topk
from vsspark.knn.eligibility import Facts, Terms
from vsspark.knn.exact import Rows
from vsspark.knn.plan import EMITTED, Unit
from vsspark.knn.tiles import Tile, TileRows, read_facts_of, read_tile, write_text, write_tiles


class Search(NamedTuple):
    """What all units of a search share."""

    tiles: Mapping[int, Tile]
    config: KnnConfig
    chunks: int  # merge tasks
    scratch: str
    storage_options: Mapping[str, str] | None
    device: str | None = None  # TensorFlow's name of a GPU; None: the CPU
    threads: int | None = None  # cores to use; None: as `exact.default_threads` says
    terms: Terms | None = None  # on which items may be in a list, by the facts beside the tiles

    def facts(self, number: int, ids: np.ndarray) -> Facts | None:
        """What the terms compare of a tile's rows."""
        return None if self.terms is None else Facts(*read_facts_of(self.scratch, number, ids, self.storage_options))

    def read(self, number: int) -> TileRows:
        """A tile's rows."""
        return read_tile(self.tiles[number], self.storage_options)


class PackTarget(NamedTuple):
    """Where packs are written, and how rows are prepared."""

    folder: str
    prefix: str  # of the files' names
    metric: str
    thresholds: np.ndarray | None
    storage_options: Mapping[str, str] | None


def write_pack(table: pa.Table, target: PackTarget) -> pa.RecordBatch:
    """One row per tile written: tile, uri, batch, rows, and row_bytes of a vector.

    table: image_id, group_id, embedding, floor (a similarity or null), content (optional), tile, pack; the pack names
    the file.
    """
    metric = target.metric
    table = table.combine_chunks()
    x = metrics.checked(to_matrix(table.column("embedding").chunk(0)), "embeddings")
    ids, groups, tile_of = (table.column(name).to_numpy() for name in ("image_id", "group_id", "tile"))
    floors = least_values(table.column("floor").to_numpy(), metric)
    numbers = np.unique(tile_of)
    contents = []
    for number in numbers:
        members = np.flatnonzero(tile_of == number)
        members = members[np.argsort(ids[members], kind="stable")]
        vectors = engine.prepared(x[members], metric, target.thresholds)
        keys = table.column("content").chunk(0).take(pa.array(members)) if "content" in table.column_names else None
        contents.append(TileRows(vectors, ids[members], groups[members], floors[members], keys))
    name = f"{target.prefix}-{table.column('pack')[0].as_py():06d}"
    uri = write_tiles(target.folder, name, contents, target.storage_options)
    columns = {
        "tile": pa.array(numbers, pa.int32()),
        "uri": pa.array([uri] * len(numbers)),
        "batch": pa.array(range(len(numbers)), pa.int32()),
        "rows": pa.array([len(c.ids) for c in contents], pa.int32()),
        "row_bytes": pa.array([c.vectors.shape[1] * c.vectors.itemsize for c in contents], pa.int32()),
    }
    return pa.record_batch(columns)


def search_unit(number: int, unit: Unit, search: Search, floors: dict[int, np.ndarray]) -> Iterator[pa.RecordBatch]:
    """The partial lists of a unit: its number, chunk (the merge task of the query), query, and k values, ids and
    groups as bytes.

    The left tiles and their lists are held, the right ones are read one after the other. floors: per tile, the least
    values of the lists that units before this one have emitted; what does not reach them is left out. It is brought
    up to date here: pass the same one to all units whose lists are sure to be merged together. In approximate mode the
    recall and the number of queries of each of its joins go to the file audit-NUMBER.json in scratch.
    """
    config, audits = search.config, []
    conditions = () if search.terms is None else search.terms.conditions
    settings = (config.mode, config.target_recall, search.threads, config.seed, config.tile_rows, search.device)

    def offer(left: Rows, right: Rows, both: bool) -> None:
        # Similarities, not distances: lists are ordered by the number that readers see, and two distances may round
        # to one similarity.
        audits.extend(engine.offer(left, right, config.metric, both, *settings, similarity=True, conditions=conditions))

    def rows(tile: int, searches: bool) -> Rows:
        content = search.read(tile)
        lowest = floors.get(tile, content.floors) if searches else None
        top = topk.empty(len(content.ids), config.k if searches else 1, lowest)
        facts = search.facts(tile, content.ids)
        groups = content.groups if facts is None else search.terms.groups(facts, content.groups)
        return Rows(content.vectors, content.ids, groups, top, facts)

    def emit(tile: int, of: Rows) -> Iterator[pa.RecordBatch]:
        floors[tile] = of.top.floor
        yield from _emit(number, of.ids, of.top, search.chunks)

    held = [(tile, rows(tile, True)) for tile in unit.left]
    if unit.left == unit.right:
        for i, (_, left) in enumerate(held):
            for _, right in held[i:]:
                offer(left, right, True)
    else:
        for tile in unit.right:
            right = rows(tile, unit.both)
            for _, left in held:
                offer(left, right, unit.both)
            if unit.both:
                yield from emit(tile, right)
    for tile, left in held:
        yield from emit(tile, left)
    if audits:
        write_text(search.scratch, f"audit-{number:06d}.json", json.dumps(audits), search.storage_options)


class Meeting(NamedTuple):
    """What rows of kept tiles need to meet new items."""

    new: Mapping[int, list[Tile]]  # tiles of new items by block
    config: KnnConfig
    storage_options: Mapping[str, str] | None
    threads: int | None = None


def meet_items(content: TileRows, queries: pa.Table, meeting: Meeting) -> Iterator[pa.RecordBatch]:
    """The lists, as `merge` gives them, of some rows of a tile with the new items of the blocks that they probe.

    queries: image_id, probes (blocks), floor (a similarity or null). Only what reaches its query's floor is listed.
    """
    k, metric = meeting.config.k, meeting.config.metric
    ids = queries["image_id"].combine_chunks().to_numpy()
    at = topk.positions_of(ids, content.ids)
    floors = least_values(queries["floor"].combine_chunks().to_numpy(zero_copy_only=False), metric)
    lists = topk.empty(len(ids), k, floors)
    probes = queries["probes"].combine_chunks()
    owners = np.repeat(np.arange(len(probes)), np.diff(probes.offsets.to_numpy()))
    blocks = probes.flatten().to_numpy(zero_copy_only=False)
    for block, tiles in meeting.new.items():
        asking = owners[blocks == block]
        if not len(asking):
            continue
        some, who = topk.TopK(*(column[asking] for column in lists)), content.take(at[asking])
        left = Rows(who.vectors, who.ids, who.groups, some)
        for tile in tiles:
            items = read_tile(tile, meeting.storage_options)
            right = Rows(items.vectors, items.ids, items.groups, topk.empty(len(items.ids), 1))
            engine.offer(left, right, metric, False, threads=meeting.threads, similarity=True)
        topk.offer_lists(asking, some.values, some.ids, some.groups, lists)
    some = np.flatnonzero(lists.ids[:, 0] != topk.NO_ID)
    yield from answers(ids[some], topk.TopK(*(column[some] for column in lists)), metric)


def merge(batches: list[pa.RecordBatch], metric: str) -> Iterator[pa.RecordBatch]:
    """query_image_id, rank, item_image_id, similarity: the partial lists of each query merged, queries in rising
    order.
    """
    queries = np.concatenate([batch.column("query").to_numpy() for batch in batches])
    found, place = np.unique(queries, return_inverse=True)
    k = len(batches[0].column("values")[0].as_py()) // 4
    top = topk.empty(len(found), k)
    start = 0
    for batch in batches:
        stop = start + batch.num_rows
        values, ids, groups = (
            _from_bytes(batch.column(n), t, k)
            for n, t in (("values", np.float32), ("ids", np.int64), ("groups", np.int64))
        )
        topk.offer_lists(place[start:stop], values, ids, groups, top)
        start = stop
    yield from answers(found, top, metric)


def answers(queries: np.ndarray, top: topk.TopK, metric: str) -> Iterator[pa.RecordBatch]:
    """query_image_id, rank, item_image_id, similarity: a row per place of a list that is filled."""
    for start in range(0, len(queries), EMITTED):
        part = top.rows(start, min(start + EMITTED, len(queries)))
        there = part.ids != topk.NO_ID
        values = part.values[there]
        yield pa.record_batch(
            {
                "query_image_id": np.repeat(queries[start : start + len(there)], there.sum(axis=1)),
                "rank": (np.nonzero(there)[1] + 1).astype(np.int32),
                "item_image_id": part.ids[there],
                "similarity": 1 / (1 - values) if metric == "hamming" else values,
            }
        )


def least_values(floors: np.ndarray, metric: str) -> np.ndarray:
    """(n,) float32: the values of these similarities, -inf for nan. A similarity of last night is the same number
    tonight, to the last bit.
    """
    lowest = np.where(np.isnan(floors), -np.inf, floors)
    if metric == "hamming":
        lowest = np.where(np.isnan(floors), -np.inf, 1 - np.rint(1 / np.maximum(floors, 1e-30)))
    return lowest.astype(np.float32)


def _emit(number: int, ids: np.ndarray, top: topk.TopK, chunks: int) -> Iterator[pa.RecordBatch]:
    some = np.flatnonzero(top.ids[:, 0] != topk.NO_ID)
    for start in range(0, len(some), EMITTED):
        chosen = some[start : start + EMITTED]
        lists = [_to_bytes(part[chosen]) for part in (top.values, top.ids, top.groups)]
        chunk = pa.array(np.mod(ids[chosen], chunks).astype(np.int32))
        numbers = pa.array(np.full(len(chosen), number, np.int32))
        yield pa.record_batch(
            [numbers, chunk, pa.array(ids[chosen]), *lists],
            names=["number", "chunk", "query", "values", "ids", "groups"],
        )


def _to_bytes(rows: np.ndarray) -> pa.Array:
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows[0].nbytes
    return pa.Array.from_buffers(
        pa.binary(), len(rows), [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(rows))]
    )


def _from_bytes(column: pa.Array, dtype: type, k: int) -> np.ndarray:
    start = column.buffers()[1] and np.frombuffer(column.buffers()[1], np.int32)[column.offset]
    return np.frombuffer(column.buffers()[2], dtype, count=len(column) * k, offset=int(start)).reshape(len(column), k)
