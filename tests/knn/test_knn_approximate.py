"""The approximate mode keeps its promise, on data with structure and on data without."""

from __future__ import annotations

import numpy as np
import pytest

from vsspark.knn import approximate, search, self_join


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


def test_a_seed_fixes_the_answer_whatever_the_threads():
    x = clustered(8000, 64)
    one = self_join(x, 10, mode="approximate", seed=3, threads=1)
    two = self_join(x, 10, mode="approximate", seed=3, threads=2)
    assert (one[1] == two[1]).mean() > 0.9999  # BLAS may round a projection's last bit by its threads


@pytest.mark.parametrize(
    ("queries", "items", "metric"),
    [(100_000, approximate.SMALLEST - 1, "cosine"), (10, 100_000, "l2"), (100_000, 100_000, "l1")],
)
def test_small_or_unprojectable_searches_stay_exact(queries, items, metric):
    assert not approximate.worthwhile(queries, items, metric)
