"""The neighbours by definition: float64, every pair, one query at a time."""

from __future__ import annotations

import numpy as np


def naive(queries, items, k, metric, query_ids, item_ids, query_groups=None, item_groups=None):
    """(values (q, k) float64, ids (q, k)): -1 and the worst value where there are fewer than k."""
    q, x = queries.astype(np.float64), items.astype(np.float64)
    worst = -np.inf if metric == "cosine" else np.inf
    values, ids = np.full((len(q), k), worst), np.full((len(q), k), -1, np.int64)
    for r in range(len(q)):
        value = _value(q[r], x, metric)
        seen, found = set(), 0
        for j in np.lexsort((item_ids, -value if metric == "cosine" else value)):
            if item_ids[j] == query_ids[r] or found == k:
                continue
            if item_groups is not None:
                if item_groups[j] == query_groups[r] or item_groups[j] in seen:
                    continue
                seen.add(item_groups[j])
            values[r, found], ids[r, found] = value[j], item_ids[j]
            found += 1
    return values, ids


def _value(q, x, metric):
    if metric == "cosine":
        lengths = np.linalg.norm(q) * np.linalg.norm(x, axis=1)
        # Summed row by row: a matrix product may round equal rows differently.
        return np.divide((x * q).sum(axis=1), lengths, out=np.zeros(len(x)), where=lengths > 0)
    if metric == "l2":
        return np.sqrt(((x - q) ** 2).sum(axis=1))
    if metric == "l1":
        return np.abs(x - q).sum(axis=1)
    return ((x > 0) != (q > 0)).sum(axis=1).astype(np.float64)
