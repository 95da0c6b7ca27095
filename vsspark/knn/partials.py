"""What a Spark task does with Arrow data: write a pack of tiles, search a unit of tile pairs, merge partial lists. No
Spark in here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from vsspark.arrow import to_matrix
from vsspark.config import KnnConfig
from vsspark.knn import engine, metrics, topk
from vsspark.knn.exact import Rows
from vsspark.knn.plan import Unit
from vsspark.knn.tiles import Tile, TileRows, read_tile, write_text, write_tiles

_EMIT = 16_384  # lists per Arrow batch


def write_pack(
    table: pa.Table, folder: str, metric: str, thresholds: np.ndarray | None, storage_options: Mapping[str, str] | None
) -> pa.RecordBatch:
    """One row per tile written: tile, uri, batch, rows, and how many rows probe which other blocks.

    table: image_id, group_id, embedding, floor (a similarity or null), probes, tile, pack; the pack names the file.
    """
    table = table.combine_chunks()
    embedding, probes = table.column("embedding").chunk(0), table.column("probes").chunk(0)
    x = metrics.checked(to_matrix(embedding), "embeddings")
    ids, groups, tile_of = (table.column(name).to_numpy() for name in ("image_id", "group_id", "tile"))
    floors = least_values(table.column("floor").to_numpy(), metric)
    probe_rows = np.repeat(np.arange(len(probes)), np.diff(probes.offsets.to_numpy()))
    probe_blocks = probes.flatten().to_numpy(zero_copy_only=False)
    numbers = np.unique(tile_of)
    contents = []
    for number in numbers:
        members = np.flatnonzero(tile_of == number)
        members = members[np.argsort(ids[members], kind="stable")]
        place = np.full(len(ids), -1, np.int64)
        place[members] = np.arange(len(members))
        rows, blocks = place[probe_rows], probe_blocks
        order = np.argsort(rows, kind="stable")[(rows < 0).sum() :]
        vectors = engine.prepared(x[members], metric, thresholds)
        contents.append(TileRows(vectors, ids[members], groups[members], floors[members], rows[order], blocks[order]))
    uri = write_tiles(folder, f"pack-{table.column('pack')[0].as_py():06d}", contents, storage_options)
    # A row that names a block twice still searches it once.
    probed = [
        np.unique(np.unique(np.stack([c.probe_rows, c.probe_blocks]), axis=1)[1], return_counts=True) for c in contents
    ]
    columns = {
        "tile": pa.array(numbers, pa.int32()),
        "uri": pa.array([uri] * len(numbers)),
        "batch": pa.array(range(len(numbers)), pa.int32()),
        "rows": pa.array([len(c.ids) for c in contents], pa.int32()),
        "blocks": pa.array([blocks.tolist() for blocks, _ in probed], pa.list_(pa.int32())),
        "counts": pa.array([counts.tolist() for _, counts in probed], pa.list_(pa.int32())),
    }
    return pa.record_batch(columns)


def search_unit(
    number: int,
    unit: Unit,
    tiles: Mapping[int, Tile],
    config: KnnConfig,
    chunks: int,
    scratch: str,
    storage_options: Mapping[str, str] | None,
    device: str | None,
    threads: int | None,
    floors: dict[int, np.ndarray],
) -> Iterator[pa.RecordBatch]:
    """The partial lists of a unit: its number, chunk (the merge task of the query), query, and k values, ids and
    groups as bytes.

    floors: per tile, the least values of the lists that units before this one have emitted; what does not reach them
    is left out. It is brought up to date here: pass the same one to all units whose lists are sure to be merged
    together. threads: cores to use; None = as `exact.default_threads` says. device: TensorFlow's name of a GPU, or
    None for the CPU. In approximate mode the recall and the number of queries of each of its joins go to the file
    audit-NUMBER.json in scratch.
    """
    k, audits = config.k, []
    settings = (config.mode, config.target_recall, threads, config.seed, config.tile_rows, device)

    def offer(left: Rows, right: Rows, both: bool) -> None:
        # Similarities, not distances: lists are ordered by the number that readers see, and two distances may round
        # to one similarity.
        audits.extend(engine.offer(left, right, config.metric, both, *settings, similarity=True))

    if unit.probe is not None:
        parts = [read_tile(tiles[t], storage_options).probing(unit.probe) for t in unit.left]
        gathered = TileRows(*(np.concatenate(column) for column in zip(*parts, strict=True)))
        left = _rows(gathered, topk.empty(len(gathered.ids), k, gathered.floors))
        for r in unit.right:
            content = read_tile(tiles[r], storage_options)
            offer(left, _rows(content, topk.empty(len(content.ids), 1)), False)
        yield from _emit(number, left.ids, left.top, chunks)
    else:
        tops: dict[int, tuple[np.ndarray, topk.TopK]] = {}  # a tile's ids and their lists

        def asking(t: int) -> Rows:
            content = read_tile(tiles[t], storage_options)
            if t not in tops:
                tops[t] = content.ids, topk.empty(len(content.ids), k, floors.get(t, content.floors))
            return _rows(content, tops[t][1])

        for t in unit.left:
            left = asking(t)
            for r in unit.right:
                if unit.left == unit.right and r < t:
                    continue
                if r == t:
                    offer(left, left, True)
                elif unit.both:
                    offer(left, asking(r), True)
                else:
                    content = read_tile(tiles[r], storage_options)
                    offer(left, _rows(content, topk.empty(len(content.ids), 1)), False)
        for t, (ids, top) in tops.items():
            floors[t] = top.floor
            yield from _emit(number, ids, top, chunks)
    if audits:
        write_text(scratch, f"audit-{number:06d}.json", json.dumps(audits), storage_options)


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
    for start in range(0, len(found), _EMIT):
        part = top.rows(start, min(start + _EMIT, len(found)))
        there = part.ids != topk.NO_ID
        values = part.values[there]
        yield pa.record_batch(
            {
                "query_image_id": np.repeat(found[start : start + len(there)], there.sum(axis=1)),
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


def _rows(content: TileRows, top: topk.TopK) -> Rows:
    return Rows(content.vectors, content.ids, content.groups, top)


def _emit(number: int, ids: np.ndarray, top: topk.TopK, chunks: int) -> Iterator[pa.RecordBatch]:
    some = np.flatnonzero(top.ids[:, 0] != topk.NO_ID)
    for start in range(0, len(some), _EMIT):
        chosen = some[start : start + _EMIT]
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
