"""What the neighbour search is measured against: faiss and scikit-learn, each asked for the self-join the way its documentation shows."""

from __future__ import annotations

import numpy as np

# An index, and the settings to try, cheapest first: (probes or beam width, candidates refined exactly as a multiple of k + 1).
INDEXES = {
    "faiss_hnsw": ("PCA256,HNSW16", [(24, 2), (32, 2), (48, 3), (96, 4), (160, 5)]),
    "faiss_ivf_flat": ("PCA192,IVF256,Flat", [(12, 2), (16, 2), (24, 2), (32, 3), (48, 4), (80, 6)]),
    "faiss_ivf_pq_fast_scan": ("PCA192,IVF256,PQ96x4fs", [(16, 4), (24, 4), (24, 6), (32, 6), (56, 8), (96, 12)]),
    "faiss_ivf_rabitq_fast_scan": ("PCA192,IVF256,RaBitQfs", [(16, 5), (24, 6), (32, 6), (48, 8), (64, 10), (96, 14)]),
}


def faiss_flat(x: np.ndarray, k: int, metric: str) -> np.ndarray:
    """(n, k) ids, self removed."""
    import faiss

    faiss.omp_set_num_threads(2)
    kinds = {"cosine": faiss.METRIC_INNER_PRODUCT, "l2": faiss.METRIC_L2, "l1": faiss.METRIC_L1}
    index = faiss.IndexFlatL2(x.shape[1]) if metric == "l2" else faiss.IndexFlat(x.shape[1], kinds[metric])
    index.add(x)
    return _without_self(index.search(x, k + 1)[1])


def faiss_binary(bits: np.ndarray, k: int) -> np.ndarray:
    """(n, k) distances, self removed."""
    import faiss

    faiss.omp_set_num_threads(2)
    packed = np.packbits(bits, axis=1)
    index = faiss.IndexBinaryFlat(packed.shape[1] * 8)
    index.add(packed)
    return index.search(packed, k + 1)[0][:, 1:].astype(np.float32)


def faiss_index(x: np.ndarray, k: int, name: str, setting: tuple[int, int]) -> np.ndarray:
    """(n, k) ids: the index built, searched, its candidates refined exactly."""
    import faiss

    faiss.omp_set_num_threads(2)
    effort, factor = setting
    base = faiss.index_factory(x.shape[1], INDEXES[name][0], faiss.METRIC_L2)  # of unit rows; PCA centres, which inner products would feel
    inner = faiss.downcast_index(base.index) if isinstance(base, faiss.IndexPreTransform) else base
    if name == "faiss_hnsw":
        inner.hnsw.efConstruction, inner.hnsw.efSearch = 60, effort
    else:
        inner.nprobe = effort
    index = faiss.IndexRefineFlat(base)
    index.k_factor = factor
    index.train(x)
    index.add(x)
    return _without_self(index.search(x, k + 1)[1])


def tuned(x: np.ndarray, k: int, name: str, truth: np.ndarray) -> tuple[int, int] | None:
    """The cheapest setting tried that reaches recall .99 on 2,000 queries; None where none does."""
    import faiss

    faiss.omp_set_num_threads(2)
    base = faiss.index_factory(x.shape[1], INDEXES[name][0], faiss.METRIC_L2)  # of unit rows; PCA centres, which inner products would feel
    inner = faiss.downcast_index(base.index)
    if name == "faiss_hnsw":
        inner.hnsw.efConstruction = 60
    index = faiss.IndexRefineFlat(base)
    index.train(x)
    index.add(x)
    some = np.random.default_rng(0).choice(len(x), min(2000, len(x)), replace=False)
    for effort, factor in INDEXES[name][1]:
        if name == "faiss_hnsw":
            inner.hnsw.efSearch = effort
        else:
            inner.nprobe = effort
        index.k_factor = factor
        found = index.search(x[some], k + 1)[1]
        if np.mean([len(np.intersect1d(a, b)) for a, b in zip(found, truth[some], strict=True)]) >= 0.99 * k:
            return effort, factor
    return None


def sklearn_brute(x: np.ndarray, k: int, metric: str, queries: np.ndarray | None = None) -> np.ndarray:
    """(n, k) ids, self removed; or the k nearest of some queries."""
    from sklearn.neighbors import NearestNeighbors

    model = NearestNeighbors(n_neighbors=k, metric=metric, algorithm="brute", n_jobs=-1).fit(x)
    return model.kneighbors(queries, return_distance=False)


def _without_self(ids: np.ndarray) -> np.ndarray:
    keep = ids != np.arange(len(ids))[:, None]
    keep[keep.all(axis=1), -1] = False  # among exact duplicates a row may not be among its own nearest
    return ids[keep].reshape(len(ids), -1)
