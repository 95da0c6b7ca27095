"""The approximate mode keeps its promise, on data with structure and on data without."""

from __future__ import annotations

import numpy as np
import pytest

from vsspark.knn import approximate, graph, search, self_join
from vsspark.knn.cells import Cells


def clustered(n, d, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((n // 40, 24))
    low = centres[rng.integers(0, len(centres), n)] + 0.5 * rng.standard_normal((n, 24))
    return (low @ rng.standard_normal((24, d)) + 0.05 * rng.standard_normal((n, d))).astype(np.float32)


def recall(found, truth):
    return np.mean([len(np.intersect1d(a, b)) for a, b in zip(found, truth, strict=True)]) / truth.shape[1]


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("grouped", [False, True])
def test_recall_reaches_the_target_and_values_are_exact(metric, grouped):
    x = clustered(9000, 96)
    groups = np.arange(9000) // 3 if grouped else None
    values, ids = self_join(x, 10, metric, "approximate", groups=groups, target_recall=0.98)
    exact_values, exact_ids = self_join(x, 10, metric, groups=groups)
    assert recall(ids, exact_ids) >= 0.98
    same = ids == exact_ids
    np.testing.assert_allclose(values[same], exact_values[same], rtol=1e-5, atol=2e-5)
    if grouped:
        assert not (ids // 3 == np.arange(9000)[:, None] // 3).any()


def test_search_reaches_the_target():
    x = clustered(12_000, 64)
    found = search(x[:3000], x[3000:], 5, mode="approximate", target_recall=0.97)[1]
    assert recall(found, search(x[:3000], x[3000:], 5)[1]) >= 0.97


def test_data_without_structure_falls_back_to_exact(caplog):
    x = np.random.default_rng(0).standard_normal((7000, 400)).astype(np.float32)  # 256 directions hold little of it
    with caplog.at_level("INFO", logger="vsspark.knn.approximate"):
        found = self_join(x, 10, mode="approximate")
    np.testing.assert_array_equal(found[1], self_join(x, 10)[1])
    assert "searching exactly" in caplog.text


def test_more_cells_are_searched_where_the_rounds_end_early(caplog):
    x = np.random.default_rng(0).standard_normal((8000, 128)).astype(np.float32)
    with caplog.at_level("INFO", logger="vsspark.knn.approximate"):
        ids = self_join(x, 2, mode="approximate", target_recall=0.97)[1]
    assert "after 20 of 31 cells" in caplog.text
    assert "after 31 of 31 cells" in caplog.text
    assert "searching exactly" not in caplog.text
    assert recall(ids, self_join(x, 2)[1]) >= 0.97


def test_a_seed_fixes_the_answer_whatever_the_threads():
    x = clustered(8000, 64)
    one = self_join(x, 10, mode="approximate", seed=3, threads=1)
    for threads in (2, 3):
        other = self_join(x, 10, mode="approximate", seed=3, threads=threads)
        np.testing.assert_array_equal(one[1], other[1])
        np.testing.assert_array_equal(one[0], other[0])


def test_copies_order_by_id_and_groups_appear_once():
    x = clustered(7000, 48)
    x[5000:] = x[:2000]  # each of the first rows twice, and one of them 200 times
    x[6800:] = x[7]
    groups = np.arange(7000) % 3500  # the two rows of a group are no copies of each other
    values, ids = self_join(x, 8, mode="approximate", groups=groups, target_recall=0.97)
    exact = self_join(x, 8, groups=groups)
    assert recall(ids, exact[1]) >= 0.97
    listed = groups[ids]
    assert not (listed == groups[:, None]).any()
    assert all(len(np.unique(row)) == len(row) for row in listed)
    same = ids == exact[1]
    np.testing.assert_array_equal(values[same], exact[0][same])


def test_queries_that_are_items_and_groups_are_left_out_of_a_search():
    x = clustered(10_000, 48)
    groups = np.arange(10_000) // 2
    given = {"query_ids": np.arange(3000), "item_ids": np.arange(10_000)}
    given |= {"query_groups": groups[:3000], "item_groups": groups}
    ids = search(x[:3000], x, 6, "l2", "approximate", target_recall=0.97, **given)[1]
    assert recall(ids, search(x[:3000], x, 6, "l2", **given)[1]) >= 0.97
    assert not (groups[ids] == groups[:3000, None]).any()


def test_a_round_offers_the_neighbours_of_neighbours():
    """Five points on a line, each in a cell of its own; every query knows the next one alone."""
    vectors = np.array([[1, 0.0], [1, 0.1], [1, 0.2], [1, 0.3], [1, 0.4]], np.float32)
    bias = (-(vectors**2).sum(axis=1) / 2).astype(np.float32)
    number = np.arange(5, dtype=np.int32)
    points = graph.Points(vectors, bias, number.astype(np.int64), number, np.ones(5, bool), number.astype(np.int64))
    cells = Cells(np.eye(2, dtype=np.float32), vectors, np.arange(5), np.arange(6), vectors)
    lists = graph.search_cells((points, points), cells, np.array([[1], [2], [3], [4], [4]], np.int32), 2, 1)
    assert lists.found.tolist() == [[1, -1], [2, -1], [3, -1], [4, -1], [-1, -1]]
    links = graph.links_of(lists, None, True)
    assert [set(row) - {-1} for row in links.near.tolist()] == [{1}, {0, 2}, {1, 3}, {2, 4}, {3}]
    assert links.fresh.tolist() == [1, 2, 2, 2, 1]
    graph.follow(lists, links, links, 1)
    assert [set(row) for row in lists.found.tolist()] == [{1, 2}, {0, 2}, {1, 3}, {2, 4}, {3, 2}]
    again = graph.links_of(lists, links, True)
    assert again.near[4].tolist()[: again.fresh[4]] == [2]  # the other link is of the round before
    graph.follow(lists, again, again, 1)
    np.testing.assert_allclose(lists.values[0], (vectors @ vectors[0] + bias)[lists.found[0]], rtol=1e-6)


@pytest.mark.parametrize(("target", "k", "size"), [(0.9, 10, 256), (0.99, 10, 256), (0.999, 10, 500), (1, 10, 1024)])
def test_a_sample_is_large_enough_to_tell_its_target(target, k, size):
    assert approximate.sample_size(target, k) == size
    assert target <= approximate.least_recall(target, size * k) <= 1


@pytest.mark.parametrize(
    ("queries", "items", "metric"),
    [(100_000, approximate.SMALLEST - 1, "cosine"), (10, 100_000, "l2"), (100_000, 100_000, "l1")],
)
def test_small_or_unprojectable_searches_stay_exact(queries, items, metric):
    assert not approximate.worthwhile(queries, items, metric)
