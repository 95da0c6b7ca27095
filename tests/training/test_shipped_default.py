"""The encoder that ships: its shape, its size, and that it knows garments it has never seen."""

from __future__ import annotations

import json
from importlib import resources

import numpy as np
import pytest

from vsspark.training.measure import nearest_agrees
from vsspark.training.sources import generated_photos
from vsspark.training.views import whole_view

WEIGHTS = resources.files("vsspark.encoders") / "weights"


@pytest.fixture(scope="module")
def facts():
    return json.loads((WEIGHTS / "default.json").read_text())


@pytest.fixture(scope="module")
def shipped(facts):
    from vsspark.encoders.default import build

    model = build(len(facts["categories"]), tuple(facts["input_size"]))
    with resources.as_file(WEIGHTS / "default.weights.h5") as file:
        model.load_weights(file)
    return model


def test_the_files_are_small_and_complete(facts):
    assert sum(item.read_bytes().__len__() for item in WEIGHTS.iterdir() if item.name.startswith("default.")) <= 5 * 2**20
    assert len(facts["categories"]) == 10
    assert facts["dim"] == 256


def test_outputs_are_unit_vectors_and_probabilities(shipped, facts):
    pictures = np.random.default_rng(0).uniform(0, 255, (3, *facts["input_size"], 3)).astype(np.float32)
    embedding, probabilities = (output.numpy() for output in shipped(pictures))
    assert embedding.shape == (3, 256)
    assert probabilities.shape == (3, 10)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    assert probabilities.min() >= 0


def test_it_finds_products_and_categories_it_has_never_seen(shipped, facts):
    from vsspark.training.train import encode

    photos = generated_photos(99, range(40))  # another seed than any it was trained or judged with
    views = np.stack([whole_view(photo.read(), facts["input_size"][0]) for photo in photos])
    product, category = np.array([p.product for p in photos]), np.array([p.category for p in photos])
    embedding, probabilities = encode(shipped, views)
    assert nearest_agrees(embedding, product) > 0.6  # by chance: 0.02; measured 0.77
    assert (probabilities.argmax(1) == category).mean() > 0.7  # by chance: 0.1; measured 0.83


def test_other_head_sizes_and_input_sizes_are_built():
    from vsspark.encoders.default import build

    model = build(4, (96, 64))
    embedding, probabilities = model(np.zeros((2, 96, 64, 3), np.float32))
    assert embedding.shape == (2, 256)
    assert probabilities.shape == (2, 4)
