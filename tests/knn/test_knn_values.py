"""Values are the float64 result rounded once, estimates keep within their bound, and lists follow values alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from same_answer import hard_rows

from vsspark.knn import exact, metrics, search, self_join, values

METRICS = ("cosine", "l2", "l1")


def exact_value(metric, a, b):
    """The value by exactly rounded sums."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    if metric == "cosine":
        lengths = math.sqrt(math.fsum(a * a)) * math.sqrt(math.fsum(b * b))
        return np.float32(math.fsum(a * b) / lengths if lengths else 0.0)
    return np.float32(math.sqrt(math.fsum((a - b) ** 2)) if metric == "l2" else math.fsum(abs(a - b)))


def kinds_of_rows(d):
    rng = np.random.default_rng(d)
    x = rng.standard_normal((60, d)).astype(np.float32)
    yield "plain", x
    yield "unit", x / np.linalg.norm(x, axis=1, keepdims=True)
    yield "never negative, far from the origin", np.abs(x) + np.float32(1000)
    yield "tight clusters", (x[rng.integers(0, 3, 60)] + 1e-5 * x).astype(np.float32)
    yield "tiny", x * np.float32(1e-20)
    yield "large", x * np.float32(1e15)
    yield "one far away", np.concatenate([x[:59], x[59:] * np.float32(1e6)])


@pytest.mark.parametrize("similarity", [False, True])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [1, 3, 31, 256, 4096])
def test_estimates_keep_within_their_bound(metric, similarity, d):
    for name, x in kinds_of_rows(d):
        x = metrics.checked(x, name)
        measure, (estimated,) = metrics.estimates(metric, similarity, x)
        tile = metrics.fill(metric, estimated.vectors, estimated.vectors.copy(), np.empty(64 * 64, np.float32))[
            :60, :60
        ]
        tile = tile + (estimated.bias[:, None] + estimated.bias)
        inverses = values.inverses(estimated.squares)
        positions = np.tile(np.arange(60), (60, 1))
        found = values.pair_values(measure, x, x, inverses, inverses, positions)
        np.testing.assert_array_equal(found, found.T)
        low = values.least_estimates(measure, found.ravel()).reshape(60, 60)
        assert (tile >= low).all(), name
        least = np.array([[values.least_value(measure, e) for e in row] for row in tile])
        assert (found >= least).all(), name


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [3, 50])
def test_lists_follow_the_rounded_value_then_the_id(metric, d):
    """Rows one last place apart, in groups: which of a group's rows stands for it is decided by values, too."""
    x = hard_rows(d, 240)
    rng = np.random.default_rng(1)
    ids, groups = rng.permutation(240), rng.integers(0, 90, 240)
    table = np.array([[exact_value(metric, a, b) for b in x] for a in x])
    got = self_join(x, 6, metric, ids=ids, groups=groups)
    sign = -1 if metric == "cosine" else 1
    for row in range(240):
        seen, expected = {groups[row]}, []
        for j in np.lexsort((ids, sign * table[row])):
            if groups[j] not in seen:
                seen.add(groups[j])
                expected.append(j)
        np.testing.assert_array_equal(got[1][row], ids[expected[:6]])
        np.testing.assert_allclose(
            got[0][row], table[row][expected[:6]], rtol=0, atol=0 if metric == "cosine" else 1e-6
        )


def test_copies_that_no_list_can_hold_are_left_out():
    x = np.ones((40, 3), np.float32)
    x[::4] = 2
    ids, groups = np.random.default_rng(0).permutation(40), np.arange(40) // 2
    needed = exact.needed_items(x, values.squares(x), ids, groups, 3)
    for vector in (1, 2):
        rows = np.flatnonzero(x[:, 0] == vector)
        rows = rows[np.argsort(ids[rows])]
        first_of_group = [row for place, row in enumerate(rows) if groups[row] not in groups[rows[:place]]]
        np.testing.assert_array_equal(np.sort(first_of_group[:4]), np.flatnonzero(needed & (x[:, 0] == vector)))
    assert exact.needed_items(np.eye(9, dtype=np.float32), np.ones(9), np.arange(9), np.arange(9), 1).all()


@pytest.mark.parametrize("metric", METRICS)
def test_a_row_counts_alone(metric):
    """A zero row, or one far away, beside a tile's rows changes no bit of their values."""
    x = hard_rows(30, 300)
    queries, items = x[:40], x[40:]
    alone = search(queries, items, 5, metric)
    for extra in (np.zeros((1, 30)), np.full((1, 30), 1e7)):
        more = np.concatenate([items, extra.astype(np.float32)])
        nearest, ids = search(queries, more, 6, metric)
        for row in range(40):
            others = ids[row] != 260
            np.testing.assert_array_equal(ids[row][others][:5], alone[1][row])
            np.testing.assert_array_equal(nearest[row][others][:5], alone[0][row])
