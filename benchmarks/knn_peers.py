"""Exact peers of the neighbour search: faiss and scikit-learn, each used as its documentation shows."""

from __future__ import annotations

import numpy as np

from benchmarks.knn_indexes import without_self
from benchmarks.knn_measure import THREADS


def faiss_flat(x: np.ndarray, k: int, metric: str, queries: np.ndarray | None = None) -> np.ndarray:
    """(n, k) ids of a self-join, without the own row; or the k + 1 nearest rows of some queries."""
    import faiss

    faiss.omp_set_num_threads(THREADS)
    kinds = {"cosine": faiss.METRIC_INNER_PRODUCT, "l2": faiss.METRIC_L2, "l1": faiss.METRIC_L1}
    index = faiss.IndexFlatL2(x.shape[1]) if metric == "l2" else faiss.IndexFlat(x.shape[1], kinds[metric])
    index.add(x)
    if queries is not None:
        return index.search(queries, k + 1)[1]
    return without_self(index.search(x, k + 1)[1], np.arange(len(x)))


def faiss_binary(bits: np.ndarray, k: int) -> np.ndarray:
    """(n, k) distances of a self-join, without the own row."""
    import faiss

    faiss.omp_set_num_threads(THREADS)
    packed = np.packbits(bits, axis=1)
    index = faiss.IndexBinaryFlat(packed.shape[1] * 8)
    index.add(packed)
    return index.search(packed, k + 1)[0][:, 1:].astype(np.float32)


def sklearn_brute(x: np.ndarray, k: int, metric: str, queries: np.ndarray | None = None) -> np.ndarray:
    """(n, k) ids of a self-join, without the own row; or the k nearest rows of some queries. On all cores."""
    from sklearn.neighbors import NearestNeighbors

    model = NearestNeighbors(n_neighbors=k, metric=metric, algorithm="brute", n_jobs=-1).fit(x)
    return model.kneighbors(queries, return_distance=False)
