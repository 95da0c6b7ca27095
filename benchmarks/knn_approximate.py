"""The approximate self-join against its peers, each with the cheapest setting of a coarse grid that reaches the recall.

All building is included, the own row is removed. A library that is not installed, or fails, is named and left out.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from benchmarks.knn_data import embeddings
from benchmarks.knn_indexes import PEERS, Peer, Setting, failure, ids_of, try_out
from benchmarks.knn_measure import THREADS, K, case_of, interleaved, same_ids
from benchmarks.knn_peers import faiss_flat
from vsspark.knn import self_join

SAMPLE = 2000  # queries that a setting is judged on
PATIENCE = 3.0  # a peer's grid ends at the first setting slower than so many times faiss flat,
LEAST = 20.0  # or than so many seconds, where that is more
GRID = (
    f"build, and search of {SAMPLE} queries scaled to all rows; ends at a setting that takes more than {PATIENCE} x "
    f"faiss flat (and {LEAST} s), or whose build alone takes longer than the best setting so far"
)


class Choice(NamedTuple):
    """The cheapest setting that reaches the recall, None where none does, and every setting tried."""

    build: Setting | None
    search: Setting | None
    tried: list[dict]


def choose(peer: Peer, x: np.ndarray, truth: np.ndarray, recall: float, limit: float) -> Choice:
    """The cheapest setting of a peer's grid with this recall on SAMPLE rows.

    truth: (n, K) ids. Seconds of a setting: its build, and its search scaled to all rows. The grid ends with the first
    setting slower than `limit` seconds, or whose build alone takes longer than the best setting so far.
    """
    rows = np.sort(np.random.default_rng(0).choice(len(x), min(SAMPLE, len(x)), replace=False))
    best, least, tried = (None, None), np.inf, []
    for build, efforts in peer.grid:
        start = time.perf_counter()
        index = peer.build(x, **build)
        building = time.perf_counter() - start
        for search in efforts:
            start = time.perf_counter()
            ids = ids_of(peer, index, x, rows, search)
            seconds = building + (time.perf_counter() - start) * len(x) / len(rows)
            reached = same_ids(ids, truth[rows])
            tried.append({**build, **{f"search_{key}": value for key, value in search.items()}})
            tried[-1] |= {"recall": round(reached, 4), "seconds": round(seconds, 2)}
            if reached >= recall and seconds < least:
                best, least = (build, search), seconds
            if reached >= recall or seconds > limit:
                break
        del index
        gc.collect()
        if seconds > limit or building > least:
            break
    return Choice(*best, tried)


def cases(n: int, repeats: int, recall: float, peers: list[str] | None = None) -> list[dict]:
    """The case `approximate_cosine`, with its recall in the name where that is not .99. peers: all by default."""
    x, data = embeddings(n)
    return [compare(x, data, repeats, recall, list(PEERS) if peers is None else peers)]


def compare(x: np.ndarray, data: str, repeats: int, recall: float, names: list[str]) -> dict:
    """The case of these rows, (n, d) unit vectors, and these peers."""
    truth = self_join(x, K, threads=THREADS)[1]
    limit = max(LEAST, PATIENCE * _flat_seconds(x))
    skipped, settings, tried = {}, {}, {}
    log: dict[str, list[dict[str, float]]] = defaultdict(list)
    runs: dict[str, Callable[[], np.ndarray]] = {
        "ours": lambda: self_join(x, K, mode="approximate", target_recall=recall, threads=THREADS)[1],
        "faiss_flat": lambda: faiss_flat(x, K, "cosine"),
    }
    for name in names:
        peer = PEERS[name]
        try:
            skipped[name] = failure(name)
            if skipped[name] is None:
                try_out(name)  # compiles in this process, outside the clock
                choice = choose(peer, x, truth, recall, limit)
                tried[name] = choice.tried
                if choice.build is None:
                    skipped[name] = f"no setting tried reached {recall}; a grid ends at one slower than {limit:.0f} s"
                else:
                    settings[name] = {"build": choice.build, "search": choice.search}
                    runs[name] = _whole(peer, x, choice, log[name])
        except Exception as error:  # whatever a library raises, the others are measured
            skipped[name] = f"{type(error).__name__}: {error}"
        print(f"{name}: {settings.get(name) or 'not measured: ' + str(skipped[name])}", flush=True)
    cores: dict[str, list[float]] = defaultdict(list)
    processor: dict[str, list[float]] = defaultdict(list)
    runs = {name: _with_cores(run, cores[name], processor[name]) for name, run in runs.items()}
    seconds, results = interleaved(runs, repeats)
    name = "approximate_cosine" if recall == 0.99 else f"approximate_cosine_{recall}"
    more = {
        "target_recall": recall,
        "recall_at_10": {run: round(same_ids(ids, truth), 4) for run, ids in results.items()},
        "settings": settings,
        "seconds_per_phase": {run: _medians(phases) for run, phases in log.items() if phases},
        "cores_used": {run: round(statistics.median(used), 2) for run, used in cores.items()},
        "processor_seconds": {run: round(statistics.median(taken), 1) for run, taken in processor.items()},
        "not_measured": {run: f"not measured: {why}" for run, why in skipped.items() if why},
        "grid": GRID,
        "tried": tried,
    }
    return case_of(name, data, *x.shape, seconds, repeats, None, **more)


def _whole(peer: Peer, x: np.ndarray, choice: Choice, log: list[dict[str, float]]) -> Callable[[], np.ndarray]:
    """A run that builds, searches all rows, and appends the seconds of both to the log."""

    def run() -> np.ndarray:
        start = time.perf_counter()
        index = peer.build(x, **choice.build)
        middle = time.perf_counter()
        ids = ids_of(peer, index, x, np.arange(len(x)), choice.search)
        log.append({"build": middle - start, "search": time.perf_counter() - middle})
        return ids

    return run


def _with_cores(run: Callable[[], np.ndarray], used: list[float], taken: list[float]) -> Callable[[], np.ndarray]:
    """The same run, which appends the processor time it took, in seconds, and per second: THREADS at most, less beside
    other work.
    """

    def measured() -> np.ndarray:
        wall, processor = time.perf_counter(), time.process_time()
        ids = run()
        taken.append(time.process_time() - processor)
        used.append(taken[-1] / (time.perf_counter() - wall))
        return ids

    return measured


def _flat_seconds(x: np.ndarray) -> float:
    """Seconds of faiss flat's self-join, from SAMPLE queries."""
    queries = x[:SAMPLE]
    start = time.perf_counter()
    faiss_flat(x, K, "cosine", queries)
    return (time.perf_counter() - start) * len(x) / len(queries)


def _medians(phases: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(phase[name] for phase in phases), 3) for name in phases[0]}
