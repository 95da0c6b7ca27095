"""The TensorFlow path gives the lists of the compiled path: on a GPU where there is one, and on TensorFlow's CPU
device everywhere.
"""

from __future__ import annotations

import numpy as np
import pytest

from vsspark.knn import search, self_join


@pytest.fixture(params=["/CPU:0", pytest.param("/GPU:0", marks=pytest.mark.gpu)])
def device(request, monkeypatch):
    from vsspark.knn import gpu

    if request.param == "/GPU:0" and not gpu.available():
        pytest.skip("no GPU here")
    monkeypatch.setattr(gpu, "ITEMS", 400)  # several products of items and of queries
    monkeypatch.setattr(gpu, "QUERIES", 256)
    return request.param


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("mates", [1, 3, 100])
def test_tensorflow_finds_what_the_cpu_finds(device, metric, mates):
    x = np.random.default_rng(0).standard_normal((900, 40)).astype(np.float32)
    x[300:600] = x[:300]
    groups = np.arange(900) // mates
    values, ids = self_join(x, 5, metric, groups=groups)
    there, found = self_join(x, 5, metric, groups=groups, device=device)
    np.testing.assert_array_equal(found, ids)
    np.testing.assert_allclose(there, values, rtol=1e-6, atol=1e-6)


def test_a_search_on_the_device(device):
    x = np.random.default_rng(1).standard_normal((700, 33)).astype(np.float32)
    np.testing.assert_array_equal(search(x[:90], x[90:], 7, device=device)[1], search(x[:90], x[90:], 7)[1])
