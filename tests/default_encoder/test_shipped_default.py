"""The encoder that ships: its shape, its size, and that it knows garments it has never seen."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest

import vsspark
from vsspark.default_encoder.graph import graph_of
from vsspark.default_encoder.sources import generated_photos, read_photo
from vsspark.encoders.default import SHARPENED, WEIGHTS
from vsspark.encoders.default_graph import SOURCES, write_network
from vsspark.encoders.engines import OnnxEngine
from vsspark.errors import ConfigError
from vsspark.evaluation.measures import nearest_agrees
from vsspark.training.views import whole_view

SHIPPED = resources.files("vsspark.encoders") / "weights"


@pytest.fixture(scope="module")
def facts():
    return json.loads((SHIPPED / "default.json").read_text())


@pytest.fixture(scope="module")
def shipped(facts):
    from vsspark.encoders.default import build

    model = build(len(facts["categories"]), tuple(facts["input_size"]))
    with resources.as_file(SHIPPED / "default.weights.h5") as file:
        model.load_weights(file)
    return model


def test_the_files_are_small_and_complete(facts):
    assert (
        sum(item.read_bytes().__len__() for item in SHIPPED.iterdir() if item.name.startswith("default.")) <= 5 * 2**20
    )
    assert len(facts["categories"]) == 10
    assert facts["dim"] == 10 + sum(numbers for numbers, _ in SHARPENED.values())


def test_the_graph_is_what_the_network_exports_today(shipped, tmp_path):
    """Or the network was changed without `python -m vsspark.default_encoder.graph`."""
    kept = (SHIPPED / "default.graph.onnx").read_bytes()
    pixels = np.random.default_rng(1).integers(0, 256, (4, *shipped.input_shape[1:]), np.uint8)
    with resources.as_file(SHIPPED / "default.weights.h5") as file:
        today = graph_of(shipped, file)
        assert _sources(kept) == _sources(today)
        for name, graph in (("kept", kept), ("today", today)):
            write_network(graph, file, tmp_path / f"{name}.onnx")
            found = OnnxEngine(str(tmp_path / f"{name}.onnx"), 4, 1).run(pixels)
            expected = shipped(pixels.astype(np.float32), training=False)
            for output, keras_output in zip(found, expected, strict=True):
                np.testing.assert_allclose(output, np.asarray(keras_output), atol=2e-6)


def _sources(graph: bytes):
    """Where the weights lie; the names are TensorFlow's, and differ."""
    (entry,) = onnx.ModelProto.FromString(graph).metadata_props
    assert entry.key == SOURCES
    return sorted(map(repr, json.loads(entry.value).values()))


def test_weights_of_another_network_are_refused(tmp_path):
    with h5py.File(tmp_path / "other.weights.h5", "w") as file:
        file["layers/conv2d/vars/0"] = np.zeros((3, 3, 3, 32), np.float16)
    with pytest.raises(ConfigError, match=r"other\.weights\.h5 does not fit the default encoder: .*it has no layers/"):
        write_network((SHIPPED / "default.graph.onnx").read_bytes(), tmp_path / "other.weights.h5", tmp_path / "x.onnx")


def test_it_is_made_without_tensorflow(tmp_path):
    code = """
import sys
sys.modules["tensorflow"] = sys.modules["keras"] = None
import numpy as np
from vsspark import encoders
encoder = encoders.load("default")
embeddings, probabilities = encoder.encode(np.zeros((2, 128, 128, 3), np.uint8))
assert embeddings.shape == (2, encoder.dim) and probabilities.shape == (2, 10)
"""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(vsspark.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, timeout=120)


def test_outputs_are_unit_vectors_and_probabilities(shipped, facts):
    pictures = np.random.default_rng(0).uniform(0, 255, (3, *facts["input_size"], 3)).astype(np.float32)
    embedding, probabilities = (output.numpy() for output in shipped(pictures))
    assert embedding.shape == (3, facts["dim"])
    assert probabilities.shape == (3, 10)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    assert probabilities.min() >= 0


