"""The neighbour search against its peers: all interleaved on the same data, on two threads, medians of the repeats.

python -m benchmarks.knn [--cases exact approximate ...] [--rows 60000] [--repeats 3] [--peers pynndescent ...] [--avx2]

Writes build/bench/knn.json (a case measured again replaces its old figures) and build/bench/knn_scaling.png.
`published` (137,280 x 4096), `million` (1,000,000 x 1280 in 12 uneven blocks) and `approximate_999` (recall .999) take
long and run only when named. `--avx2` measures without AVX-512: see limits.py; its cases end in _avx2.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks import knn_approximate, limits
from benchmarks import knn_peers as peers
from benchmarks.harness import RESULTS, write_results
from benchmarks.knn_data import embeddings, synthetic
from benchmarks.knn_indexes import PEERS
from benchmarks.knn_measure import THREADS, K, case_of, interleaved, same_ids
from vsspark.knn import self_join


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=DEFAULT)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers", nargs="*", choices=PEERS, help="of the approximate cases; all by default")
    parser.add_argument("--avx2", action="store_true", help="start again without AVX-512")
    args = parser.parse_args(argv)
    if args.avx2:
        limits.restart_with_avx2("benchmarks.knn", sys.argv[1:] if argv is None else argv)
    path = RESULTS / "knn.json"
    before = json.loads(path.read_text(encoding="utf-8"))["cases"] if path.exists() else []
    cases = {case["case"]: case for case in before}
    self_join(synthetic(7000, 64), K, mode="approximate", threads=THREADS)  # compiles
    limited = limits.limits()
    ending = "" if limited is None else "_avx2" if args.avx2 else "_limited"
    for name in args.cases:
        more = {"peers": args.peers} if name in ("approximate", "approximate_999") else {}
        for case in CASES[name](args.rows, args.repeats, **more):
            case |= {"case": case["case"] + ending, "limits": limited, "kernels": limits.kernels()}
            print(json.dumps(case), flush=True)
            cases[case["case"]] = case
        write_results("knn", list(cases.values()))
    return 0


def exact_cases(n: int, repeats: int) -> list[dict]:
    x, data = embeddings(n)
    found = []
    for metric in ("cosine", "l2"):
        runs = {"ours": lambda m=metric: self_join(x, K, m, threads=THREADS)[1]}
        runs["faiss_flat"] = lambda m=metric: peers.faiss_flat(x, K, m)
        if metric == "cosine":
            runs["sklearn_brute"] = lambda: peers.sklearn_brute(x, K, "cosine")
        seconds, results = interleaved(runs, repeats)
        same = same_ids(results["ours"], results["faiss_flat"])
        found.append(case_of(f"exact_{metric}", data, n, x.shape[1], seconds, repeats, same_as_faiss=same))
    return found


def l1_cases(n: int, repeats: int) -> list[dict]:
    x, data = embeddings(min(n, 6000))
    runs = {"ours": lambda: self_join(x, K, "l1", threads=THREADS)[1]}
    runs["faiss_l1"] = lambda: peers.faiss_flat(x, K, "l1")
    runs["sklearn_l1"] = lambda: peers.sklearn_brute(x, K, "manhattan")
    seconds, results = interleaved(runs, repeats)
    same = same_ids(results["ours"], results["faiss_l1"])
    return [case_of("exact_l1", data, len(x), x.shape[1], seconds, repeats, None, same_as_faiss=same)]


def hamming_cases(n: int, repeats: int) -> list[dict]:
    x, data = embeddings(min(n, 8000))
    middle = np.median(x, axis=0)
    runs = {"ours": lambda: self_join(x, K, "hamming", thresholds=middle, threads=THREADS)}
    runs["faiss_binary"] = lambda: peers.faiss_binary(x > middle, K)
    seconds, results = interleaved(runs, repeats)
    same = float((np.sort(results["ours"][0], axis=1) == np.sort(results["faiss_binary"], axis=1)).mean())
    return [case_of("exact_hamming", data, len(x), x.shape[1], seconds, repeats, None, same_distances_as_faiss=same)]


def scaling_cases(n: int, repeats: int) -> list[dict]:
    x, data = embeddings(n)
    found = []
    for size in [s for s in (2500, 5000, 10_000, 20_000, 40_000, 60_000) if s <= n]:
        part = x[:size]
        modes = ("exact", "approximate")
        runs = {mode: lambda p=part, m=mode: self_join(p, K, mode=m, threads=THREADS)[1] for mode in modes}
        seconds, results = interleaved(runs, repeats if size <= 20_000 else 1)
        recall = same_ids(results["approximate"], results["exact"])
        shape = {"data": data, "rows": size, "dimensions": x.shape[1]}
        found.append({"case": f"scaling_{size}", **shape, "seconds": seconds, "recall_at_10": recall})
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
    title = f"self-join, {cases[0]['dimensions']} dimensions, k = {K}, {THREADS} threads"
    axes.set(xlabel="rows", ylabel="seconds", title=title)
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
    seconds = {"ours": ours, "sklearn_100_queries_scaled": whole}
    return [case_of("published_l2", "synthetic: clustered", len(x), 4096, seconds, 1, **extra)]


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
    "approximate": lambda n, repeats, peers: knn_approximate.cases(n, repeats, 0.99, peers),
    "approximate_999": lambda n, repeats, peers: knn_approximate.cases(n, repeats, 0.999, peers),
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
DEFAULT = [name for name in CASES if name not in ("approximate_999", "published", "million")]

if __name__ == "__main__":
    raise SystemExit(main())
