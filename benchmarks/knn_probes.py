"""How many probable categories a query must search: recall against the unblocked exact neighbours, and how often the
nearest is of the query's category.

The case `probes` of `python -m benchmarks.knn`. No cases without the photos.
"""

from __future__ import annotations

import csv

import numpy as np

from benchmarks.knn_data import PHOTOS, photo_features
from vsspark.blocks.head import Sample, fit_softmax_head
from vsspark.knn import search, self_join

K = 10


def cases() -> list[dict]:
    found = []
    for name in ("clothing", "luma") if PHOTOS.is_dir() else ():
        with open(PHOTOS / name / "catalogue.csv", newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if (PHOTOS / name / row["image"]).is_file()]
        x = photo_features([PHOTOS / name / row["image"] for row in rows])
        labels = np.array([row["category"] for row in rows])
        groups = np.unique([row.get("product", row["image"]) for row in rows], return_inverse=True)[1]
        head = fit_softmax_head(Sample(x, labels, groups), 0.2, 0)
        probabilities = head.probabilities(x)
        order = np.argsort(-probabilities, axis=1)
        mass = np.cumsum(np.take_along_axis(probabilities, order, 1), axis=1)
        truth = self_join(x, K, groups=groups)[1]
        for limit in (1.0, 0.99, 0.95):
            for probes in (1, 2, 3, 4, 6):
                setting = {
                    "case": f"probes_{name}_{probes}_{limit}",
                    "images": len(x),
                    "probes": probes,
                    "probability": limit,
                }
                found.append(setting | measure_probes(x, groups, labels, order, mass, truth, probes, limit))
    return found


def measure_probes(
    x: np.ndarray,
    groups: np.ndarray,
    labels: np.ndarray,
    order: np.ndarray,
    mass: np.ndarray,
    truth: np.ndarray,
    probes: int,
    limit: float,
) -> dict:
    n, own = len(x), order[:, 0]
    wanted = np.minimum(probes, 1 + (mass < limit).sum(axis=1))
    values, ids = np.full((n, 0), 0, np.float32), np.full((n, 0), 0)
    for rank in range(probes):
        part_values, part_ids = np.full((n, K), -np.inf, np.float32), np.full((n, K), -1)
        for block in np.unique(own):
            asking, items = np.flatnonzero((order[:, rank] == block) & (rank < wanted)), np.flatnonzero(own == block)
            if len(asking):
                options = {
                    "query_ids": asking,
                    "item_ids": items,
                    "query_groups": groups[asking],
                    "item_groups": groups[items],
                }
                part_values[asking], part_ids[asking] = search(x[asking], x[items], K, **options)
        values, ids = np.hstack([values, part_values]), np.hstack([ids, part_ids])
    best = np.argsort(-values, axis=1, kind="stable")
    hits, same_category = [], []
    for q in range(n):
        chosen, seen = [], set()
        for i in ids[q][best[q]]:
            if i >= 0 and groups[i] not in seen and len(chosen) < K:
                seen.add(groups[i])
                chosen.append(i)
        hits.append(len(set(chosen) & set(truth[q])) / K)
        same_category.append(bool(chosen) and labels[chosen[0]] == labels[q])
    sizes = np.bincount(own, minlength=order.shape[1])
    searched = sum(float(sizes[order[q, : wanted[q]]].sum()) for q in range(n)) / n / n
    figures = {
        "recall_at_10": np.mean(hits),
        "category_at_1": np.mean(same_category),
        "share_of_pairs": searched,
        "mean_probes": wanted.mean(),
    }
    return {name: round(float(value), 4) for name, value in figures.items()}
