"""Approximate peers of the self-join: how each library builds and searches, and the coarse grid of settings to try.

Each is used as its documentation shows, on THREADS threads; rows are projected only where the library itself offers it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.knn_measure import THREADS, K

PACKAGES = Path(__file__).parents[1] / "build" / "bench" / "packages"  # made by conf/setup/bench-packages.sh
HASWELL = PACKAGES.with_name("packages-haswell")
FIRST = "VSSPARK_BENCH_PACKAGES"  # the variable that names a folder to look in before PACKAGES
# Behind everything else on the path: what .venv has comes first.
sys.path += [path for path in (os.environ.get(FIRST), str(PACKAGES)) if path and path not in sys.path]
Setting = dict[str, Any]


class Peer(NamedTuple):
    """A library's index.

    build(x, **setting) returns an index. search(index, x, rows, **setting) returns (len(rows), K + 1 or more) ids, best
    first, own row included.
    grid: settings of the build, cheapest first, each with settings of the search, cheapest first.
    """

    module: str
    build: Callable[..., Any]
    search: Callable[..., np.ndarray]
    grid: list[tuple[Setting, list[Setting]]]


def ids_of(peer: Peer, index: Any, x: np.ndarray, rows: np.ndarray, setting: Setting) -> np.ndarray:
    """(len(rows), K) int64 ids of the nearest of some rows, without the row itself."""
    ids = np.asarray(peer.search(index, x, rows, **setting)).astype(np.int64)
    return without_self(ids, rows)[:, :K]


def without_self(ids: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(n, k) of (n, k + 1) ids: the row's own left out; the last where a row is not among its own nearest."""
    keep = ids != rows[:, None]
    keep[keep.all(axis=1), -1] = False  # exact duplicates of a row may fill its list
    return ids[keep].reshape(len(ids), -1)


def failure(name: str) -> str | None:
    """Why a peer cannot be measured here; None where it can.

    Tried on random rows in a process of its own, so that a library compiled for another CPU ends that process alone.
    """
    command = [sys.executable, "-c", f"from benchmarks.knn_indexes import try_out; try_out({name!r})"]
    tried = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    lines = tried.stderr.strip().splitlines()
    return None if tried.returncode == 0 else f"exit {tried.returncode}: {lines[-1] if lines else 'no message'}"


