"""How the kNN benchmarks measure: interleaved runs, recall, and the rate of the machine's own product."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from vsspark.knn import exact

K = 10
THREADS = 2


def peak() -> float:
    """GFLOP/s of float32 products of 4096 x 1280 with 1280 x 4096 on THREADS threads, the best of five."""
    x = np.random.default_rng(0).standard_normal((8192, 1280), dtype=np.float32)
    best = 0.0
    with exact.blas().limit(limits=THREADS):
        for _ in range(5):
            start = time.perf_counter()
            x[:4096] @ x[4096:].T
            best = max(best, 2 * 4096 * 4096 * 1280 / (time.perf_counter() - start) / 1e9)
    return best


def interleaved(runs: dict[str, Callable[[], object]], repeats: int) -> tuple[dict[str, float], dict[str, object]]:
    """Median seconds of each, one after the other in every round, and what each returned last."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    results = {}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            results[name] = run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken) for name, taken in seconds.items()}, results


def same_ids(ids: np.ndarray, truth: np.ndarray) -> float:
    """Recall@k of ids against truth, both (n, k)."""
    return float(np.mean([len(np.intersect1d(a, b)) for a, b in zip(ids, truth, strict=True)]) / truth.shape[1])


def case_of(
    name: str,
    data: str,
    n: int,
    d: int,
    seconds: dict[str, float],
    repeats: int,
    products: float | None = 0.5,
    **more: object,
) -> dict:
    """One case of build/bench/knn.json.

    products: share of the n^2 pairs that ours multiplies, None where it does something else. `share_of_peak`: the rate
    of those products as a share of `peak` in this run, for ours and for faiss flat, which multiplies all pairs.
    """
    top = peak()
    shares = {"faiss_flat": 1.0} if products is None else {"ours": products, "faiss_flat": 1.0}
    rates = {run: 2 * n * n * d * share / seconds[run] / 1e9 for run, share in shares.items() if run in seconds}
    ratios = {f"{run}_over_ours": round(taken / seconds["ours"], 2) for run, taken in seconds.items()}
    del ratios["ours_over_ours"]
    return {
        "case": name,
        "data": data,
        "rows": n,
        "dimensions": d,
        "k": K,
        "threads": THREADS,
        "repeats": repeats,
        "seconds": {run: round(taken, 3) for run, taken in seconds.items()},
        "ratios": ratios,
        "peak_gflops": round(top, 1),
        "share_of_peak": {run: round(rate / top, 3) for run, rate in rates.items()},
        **more,
    }
