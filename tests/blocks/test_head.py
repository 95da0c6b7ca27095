from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from vsspark.blocks.head import Sample, fit_cluster_head, fit_softmax_head


def _three_groups(n=60, d=16, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, d))
    labels = np.arange(n) % 3
    return (
        (centres[labels] + 0.1 * rng.normal(size=(n, d))).astype(np.float32),
        np.array(["a", "b", "c"])[labels],
        np.array([f"p{i // 2}" for i in range(n)]),
    )


def test_a_head_learns_what_can_be_learned_and_says_how_well():
    x, labels, products = _three_groups()
    head = fit_softmax_head(Sample(x, labels, products), holdout=0.2, seed=0)
    p = head.probabilities(x * 7.0)  # length does not matter, direction does
    assert head.categories == ("a", "b", "c")
    assert head.accuracy == 1.0
    assert p.dtype == np.float32
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-5)
    assert (np.array(head.categories)[p.argmax(axis=1)] == labels).all()


def test_two_categories_get_two_columns_that_agree_with_the_labels():
    x, labels, products = _three_groups()
    two = labels != "c"
    head = fit_softmax_head(Sample(x[two], labels[two], products[two]), holdout=0.2, seed=0)
    p = head.probabilities(x[two])
    assert p.shape == (two.sum(), 2)
    assert (np.array(head.categories)[p.argmax(axis=1)] == labels[two]).all()


def test_random_labels_are_not_reported_as_learned():
    x, labels, products = _three_groups(n=300)
    shuffled = np.random.default_rng(1).permutation(labels)
    assert fit_softmax_head(Sample(x, shuffled, products), holdout=0.3, seed=0).accuracy < 0.6


def test_one_category_is_certain():
    x, _, products = _three_groups()
    head = fit_softmax_head(Sample(x, np.full(len(x), "only"), products), holdout=0.2, seed=0)
    assert head.categories == ("only",)
    np.testing.assert_array_equal(head.probabilities(x), np.ones((len(x), 1), np.float32))


@pytest.mark.parametrize(("clusters", "expected"), [(3, 3), (500, 60)])
def test_clusters_stand_in_for_labels(clusters, expected):
    x, labels, _ = _three_groups()
    head = fit_cluster_head(x, clusters, seed=0)
    assert len(head.categories) == expected
    if clusters == 3:
        found = head.probabilities(x).argmax(axis=1)
        pairs = set(zip(labels, found, strict=True))
        assert len(pairs) == 3  # one cluster per group and one group per cluster


def _photos(n: int, d: int = 300, categories: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positive rows around a common mean, some dimensions far wider than others, as pooled ReLU features are."""
    rng = np.random.default_rng(5)
    spread = np.geomspace(1.0, 0.03, d)
    centres = np.abs(rng.normal(size=(categories, d))) * spread
    labels = np.arange(n) % categories
    x = np.abs(0.6 * centres[labels] + 1.5 * rng.normal(size=(n, d)) * spread + 2.0)
    return x.astype(np.float32), np.array([f"c{i}" for i in range(categories)])[labels], np.arange(n).astype(str)


def test_the_fit_is_near_its_optimum_on_features_of_uneven_spread():
    x, labels, products = _photos(1200)
    head = fit_softmax_head(Sample(x, labels, products), holdout=0.2, seed=0)
    p = head.probabilities(x)
    # 30 steps on the rows as they are: .961.
    assert (np.array(head.categories)[p.argmax(axis=1)] == labels).mean() > 0.98
    assert head.accuracy > 0.8


def test_the_same_rows_give_the_same_head_with_every_kernel_and_thread_count_of_the_blas():
    code = (
        "import hashlib; from tests.blocks.test_head import _photos;"
        "from vsspark.blocks.head import Sample, fit_softmax_head;"
        "h = fit_softmax_head(Sample(*_photos(600)), 0.2, 0);"
        "print(hashlib.sha256(h.weights.tobytes() + h.bias.tobytes()).hexdigest())"
    )
    digests = set()
    for kernel, threads in (("Prescott", 1), ("Nehalem", 2), ("Haswell", 2), ("Zen", 4)):
        environment = os.environ | {"OPENBLAS_CORETYPE": kernel, "OPENBLAS_NUM_THREADS": str(threads)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        digests.add(done.stdout.strip())
    assert len(digests) == 1


def test_a_rows_probabilities_do_not_depend_on_the_rows_beside_it():
    x, labels, products = _photos(1000)
    head = fit_softmax_head(Sample(x, labels, products), holdout=0.0, seed=0)
    together = head.probabilities(x)
    for rows in (1, 3, 7, 100):
        apart = np.concatenate([head.probabilities(x[i : i + rows]) for i in range(0, 300, rows)])[:300]
        np.testing.assert_array_equal(apart, together[:300])


def test_categories_of_one_image_are_learnt_and_held_out_accuracy_is_of_the_others():
    x, labels, products = _three_groups(n=90)
    rare = np.eye(16, dtype=np.float32)[:12] * 3
    x, labels = np.vstack([x, rare]), np.concatenate([labels, [f"rare{i:02d}" for i in range(12)]])
    products = np.concatenate([products, [f"r{i}" for i in range(12)]])
    head = fit_softmax_head(Sample(x, labels, products), holdout=0.2, seed=0)
    assert len(head.categories) == 15
    assert (np.array(head.categories)[head.probabilities(rare).argmax(axis=1)] == labels[-12:]).all()
    assert head.accuracy == 1.0


def test_nothing_is_held_out_where_every_category_is_one_product():
    x = np.eye(16, dtype=np.float32)
    labels = np.array([f"c{i:02d}" for i in range(16)])
    head = fit_softmax_head(Sample(x, labels, labels), holdout=0.2, seed=0)
    assert head.accuracy is None
    assert (np.array(head.categories)[head.probabilities(x).argmax(axis=1)] == labels).all()


def test_a_rare_category_that_fills_half_of_the_sample_is_still_predicted_to_be_rare():
    rng = np.random.default_rng(2)
    x = np.hstack([rng.normal(size=(400, 1)), np.ones((400, 1))]).astype(np.float32)  # says nothing of the label
    labels = np.array(["common", "rare"])[np.arange(400) % 2]
    products = np.arange(400).astype(str)
    head = fit_softmax_head(Sample(x, labels, products), 0.2, 0, {"common": 99_000, "rare": 1_000})
    assert head.probabilities(x)[:, 1].mean() == pytest.approx(0.01, rel=0.3)
    assert head.accuracy == pytest.approx(0.99, abs=0.005)  # of the catalogue's images, not of the sample's
