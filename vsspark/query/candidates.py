"""The nearest images of a few queries among the table rows one task reads. Arrow in, Arrow out; no Spark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from vsspark import knn
from vsspark.arrow import to_matrix

CANDIDATES = pa.schema([("query", pa.int32()), ("image_id", pa.int64()), ("value", pa.float32())])


@dataclass(frozen=True)
class Search:
    """What every task needs to know: the queries, where each of them searches, and how."""

    embeddings: np.ndarray  # (q, d) float32
    categories: tuple[tuple[str, ...] | None, ...]  # per query: the probed ones; None = every item
    k: int  # images kept per query
    metric: str
    thresholds: np.ndarray | None  # (d,) for hamming


def nearest_images(batches: Iterable[pa.RecordBatch], search: Search) -> Iterator[pa.RecordBatch]:
    """At most k rows of `CANDIDATES` per query: value is the cosine, or minus the distance, so higher is nearer; equal
    values by lower id.

    batches: image_id, embedding, category. Holds one batch and q * k candidates, whatever the number of batches.
    """
    best = [pa.Table.from_batches([], CANDIDATES)]
    for batch in batches:
        if batch.num_rows:
            best = [best_rows([*best, *_search(batch, search)], search.k)]
    yield from best[0].to_batches()


def _search(batch: pa.RecordBatch, search: Search) -> Iterator[pa.Table]:
    items, ids = to_matrix(batch.column("embedding")), batch.column("image_id").to_numpy()
    unbounded = [q for q, categories in enumerate(search.categories) if categories is None]
    if unbounded:
        yield _candidates(unbounded, items, ids, search)
    codes = batch.column("category").dictionary_encode()
    numbers = codes.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    # One search per category serves all queries that probe it.
    for number, category in enumerate(codes.dictionary.to_pylist()):
        queries = [q for q, categories in enumerate(search.categories) if category in (categories or ())]
        if queries:
            rows = numbers == number
            yield _candidates(queries, items[rows], ids[rows], search)


def _candidates(queries: list[int], items: np.ndarray, ids: np.ndarray, search: Search) -> pa.Table:
    values, item_ids = knn.search(
        search.embeddings[queries],
        items,
        min(search.k, len(ids)),
        search.metric,
        item_ids=ids,
        thresholds=search.thresholds,
    )
    query = np.repeat(np.array(queries, np.int32), item_ids.shape[1])
    values = values if search.metric == "cosine" else -values
    return pa.table([query, item_ids.ravel(), values.ravel()], schema=CANDIDATES)


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
