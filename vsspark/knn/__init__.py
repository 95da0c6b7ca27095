"""Nearest neighbours, exactly or with a promised recall, of arrays and of tables.

    self_join(x, k, metric="cosine", mode="exact", *, ids, groups, thresholds, target_recall, threads, seed, tile_rows, device)
    search(queries, items, k, metric, mode, *, query_ids, item_ids, query_groups, item_groups, ...)
        -> (values (n, k) float32, ids (n, k) int64), best first; id -1 and value -inf (cosine) or +inf (distances) where there are fewer.
    vsspark.knn.spark.search_neighbours(items, scratch, config, storage_options=None) -> DataFrame
        one block or thousands, of any size: query_image_id, rank, item_image_id, similarity.
    vsspark.knn.spark.audited_recall(scratch, storage_options=None) -> the recall an approximate search measured, once it is written.

What is exact: ids are those of a float64 brute force wherever its values differ by more than float32's rounding (of the products for cosine, of the
distances for the others); equal values order by lower id; neither tiles, threads nor partitions change an id. A group (a product) is
represented by at most one item, its best, and never in its own lists. NaN and infinity are refused; a zero vector has cosine 0 to everything.

The files, each using only those before it: `compiled` (Numba's options), `topk` (the lists and the pass over a tile), `metrics` (rows and tiles
per metric), `exact`, `refine` (float64 values of chosen pairs; l2), `approximate` (cells, calibration, audit), `gpu`, `engine` (the functions
above); for Spark `tiles` (files), `plan` (work from tile sizes), `partials` (what a task does), `spark`.
A Spark task runs as many threads as spark.task.cpus says.
"""

from vsspark.knn.engine import search, self_join

__all__ = ["search", "self_join"]
