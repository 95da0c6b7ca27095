"""Nearest neighbours, exactly or with a promised recall, of arrays and of tables.

    self_join(x, k, metric="cosine", mode="exact", *, ids, groups, thresholds, target_recall, ...)
    search(queries, items, k, metric, mode, *, query_ids, item_ids, query_groups, item_groups, ...)
        -> (values (n, k) float32, ids (n, k) int64), best first; where there are fewer: id -1, value -inf for
           cosine and +inf for distances.
    vsspark.knn.spark.search_neighbours(items, scratch, config, storage_options=None) -> DataFrame
        one block or thousands, of any size: query_image_id, rank, item_image_id, similarity.
    vsspark.knn.spark.audited_recall(scratch, storage_options=None)
        -> the recall that an approximate search measured, once its result is written.

What is exact, on every machine: the value of a pair is a float64 sum of fixed order, rounded once to float32
(`values`). It depends on the two rows alone. Lists are ordered by value and, where values are equal, by lower id.
BLAS or a GPU only estimates, with an error bound that holds for float32 sums in any order; so neither the CPU, its
BLAS, a GPU, tiles, threads, partitions nor the order of rows changes a bit of the lists. An approximate search gives
the same values; which candidates it finds may depend on the CPU. A group (a product) is represented by at most one
item, its best, and never in its own lists. NaN and infinity are refused; a zero vector has cosine 0 to everything.

The files, each using only those before it: `bits` (the same values by NumPy), `compiled` (Numba's options), `values`
(the value of a pair), `topk` (the lists and the pass over a tile), `metrics` (estimates per metric), `exact`, `cells`,
`graph` (neighbours of neighbours), `approximate` (calibration, audit), `gpu`, `engine` (the functions above); for
Spark `tiles` (files), `layout` (which tiles), `plan` (work from tile sizes), `simulate` (both for a shop that is not
there yet), `partials` (what a task does), `packing`, `spark`.
A Spark task runs as many threads as spark.task.cpus says.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vsspark.knn.engine import search, self_join

__all__ = ["search", "self_join"]


def __getattr__(name: str) -> Any:
    """The functions above; Numba is imported with the first of them, not by who only reads an index."""
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from vsspark.knn import engine

    return getattr(engine, name)
