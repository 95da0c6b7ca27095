"""Category heads fitted to a shop's embeddings: what they cost, and what they know of images they have not seen.

The part `heads` of `python -m benchmarks.quality`.
"""

from __future__ import annotations

import resource
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from unittest import mock

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupShuffleSplit
from threadpoolctl import threadpool_limits

from benchmarks.knn_probes import measure_probes
from vsspark.blocks import head as heads
from vsspark.blocks.head import Head, Sample, fit_softmax_head
from vsspark.evaluation.calibration import calibration_error
from vsspark.knn import self_join

_K, _PROBES, _PROBABILITY = 10, 3, 0.95  # the defaults of `blocking`
_SPLITS = 5  # of the products, 20 % held out, averaged
_WEIGHTS = (30.0, 300.0)  # of the data against the penalty, beside the one that is used


def head_cases(shop: str, x: np.ndarray, labels: np.ndarray, products: np.ndarray) -> list[dict]:
    """One case per way of fitting. x: (n, d) float32 of unit norm; labels, products: (n,) str.

    rank1_same_category and probes: of the fitted images, searched as the job does, image by image; held_*: means over
    splits of the products; fit_core_seconds: of one core, both fits of a run, the least of three.
    """
    ways: dict[str, Callable[..., Head]] = {"30 steps on the rows as they are": _thirty_steps, "used": fit_softmax_head}
    ways |= {f"used, weight {weight:g}": _with_weight(weight) for weight in _WEIGHTS}
    groups = np.unique(products, return_inverse=True)[1]
    truth = self_join(x, _K, groups=groups)[1]
    cases = []
    for name, fit in ways.items():
        seconds = []
        for _ in range(3):
            with threadpool_limits(1):
                started = time.process_time()
                head = fit(Sample(x, labels, products), 0.2, 0)
                seconds.append(time.process_time() - started)
        p = head.probabilities(x)
        order = np.argsort(-p, axis=1, kind="stable")
        mass = np.cumsum(np.take_along_axis(p, order, 1), axis=1)
        searched = measure_probes(x, groups, labels, order, mass, truth, _PROBES, _PROBABILITY)
        case = {"case": f"{shop}, {name}", "rows": len(x), "dim": x.shape[1]}
        case |= {"fit_core_seconds": round(min(seconds), 3)}
        case |= {"rank1_same_category": searched["category_at_1"], "probes": searched["mean_probes"]}
        cases.append(case | _held_out(fit, x, labels, products))
        print(cases[-1], flush=True)
    return cases


def many_categories(rows: int = 20_000, dim: int = 1280, categories: int = 1000) -> dict:
    """What a fit to drawn rows of uneven categories costs: seconds of one core, and GiB of a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        seconds, memory, known = alone.submit(_fit_drawn, rows, dim, categories).result()
    case = {"case": "many categories", "rows": rows, "dim": dim, "categories": known}
    return case | {"fit_core_seconds": round(seconds, 1), "memory_gib": round(memory, 2)}


def _fit_drawn(rows: int, dim: int, categories: int) -> tuple[float, float, int]:
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, categories + 1)
    y = rng.choice(categories, rows, p=share / share.sum())
    y[:categories] = np.arange(categories)
    centres = np.abs(rng.normal(size=(categories, dim))).astype(np.float32)
    x = 0.5 * centres[y] + np.abs(rng.normal(size=(rows, dim)).astype(np.float32))
    with threadpool_limits(1):
        started = time.process_time()
        head = fit_softmax_head(Sample(x, y.astype(str), np.arange(rows).astype(str)), 0.2, 0)
        seconds = time.process_time() - started
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, len(head.categories)


def _held_out(fit: Callable[..., Head], x: np.ndarray, labels: np.ndarray, products: np.ndarray) -> dict[str, float]:
    found = []
    for seed in range(_SPLITS):
        seen, held = next(GroupShuffleSplit(1, test_size=0.2, random_state=seed).split(x, groups=products))
        head = fit(Sample(x[seen], labels[seen], products[seen]), 0.0, seed)
        held = held[np.isin(labels[held], head.categories)]
        p, column = head.probabilities(x[held]), np.searchsorted(head.categories, labels[held])
        own = p[np.arange(len(held)), column]
        above = np.where(p > own[:, None], p, 0).sum(axis=1)  # the probability of what is searched before its own
        place = (p > own[:, None]).sum(axis=1)
        found.append(
            {
                "held_accuracy": (p.argmax(axis=1) == column).mean(),
                "held_log_loss": -np.log(np.maximum(own, 1e-12)).mean(),
                "held_calibration_error": calibration_error(p, column),
                "held_own_category_searched": ((place < _PROBES) & (above < _PROBABILITY)).mean(),
            }
        )
    return {name: round(float(np.mean([each[name] for each in found])), 4) for name in found[0]}


def _thirty_steps(sample: Sample, holdout: float, seed: int) -> Head:
    """The fit until version 1 of it: float32 rows of unit norm, cut off after 30 steps."""
    x, labels, products = sample
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if holdout:
            seen, _ = next(GroupShuffleSplit(1, test_size=holdout, random_state=seed).split(x, groups=products))
            LogisticRegression(C=100, max_iter=30).fit(x[seen], labels[seen])
        model = LogisticRegression(C=100, max_iter=30).fit(x, labels)
    return Head(model.coef_.T, model.intercept_, tuple(model.classes_.tolist()))


def _with_weight(weight: float) -> Callable[..., Head]:
    def fit(sample: Sample, holdout: float, seed: int) -> Head:
        with mock.patch.object(heads, "_C", weight):
            return fit_softmax_head(sample, holdout, seed)

    return fit