def test_a_cosine_is_the_weighted_mean_of_the_parts_similarities(shipped, facts):
    import keras

    pictures = np.stack(
        [whole_view(photo.read(), facts["input_size"][0]) for photo in generated_photos(5, range(6))]
    ).astype(np.float32)
    names = ("look", "colour_histogram", "category", "embedding")
    look, colour, probabilities, embedding = (
        output.numpy()
        for output in keras.Model(shipped.input, [shipped.get_layer(name).output for name in names])(pictures)
    )
    roots = np.sqrt(probabilities)
    similarity = {
        name: np.exp((part @ part.T - 1) / SHARPENED[name][1]) for name, part in (("look", look), ("colour", colour))
    } | {"category": roots @ roots.T}
    expected = sum(WEIGHTS[name] * each for name, each in similarity.items()) / sum(WEIGHTS.values())
    assert expected.min() < 0.1
    np.testing.assert_allclose(embedding @ embedding.T, expected, atol=0.12)


def test_the_outline_sees_the_direction_of_edges_and_not_their_colour(shipped, facts):
    import keras

    outline = keras.Model(shipped.input, shipped.get_layer("outline").output)
    stripes = np.indices(facts["input_size"]) // 8 % 2  # (2, h, w): lying, standing
    pictures = [np.where(stripe[:, :, None], ink, 255) for ink in ((200, 30, 30), (30, 30, 200)) for stripe in stripes]
    lying, standing, lying_blue, _ = outline(np.stack(pictures).astype(np.float32)).numpy()
    assert lying @ lying_blue > 0.98
    assert lying @ standing < 0.5


def test_it_finds_products_and_categories_it_has_never_seen(shipped, facts):
    from vsspark.training.inference import encode, traced

    photos = generated_photos(99, range(40))  # another seed than any it was trained or judged with
    views = np.stack([whole_view(photo.read(), facts["input_size"][0]) for photo in photos])
    product, category = np.array([p.product for p in photos]), np.array([p.category for p in photos])
    embedding, probabilities = encode(traced(shipped), views)
    assert nearest_agrees(embedding, product) > 0.25  # by chance: 0.02; every photo of a product has another pose
    assert (probabilities.argmax(1) == category).mean() > 0.75  # by chance: 0.1


def test_it_keeps_its_figures_on_real_photos(real_photos):
    from vsspark import encoders

    encoder = encoders.load("default")
    figures = {}
    for shop, wanted, label in (("clothing", {"split": "test"}, "category"), ("luma", {}, "product")):
        with (real_photos / shop / "catalogue.csv").open(encoding="utf-8", newline="") as lines:
            rows = [row for row in csv.DictReader(lines) if wanted.items() <= row.items()]
        views = np.stack(
            [whole_view(read_photo(real_photos / shop / row["image"]), encoder.input_size[0]) for row in rows]
        )
        embeddings, probabilities = encoder.encode(views)
        names = np.array([row[label] for row in rows])
        figures[shop] = nearest_agrees(embeddings, names)
        if shop == "clothing":
            figures["head"] = float((np.array(encoder.categories)[probabilities.argmax(1)] == names).mean())
    assert figures["clothing"] > 0.84  # measured 0.863
    assert figures["head"] > 0.84  # measured 0.858
    assert figures["luma"] > 0.66  # measured 0.688, by plain cosines of the same parts 0.600


def test_other_head_sizes_and_input_sizes_are_built():
    from vsspark.encoders.default import build

    model = build(4, (96, 64))
    embedding, probabilities = model(np.zeros((2, 96, 64, 3), np.float32))
    assert embedding.shape == (2, 4 + sum(numbers for numbers, _ in SHARPENED.values()))
    assert probabilities.shape == (2, 4)
