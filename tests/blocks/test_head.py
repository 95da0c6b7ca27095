from __future__ import annotations

import numpy as np
import pytest

from vsspark.blocks.head import fit_cluster_head, fit_softmax_head


def _three_groups(n=60, d=16, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, d))
    labels = np.arange(n) % 3
    return (centres[labels] + 0.1 * rng.normal(size=(n, d))).astype(np.float32), np.array(["a", "b", "c"])[labels], np.array([f"p{i // 2}" for i in range(n)])


def test_a_head_learns_what_can_be_learned_and_says_how_well():
    x, labels, products = _three_groups()
    head = fit_softmax_head(x, labels, products, holdout=0.2, seed=0)
    p = head.probabilities(x * 7.0)  # length does not matter, direction does
    assert head.categories == ("a", "b", "c")
    assert head.accuracy == 1.0
    assert p.dtype == np.float32
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-5)
    assert (np.array(head.categories)[p.argmax(axis=1)] == labels).all()


def test_two_categories_get_two_columns_that_agree_with_the_labels():
    x, labels, products = _three_groups()
    two = labels != "c"
    head = fit_softmax_head(x[two], labels[two], products[two], holdout=0.2, seed=0)
    p = head.probabilities(x[two])
    assert p.shape == (two.sum(), 2)
    assert (np.array(head.categories)[p.argmax(axis=1)] == labels[two]).all()


def test_random_labels_are_not_reported_as_learned():
    x, labels, products = _three_groups(n=300)
    shuffled = np.random.default_rng(1).permutation(labels)
    assert fit_softmax_head(x, shuffled, products, holdout=0.3, seed=0).accuracy < 0.6


def test_one_category_is_certain():
    x, _, products = _three_groups()
    head = fit_softmax_head(x, np.full(len(x), "only"), products, holdout=0.2, seed=0)
    assert head.categories == ("only",)
    np.testing.assert_array_equal(head.probabilities(x), np.ones((len(x), 1), np.float32))


@pytest.mark.parametrize(("clusters", "expected"), [(3, 3), (500, 60)])
def test_clusters_stand_in_for_labels(clusters, expected):
    x, labels, _ = _three_groups()
    head = fit_cluster_head(x, clusters, seed=0)
    assert len(head.categories) == expected
    if clusters == 3:
        found = head.probabilities(x).argmax(axis=1)
        assert len({(a, b) for a, b in zip(labels, found, strict=True)}) == 3  # one cluster per group and one group per cluster
