"""`self_join` and `search` against the definition, and at the edges."""

from __future__ import annotations

import numpy as np
import pytest
from naive_neighbours import naive

from vsspark.knn import search, self_join

METRICS = ("cosine", "l2", "l1", "hamming")


def rows(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def agree(got, expected, tolerance):
    """Values agree at every rank; so ids may differ only between values that float32 cannot tell apart, and hardly
    ever do.
    """
    there = np.isfinite(expected[0])
    np.testing.assert_allclose(got[0][there], expected[0][there], rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(got[0][~there], expected[0][~there])
    np.testing.assert_array_equal(np.sort(got[1][~there]), np.sort(expected[1][~there]))
    assert (got[1] != expected[1]).sum() <= 2e-3 * got[1].size


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("n", "d", "k"), [(1, 4, 3), (2, 3, 1), (40, 1, 5), (700, 33, 7), (90, 4096, 4), (300, 20, 400)]
)
@pytest.mark.parametrize("grouped", [False, True])
def test_self_join_is_the_definition(metric, n, d, k, grouped):
    rng = np.random.default_rng(n)
    x = rows(n, d)
    if d == 1 and metric == "cosine":
        x = np.abs(x)
    ids = rng.permutation(np.concatenate([rng.integers(-(2**63), 2**63 - 1, n - 1), [-5]]))
    groups = rng.integers(-(2**62), 2**62, max(1, n // 3))[rng.integers(0, max(1, n // 3), n)] if grouped else None
    got = self_join(x, k, metric, ids=ids, groups=groups)
    assert got[0].dtype == np.float32
    assert got[1].dtype == np.int64
    # Every cosine is 1: only ids order them, whatever the last bit of a float64 quotient says.
    if metric == "cosine" and d == 1:
        x = np.ones_like(x)
    agree(got, naive(x, x, k, metric, ids, ids, groups, groups), 2e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_search_leaves_out_only_what_it_is_told_to(metric):
    rng = np.random.default_rng(1)
    x, q = rows(600, 24), rows(300, 24, seed=2)
    q[:50] = x[:50]
    nobody = np.full(len(q), -1)
    agree(search(q, x, 6, metric), naive(q, x, 6, metric, nobody, np.arange(600)), 2e-6)
    ids, query_ids = rng.permutation(10_000)[:600], rng.permutation(10_000)[:300]
    query_ids[:50] = ids[:50]
    agree(search(q, x, 6, metric, query_ids=query_ids, item_ids=ids), naive(q, x, 6, metric, query_ids, ids), 2e-6)
    groups, query_groups = rng.integers(0, 90, 600), rng.integers(0, 120, 300)
    expected = naive(q, x, 6, metric, query_ids, ids, query_groups, groups)
    agree(
        search(q, x, 6, metric, query_ids=query_ids, item_ids=ids, query_groups=query_groups, item_groups=groups),
        expected,
        2e-6,
    )


@pytest.mark.parametrize("metric", METRICS)
def test_thousands_of_duplicates_order_by_id(metric):
    distinct = rows(3, 50)
    x = distinct[np.random.default_rng(0).integers(0, 3, 2500)]
    ids = np.random.default_rng(1).permutation(2500)
    values, found = self_join(x, 8, metric, ids=ids)
    for row in (0, 1234, 2499):
        same = np.sort(ids[(x == x[row]).all(axis=1) & (ids != ids[row])])
        np.testing.assert_array_equal(found[row], same[:8])
    np.testing.assert_allclose(values, 1 if metric == "cosine" else 0, atol=3e-7)


def test_a_zero_vector_has_cosine_zero_to_everything():
    x = rows(20, 8)
    x[[3, 7]] = 0
    values, ids = self_join(x, 19)
    np.testing.assert_array_equal(values[3], 0)
    np.testing.assert_array_equal(ids[3], [i for i in range(20) if i != 3])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_refused_by_number(bad):
    x = rows(20, 8)
    x[[4, 11], 2] = bad
    with pytest.raises(ValueError, match=r"2 rows hold NaN or infinity, the first are rows \[4, 11\]"):
        self_join(x, 3)
    with pytest.raises(ValueError, match="queries: 2 rows"):
        search(x, rows(5, 8), 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k = 0"),
        ({"metric": "jaccard"}, "expected one of cosine, l2, l1, hamming"),
        ({"mode": "fast"}, "expected one of exact, approximate"),
        ({"ids": np.zeros(9, np.int64)}, "ids are not unique"),
        ({"ids": np.arange(8)}, "expected 9 integers"),
        ({"x": np.zeros(9)}, "expected a numeric array of shape"),
        ({"x": np.zeros((9, 0))}, "expected a numeric array of shape"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        self_join(**({"x": rows(9, 4), "k": 2} | arguments))


@pytest.mark.parametrize("metric", METRICS)
def test_ids_do_not_depend_on_tiles_threads_or_order(metric):
    x = rows(1300, 40)
    x[200:900] = x[:700]  # ties in every list
    ids = np.arange(1300)
    expected = self_join(x, 9, metric, threads=1)
    order = np.random.default_rng(3).permutation(1300)
    for tile_rows, threads in ((256, 3), (512, 2), (8192, 5)):
        values, found = self_join(x[order], 9, metric, ids=ids[order], tile_rows=tile_rows, threads=threads)
        np.testing.assert_array_equal(found[np.argsort(order)], expected[1])
        np.testing.assert_allclose(values[np.argsort(order)], expected[0], rtol=1e-6, atol=1e-6)


def test_l2_survives_rows_far_from_the_origin():
    x = rows(400, 30) + np.float32(3000)
    ids = np.arange(400)
    agree(self_join(x, 5, "l2"), naive(x, x, 5, "l2", ids, ids), 1e-6)


def test_l2_orders_clusters_too_tight_for_float32_products():
    rng = np.random.default_rng(0)
    x = (rows(20, 16)[rng.integers(0, 20, 500)] + 1e-4 * rows(500, 16, seed=5)).astype(np.float32)
    ids = np.arange(500)
    agree(self_join(x, 5, "l2"), naive(x, x, 5, "l2", ids, ids), 1e-5)


def test_hamming_thresholds_make_the_bits():
    x = rows(200, 70) + 5
    ids = np.arange(200)
    middle = np.median(x, axis=0)
    agree(self_join(x, 4, "hamming", thresholds=middle), naive(x - middle, x - middle, 4, "hamming", ids, ids), 0)
