"""Figures of neighbour lists against hand-written expectations."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from vsspark.config import EvaluationConfig
from vsspark.evaluation.compare import Sample, draw_queries, head_figures, random_figures, search_figures
from vsspark.evaluation.measures import agreement, expected_share, figure, hubness, nearest_agrees, precision

LABELS = np.array([0, 0, 1, 1, -1])


def test_agreement_counts_right_wrong_and_what_cannot_be_judged():
    found = np.array([[1, 2, 4], [2, -1, -1], [0, 1, 2]])
    queries = np.array([0, 3, 4])
    nan = np.nan
    np.testing.assert_array_equal(agreement(found, queries, LABELS), [[1, 0, 0], [1, nan, nan], [nan, nan, nan]])


def test_precision_is_over_the_neighbours_there_are():
    np.testing.assert_allclose(
        precision(np.array([[1, 0, 0, 1], [1, np.nan, np.nan, np.nan], [np.nan] * 4])), [0.5, 1, np.nan]
    )


def test_the_random_share_leaves_the_querys_own_group_out():
    alone, pairs = np.arange(5), np.array([0, 0, 1, 2, 2])
    every = np.arange(5)
    np.testing.assert_allclose(expected_share(every, LABELS, alone), [1 / 4, 1 / 4, 1 / 4, 1 / 4, np.nan])
    np.testing.assert_allclose(expected_share(every, LABELS, pairs), [0, 0, 1 / 4, 1 / 3, np.nan])
    np.testing.assert_allclose(expected_share(every, LABELS, np.zeros(5, int)), [np.nan] * 5)


def test_the_interval_is_the_binomials_and_the_same_each_time():
    values = np.r_[np.ones(300), np.zeros(100), np.full(50, np.nan)]
    found = figure(values, 2000, 1)
    half = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert (found.value, found.count) == (0.75, 400)
    assert (found.low, found.high) == (pytest.approx(0.75 - half, abs=0.005), pytest.approx(0.75 + half, abs=0.005))
    assert figure(values, 2000, 1) == found
    assert figure(np.ones(3), 10, 0)[:3] == (1, 1, 1)
    assert figure(np.full(3, np.nan), 10, 0) is None


def test_hubness_of_lists_where_one_item_is_everywhere():
    found = np.array([[0, 1], [0, 2], [0, 3], [0, -1]])
    largest, skewness = hubness(found, 5)  # occurrences 4, 1, 1, 1, 0: mean 1.4, variance 1.84, third moment 2.928
    assert largest == 4
    assert skewness == pytest.approx(2.928 / 1.84**1.5)
    assert hubness(np.array([[0], [1]]), 2) == (1, 0.0)


def _sample(n=60, senders=True):
    rng = np.random.default_rng(3)
    products = np.sort(rng.integers(0, 25, n))
    categories = products % 4
    categories[:3] = -1
    return Sample(
        np.arange(n) * 7,
        np.array([f"{i}.jpg" for i in range(n)]),
        products,
        categories,
        ("a", "b", "c", "d"),
        rng.integers(0, 9, n) if senders else None,
    )


@pytest.mark.parametrize("metric", ["cosine", "l2", "l1"])
def test_the_figures_are_those_of_a_brute_force(metric):
    sample, config = _sample(), EvaluationConfig(queries=40, k=5)
    x = np.random.default_rng(4).normal(size=(60, 12)).astype(np.float32)
    queries = draw_queries(60, config)
    assert len(np.unique(queries)) == 40
    order = (
        NearestNeighbors(n_neighbors=60, metric={"cosine": "cosine", "l2": "l2", "l1": "l1"}[metric])
        .fit(x)
        .kneighbors(x[queries])[1]
    )
    lists = [[i for i in row if i != q] for q, row in zip(queries, order, strict=True)]
    c, p, s = sample.categories, sample.products, sample.senders
    labelled = [(q, row) for q, row in zip(queries, lists, strict=True) if c[q] >= 0]

    def first(q, row, group):
        return next(i for i in row if group[i] != group[q])

    row, other = search_figures(x, sample, queries, ("m", metric), config)
    expected = {
        "category_at_1": np.mean([c[r[0]] == c[q] for q, r in labelled]),
        "precision_at_k": np.mean([np.mean(c[r[:5]] == c[q]) for q, r in labelled]),
        "same_product_at_1": np.mean(
            [p[r[0]] == p[q] for q, r in zip(queries, lists, strict=True) if (p == p[q]).sum() > 1]
        ),
        "category_at_1_other_product": np.mean([c[first(q, r, p)] == c[q] for q, r in labelled]),
        "category_at_1_other_sender": np.mean([c[first(q, r, s)] == c[q] for q, r in labelled]),
    }
    assert {name: row.figures[name].value for name in expected} == pytest.approx(expected)
    assert other.tolist() == [first(q, r, p) for q, r in zip(queries, lists, strict=True)]
    assert row.hub == np.bincount(np.ravel([r[:5] for r in lists])).max()
    by_sender = []
    for q, r in labelled:
        seen = [i for n, i in enumerate(r) if s[i] != s[q] and s[i] not in s[r[:n]]]
        by_sender.append(np.mean(c[seen[:5]] == c[q]))
    assert row.figures["precision_at_k_other_sender"].value == pytest.approx(np.mean(by_sender))


def test_hamming_compares_bits_above_the_median():
    config = EvaluationConfig(queries=8, k=1)
    x = np.array([[1, 9, 1], [2, 9, 2], [9, 1, 9], [8, 2, 8]], np.float32)  # never negative: every sign is the same
    sample = Sample(np.arange(4), np.array(list("abcd")), np.arange(4), np.array([0, 0, 1, 1]), ("a", "b"), None)
    row, _ = search_figures(x, sample, draw_queries(4, config), ("m", "hamming"), config)
    assert row.figures["category_at_1"].value == 1
    assert row.figures["category_at_1_other_product"] is None  # one image per product: nothing to leave out
    assert row.figures["same_product_at_1"] is None


def test_what_is_drawn_reaches_what_the_random_control_promises():
    sample, config = _sample(400, senders=False), EvaluationConfig(queries=400, k=1)
    queries = draw_queries(400, config)
    row, drawn = random_figures(sample, queries, config)
    assert (sample.products[drawn] != sample.products[queries]).all()
    right = agreement(drawn[:, None], queries, sample.categories)[:, 0]
    assert np.nanmean(right) == pytest.approx(row.figures["category_at_1_other_product"].value, abs=0.07)
    # 16 images a product on average.
    assert row.figures["same_product_at_1"].value == pytest.approx(15 / 399, abs=0.005)
    assert set(row.figures) == {"category_at_1", "precision_at_k", "same_product_at_1", "category_at_1_other_product"}


def test_one_product_alone_has_no_other_to_draw():
    sample = Sample(np.arange(2), np.array(["a", "b"]), np.zeros(2, int), np.zeros(2, int), ("x",), None)
    row, drawn = random_figures(sample, np.arange(2), EvaluationConfig())
    assert drawn.tolist() == [-1, -1]
    assert row.figures["category_at_1_other_product"] is None
    assert row.figures["same_product_at_1"].value == 1


def test_a_head_is_judged_on_the_categories_it_knows():
    sample = Sample(
        np.arange(4), np.array(list("abcd")), np.arange(4), np.array([0, 1, 2, -1]), ("hat", "sock", "kite"), None
    )
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.5, 0.5], [0.5, 0.5]], np.float32)
    found = head_figures(p, ("hat", "sock"), sample, EvaluationConfig())
    assert (found.top1.value, found.top1.count) == (0.5, 2)
    assert found.calibration_error == pytest.approx(0.5 * 0.1 + 0.5 * 0.8, abs=1e-6)
    assert head_figures(p, ("car", "plane"), sample, EvaluationConfig()) is None


def test_nearest_agrees_by_hand():
    angles = np.radians([0, 10, 15, 90, 120])
    embeddings = np.stack([np.cos(angles), np.sin(angles)], 1)
    label = np.array([0, 0, 1, 1, 1])
    # nearest: 0->1 yes, 1->2 no, 2->1 no, 3->4 yes, 4->3 yes
    assert nearest_agrees(embeddings, label) == pytest.approx(3 / 5)
    # without 1 and 2 meeting: 0->1 yes, 1->0 yes, 2->0 no, 3->4 yes, 4->3 yes
    assert nearest_agrees(embeddings, label, exclude=np.array([0, 1, 1, 2, 3])) == pytest.approx(4 / 5)


def test_rows_that_cannot_be_right_are_not_counted():
    embeddings = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    assert nearest_agrees(embeddings, np.array([0, 0, 1])) == 1.0
