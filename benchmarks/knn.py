"""The neighbour search against its peers: every case interleaved with them on the same data, on two threads, medians of the repeats.

python -m benchmarks.knn [--cases exact approximate l1 hamming scaling spark spark_own skew probes published million] [--rows 60000] [--repeats 3]

Writes build/bench/knn.json (a case measured again replaces its old figures) and build/bench/knn_scaling.png. `published` (137,280 x 4096)
and `million` (1,000,000 x 1280 in 12 uneven blocks) take long and run only when named.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks import knn_peers as peers
from benchmarks.harness import RESULTS, write_results
from benchmarks.knn_data import embeddings, synthetic
from vsspark.knn import exact, self_join

K = 10
THREADS = 2


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=[*DEFAULT, "published", "million"], default=DEFAULT)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args(argv)
    path = RESULTS / "knn.json"
    cases = {case["case"]: case for case in json.loads(path.read_text(encoding="utf-8"))["cases"]} if path.exists() else {}
    self_join(synthetic(7000, 64), K, mode="approximate", threads=THREADS)  # compiles
    for name in args.cases:
        for case in CASES[name](args.rows, args.repeats):
            print(json.dumps(case), flush=True)
            cases[case["case"]] = case
        write_results("knn", list(cases.values()))
    return 0


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


def same_ids(found: np.ndarray, truth: np.ndarray) -> float:
    """Recall@k of found against truth, both (n, k)."""
    return float(np.mean([len(np.intersect1d(a, b)) for a, b in zip(found, truth, strict=True)]) / truth.shape[1])


def _case(name: str, data: str, n: int, d: int, seconds: dict[str, float], repeats: int, products: float | None = 0.5, **more: object) -> dict:
    """products: share of the n^2 pairs ours multiplies; `share_of_peak` is that arithmetic over its time, as a share of sgemm's rate in this run.

    None where ours does something else than multiply all pairs.
    """
    top = peak()
    ratios = {f"{peer}_over_ours": round(taken / seconds["ours"], 2) for peer, taken in seconds.items() if peer != "ours"}
    share = None if products is None else round(2 * n * n * d * products / seconds["ours"] / 1e9 / top, 3)
    rounded = {peer: round(taken, 3) for peer, taken in seconds.items()}
    figures = {"seconds": rounded, "ratios": ratios, "peak_gflops": round(top, 1), "share_of_peak": share}
    return {"case": name, "data": data, "rows": n, "dimensions": d, "k": K, "repeats": repeats, **figures, **more}


def exact_cases(n: int, repeats: int) -> list[dict]:
    x, data = embeddings(n)
    found = []
    for metric in ("cosine", "l2"):
        runs = {"ours": lambda m=metric: self_join(x, K, m, threads=THREADS)[1], "faiss_flat": lambda m=metric: peers.faiss_flat(x, K, m)}
        if metric == "cosine":
            runs["sklearn_brute"] = lambda: peers.sklearn_brute(x, K, "cosine")
        seconds, results = interleaved(runs, repeats)
        found.append(_case(f"exact_{metric}", data, n, x.shape[1], seconds, repeats, same_as_faiss=same_ids(results["ours"], results["faiss_flat"])))
    return found


def approximate_cases(n: int, repeats: int) -> list[dict]:
    x, data = embeddings(n)
    truth = self_join(x, K, threads=THREADS)[1]
    tuned = {name: peers.tuned(x, K, name, truth) for name in peers.INDEXES}
    runs = {"ours": lambda: self_join(x, K, mode="approximate", threads=THREADS)[1], "faiss_flat": lambda: peers.faiss_flat(x, K, "cosine")}
    runs |= {name: lambda name=name, setting=setting: peers.faiss_index(x, K, name, setting) for name, setting in tuned.items() if setting}
    seconds, results = interleaved(runs, repeats)
    recalls = {name: round(same_ids(ids, truth), 4) for name, ids in results.items()}
    return [_case("approximate_cosine", data, n, x.shape[1], seconds, repeats, None, recall_at_10=recalls, settings=tuned)]


def l1_cases(n: int, repeats: int) -> list[dict]:
    x, data = embeddings(min(n, 6000))
    runs = {"ours": lambda: self_join(x, K, "l1", threads=THREADS)[1]}
    runs |= {"faiss_l1": lambda: peers.faiss_flat(x, K, "l1"), "sklearn_l1": lambda: peers.sklearn_brute(x, K, "manhattan")}
    seconds, results = interleaved(runs, repeats)
    return [_case("exact_l1", data, len(x), x.shape[1], seconds, repeats, None, same_as_faiss=same_ids(results["ours"], results["faiss_l1"]))]


def hamming_cases(n: int, repeats: int) -> list[dict]:
    x, data = embeddings(min(n, 8000))
    middle = np.median(x, axis=0)
    runs = {"ours": lambda: self_join(x, K, "hamming", thresholds=middle, threads=THREADS), "faiss_binary": lambda: peers.faiss_binary(x > middle, K)}
    seconds, results = interleaved(runs, repeats)
    same = float((np.sort(results["ours"][0], axis=1) == np.sort(results["faiss_binary"], axis=1)).mean())
    return [_case("exact_hamming", data, len(x), x.shape[1], seconds, repeats, None, same_distances_as_faiss=same)]


def scaling_cases(n: int, repeats: int) -> list[dict]:
    x, data = embeddings(n)
    found = []
    for size in [s for s in (2500, 5000, 10_000, 20_000, 40_000, 60_000) if s <= n]:
        part = x[:size]
        runs = {mode: lambda p=part, m=mode: self_join(p, K, mode=m, threads=THREADS)[1] for mode in ("exact", "approximate")}
        seconds, results = interleaved(runs, repeats if size <= 20_000 else 1)
        recall = same_ids(results["approximate"], results["exact"])
        found.append({"case": f"scaling_{size}", "data": data, "rows": size, "dimensions": x.shape[1], "seconds": seconds, "recall_at_10": recall})
    _plot(found)
    return found


def _plot(cases: list[dict]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4.5), constrained_layout=True)
    rows = np.array([case["rows"] for case in cases])
    for mode, marker in (("exact", "o"), ("approximate", "s")):
        axes.loglog(rows, [case["seconds"][mode] for case in cases], marker=marker, label=mode)
    axes.loglog(rows, cases[-1]["seconds"]["exact"] * (rows / rows[-1]) ** 2, "k:", label="rows squared")
    axes.set(xlabel="rows", ylabel="seconds", title=f"self-join, {cases[0]['dimensions']} dimensions, k = {K}, {THREADS} threads")
    axes.legend()
    axes.grid(True, which="both", alpha=0.3)
    figure.savefig(RESULTS / "knn_scaling.png", dpi=120)


def published_cases(n: int, repeats: int) -> list[dict]:
    x = synthetic(137_280, 4096)
    start = time.perf_counter()
    self_join(x, K, "l2", threads=THREADS)
    ours = time.perf_counter() - start
    start = time.perf_counter()
    peers.sklearn_brute(x, K, "euclidean", queries=x[:100])
    hundred = time.perf_counter() - start
    whole = hundred * len(x) / 100
    extra = {"sklearn_100_queries_s": round(hundred, 3), "published_100_queries_s": 19.12}
    return [_case("published_l2", "synthetic: clustered", len(x), 4096, {"ours": ours, "sklearn_100_queries_scaled": whole}, 1, **extra)]


def _spark_cases(name: str) -> Callable[[int, int], list[dict]]:
    def run(n: int, repeats: int) -> list[dict]:
        from benchmarks import knn_spark

        return getattr(knn_spark, f"{name}_cases")(n, repeats)

    return run


def probes_cases(n: int, repeats: int) -> list[dict]:
    from benchmarks import knn_probes

    return knn_probes.cases()


CASES = {
    "exact": exact_cases,
    "approximate": approximate_cases,
    "l1": l1_cases,
    "hamming": hamming_cases,
    "scaling": scaling_cases,
    "spark": _spark_cases("spark"),
    "spark_own": _spark_cases("spark_own"),
    "skew": _spark_cases("skew"),
    "probes": probes_cases,
    "published": published_cases,
    "million": _spark_cases("million"),
}
DEFAULT = [name for name in CASES if name not in ("published", "million")]

if __name__ == "__main__":
    raise SystemExit(main())