def try_out(name: str) -> None:
    """Run the cheapest setting of a peer on 2,000 random rows, which loads the library and compiles its Numba code."""
    x = np.random.default_rng(0).random((2000, 512), dtype=np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    peer = PEERS[name]
    setting, efforts = peer.grid[0]
    ids_of(peer, peer.build(x, **setting), x, np.arange(len(x)), efforts[0])


def _faiss_build(x: np.ndarray, factory: str) -> Any:
    import faiss

    faiss.omp_set_num_threads(THREADS)
    base = faiss.index_factory(x.shape[1], factory, faiss.METRIC_L2)  # PCA centres, which an inner product feels
    inner = faiss.downcast_index(base.index)
    if hasattr(inner, "hnsw"):
        inner.hnsw.efConstruction = 60
    index = faiss.IndexRefineFlat(base)
    index.train(x)
    index.add(x)
    return base, inner, index  # the refining index does not own the others


def _faiss_search(indexes: Any, x: np.ndarray, rows: np.ndarray, effort: int, candidates: int) -> np.ndarray:
    """effort: cells probed or width of the beam. candidates: refined exactly, as a multiple of K + 1."""
    _, inner, index = indexes
    if hasattr(inner, "hnsw"):
        inner.hnsw.efSearch = effort
    else:
        inner.nprobe = effort
    index.k_factor = candidates
    return index.search(x[rows], K + 1)[1]


def _faiss(factory: str, efforts: list[tuple[int, int]]) -> Peer:
    grid = [({"factory": factory}, [{"effort": effort, "candidates": candidates} for effort, candidates in efforts])]
    return Peer("faiss", _faiss_build, _faiss_search, grid)


def _hnswlib_build(x: np.ndarray, degree: int, effort: int) -> Any:
    import hnswlib

    index = hnswlib.Index(space="cosine", dim=x.shape[1])
    index.init_index(len(x), M=degree, ef_construction=effort, random_seed=0)
    index.set_num_threads(THREADS)
    index.add_items(x, np.arange(len(x)))
    return index


def _hnswlib_search(index: Any, x: np.ndarray, rows: np.ndarray, beam: int) -> np.ndarray:
    index.set_ef(beam)
    return index.knn_query(x[rows], K + 1)[0]


def _usearch_build(x: np.ndarray, numbers: str, degree: int, effort: int) -> Any:
    from usearch.index import Index

    index = Index(ndim=x.shape[1], metric="cos", dtype=numbers, connectivity=degree, expansion_add=effort)
    index.add(np.arange(len(x)), x, threads=THREADS)
    return index


def _usearch_search(index: Any, x: np.ndarray, rows: np.ndarray, beam: int) -> np.ndarray:
    index.expansion_search = beam
    return index.search(x[rows], K + 1, threads=THREADS).keys


def _scann_build(x: np.ndarray, scoring: str, leaves_per_root: float) -> Any:
    # ScaNN's TensorFlow operators are built for TensorFlow 2.20 and fail beside another; its own searcher needs none.
    tensorflow = sys.modules.get("tensorflow")
    sys.modules["tensorflow"] = None
    try:
        from scann import scann_ops_pybind
    finally:
        if tensorflow is None:
            del sys.modules["tensorflow"]
        else:
            sys.modules["tensorflow"] = tensorflow
    builder = scann_ops_pybind.builder(x, K + 1, "dot_product").set_n_training_threads(THREADS)
    builder = builder.tree(round(leaves_per_root * len(x) ** 0.5), 1, training_sample_size=len(x))
    if scoring == "hash2":
        builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(4 * K)
    else:
        builder = builder.score_brute_force(quantize=True).reorder(4 * K)  # int8
    searcher = builder.build()
    searcher.set_num_threads(THREADS)
    return searcher


def _scann_search(index: Any, x: np.ndarray, rows: np.ndarray, leaves: int, candidates: int) -> np.ndarray:
    return index.search_batched_parallel(x[rows], K + 1, candidates, leaves)[0]


def _svs_build(x: np.ndarray, vectors: str, degree: int, window: int) -> Any:
    import svs

    with tempfile.TemporaryDirectory(prefix="svs-") as folder:  # its compressing loaders read files only
        svs.write_vecs(x, f"{folder}/x.fvecs")
        loader = svs.VectorDataLoader(f"{folder}/x.fvecs", svs.DataType.float32)
        if vectors == "lvq8":
            loader = svs.LVQLoader(loader, primary=8)
        else:
            loader = svs.LeanVecLoader(loader, min(256, x.shape[1] // 2), svs.LeanVecKind.lvq8, svs.LeanVecKind.lvq8)
        parameters = svs.VamanaBuildParameters(graph_max_degree=degree, window_size=window, alpha=0.95)
        return svs.Vamana.build(parameters, loader, svs.DistanceType.MIP, num_threads=THREADS)


def _svs_search(index: Any, x: np.ndarray, rows: np.ndarray, window: int) -> np.ndarray:
    index.search_window_size = window
    return index.search(x[rows], K + 1)[0]


def _pynndescent_build(x: np.ndarray, neighbours: int) -> Any:
    from pynndescent import NNDescent

    index = NNDescent(x, metric="cosine", n_neighbors=neighbours, random_state=0, n_jobs=THREADS)
    return index.neighbor_graph[0]


def _pynndescent_search(graph: Any, x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return graph[rows]


_BEAMS = [{"beam": beam} for beam in (16, 32, 64, 128, 256)]
PEERS = {
    "faiss_hnsw": _faiss("PCA256,HNSW16", [(24, 2), (32, 2), (48, 3), (96, 4), (160, 5)]),
    "faiss_ivf_flat": _faiss("PCA192,IVF256,Flat", [(12, 2), (16, 2), (24, 2), (32, 3), (48, 4), (80, 6)]),
    "faiss_ivf_pq_fast_scan": _faiss("PCA192,IVF256,PQ96x4fs", [(16, 4), (24, 6), (56, 8), (96, 12), (160, 16)]),
    "faiss_ivf_rabitq_fast_scan": _faiss("PCA192,IVF256,RaBitQfs", [(16, 5), (48, 8), (96, 14), (160, 24)]),
    "pynndescent": Peer(
        "pynndescent",
        _pynndescent_build,
        _pynndescent_search,
        [({"neighbours": neighbours}, [{}]) for neighbours in (12, 15, 18, 22, 26, 30, 45, 60)],
    ),
    "scann": Peer(
        "scann",
        _scann_build,
        _scann_search,
        [
            ({"scoring": scoring, "leaves_per_root": 1.0}, [{"leaves": n, "candidates": m} for n, m in efforts])
            for scoring, efforts in (
                ("hash2", [(16, 60), (24, 80), (36, 80), (60, 120), (100, 200)]),
                ("int8", [(16, 22), (24, 22), (36, 22), (60, 22), (100, 22)]),
            )
        ],
    ),
    "scalable_vs": Peer(
        "svs",
        _svs_build,
        _svs_search,
        [
            ({"vectors": vectors, "degree": degree, "window": window}, [{"window": n} for n in (12, 20, 40, 80, 160)])
            for vectors, degree, window in (("lvq8", 24, 32), ("leanvec", 32, 64), ("lvq8", 32, 64))
        ],
    ),
    "usearch": Peer(
        "usearch",
        _usearch_build,
        _usearch_search,
        [({"numbers": "bf16", "degree": degree, "effort": effort}, _BEAMS) for degree, effort in ((12, 32), (16, 64))],
    ),
    "hnswlib": Peer(
        "hnswlib",
        _hnswlib_build,
        _hnswlib_search,
        [({"degree": degree, "effort": effort}, _BEAMS) for degree, effort in ((12, 32), (16, 64))],
    ),
}
