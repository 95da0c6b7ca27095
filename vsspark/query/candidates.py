"""The nearest images of a few queries among the table rows one task reads. Arrow in, Arrow out; no Spark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from vsspark import knn
from vsspark.arrow import to_matrix

FOUND = pa.schema([("query", pa.int32()), ("image_id", pa.int64()), ("value", pa.float32())])


@dataclass(frozen=True)
class Asked:
    """What every task needs to know: the queries, where each of them searches, and how."""

    embeddings: np.ndarray  # (q, d) float32
    categories: tuple[tuple[str, ...] | None, ...]  # per query: the probed ones; None = every item
    k: int  # images kept per query
    metric: str
    thresholds: np.ndarray | None  # (d,) for hamming


def nearest_images(batches: Iterable[pa.RecordBatch], asked: Asked) -> Iterator[pa.RecordBatch]:
    """At most k rows of `FOUND` per query: value is the cosine, or minus the distance, so higher is nearer; equal
    values by lower id.

    batches: image_id, embedding, category. Holds one batch and q * k candidates, whatever the number of batches.
    """
    best = [pa.Table.from_batches([], FOUND)]
    for batch in batches:
        if batch.num_rows:
            best = [best_rows([*best, *_search(batch, asked)], asked.k)]
    yield from best[0].to_batches()


def _search(batch: pa.RecordBatch, asked: Asked) -> Iterator[pa.Table]:
    items, ids = to_matrix(batch.column("embedding")), batch.column("image_id").to_numpy()
    everywhere = [q for q, categories in enumerate(asked.categories) if categories is None]
    if everywhere:
        yield _found(everywhere, items, ids, asked)
    coded = batch.column("category").dictionary_encode()
    numbers = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    # One search per category serves all queries that probe it.
    for number, category in enumerate(coded.dictionary.to_pylist()):
        asking = [
            q for q, categories in enumerate(asked.categories) if categories is not None and category in categories
        ]
        if asking:
            rows = numbers == number
            yield _found(asking, items[rows], ids[rows], asked)


def _found(asking: list[int], items: np.ndarray, ids: np.ndarray, asked: Asked) -> pa.Table:
    values, found = knn.search(
        asked.embeddings[asking], items, min(asked.k, len(ids)), asked.metric, item_ids=ids, thresholds=asked.thresholds
    )
    query = np.repeat(np.array(asking, np.int32), found.shape[1])
    values = values if asked.metric == "cosine" else -values
    return pa.table([query, found.ravel(), values.ravel()], schema=FOUND)


def best_rows(tables: list[pa.Table], k: int) -> pa.Table:
    """The k best rows of every query, best first, equal values by lower image id. tables: of one schema, with query,
    image_id and value.
    """
    table = pa.concat_tables(tables).sort_by(
        [("query", "ascending"), ("value", "descending"), ("image_id", "ascending")]
    )
    query = table["query"].to_numpy()
    place = np.arange(len(query)) - np.searchsorted(query, query)
    return table.filter(pa.array(place < k)).combine_chunks()
