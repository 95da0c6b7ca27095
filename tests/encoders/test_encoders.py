"""Encoders by name, and their engines against Keras itself."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from vsspark import encoders
from vsspark.embed.spark import CPU_BATCH
from vsspark.encoders import registry
from vsspark.encoders.backbones import BACKBONES, build_backbone
from vsspark.encoders.engines import load_engine
from vsspark.encoders.model_files import content_hash
from vsspark.errors import ConfigError


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory):
    """A MobileNetV2 with random weights, as Keras saves it, in a folder that becomes the working directory."""
    import keras

    keras.utils.set_random_seed(5)
    folder = tmp_path_factory.mktemp("encoders")
    model = keras.applications.MobileNetV2(weights=None, include_top=False, pooling="avg", input_shape=(224, 224, 3))
    model.save_weights(folder / "mobilenet.weights.h5")
    return folder, model


@pytest.fixture
def weights(mobilenet, monkeypatch):
    monkeypatch.chdir(mobilenet[0])
    return str(mobilenet[0] / "mobilenet.weights.h5")


def pictures(n: int, side: int, seed: int = 1) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 255, (n, 8, 8, 3), np.uint8)
    return np.kron(coarse, np.ones((1, side // 8, side // 8, 1), np.uint8))


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


def test_both_engines_give_what_keras_predicts(mobilenet, weights):
    import keras

    images = pictures(11, 224)
    expected = mobilenet[1].predict(
        keras.applications.mobilenet_v2.preprocess_input(images.astype(np.float32)), verbose=0
    )
    encoder = encoders.load("mobilenet_v2", weights)
    assert (encoder.input_size, encoder.dim, encoder.categories) == ((224, 224), 1280, None)
    for name, path in encoder.files.items():
        engine = load_engine(name, str(path), 4, 1)
        found = np.concatenate([engine.run(images[start : start + 4])[0] for start in range(0, 11, 4)])
        assert found.shape == (11, 1280)
        assert found.dtype == np.float32
        assert cosines(found, expected).min() >= 0.9999, name
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    embeddings, probabilities = encoder.encode(images)
    np.testing.assert_allclose(embeddings, expected, rtol=1e-3, atol=1e-5)
    assert probabilities is None


def test_the_shipped_encoder_gives_what_keras_predicts(tmp_path, monkeypatch):
    from importlib import resources

    import keras

    from vsspark.encoders.default import build
    from vsspark.encoders.engines import in_half_precision

    monkeypatch.chdir(tmp_path)
    encoder = encoders.load("default")
    images = pictures(9, 8 * (encoder.input_size[0] // 8))
    network = build(len(encoder.categories), encoder.input_size)
    with resources.as_file(resources.files("vsspark.encoders") / "weights" / "default.weights.h5") as file:
        network.load_weights(file)
    expected, expected_probabilities = network.predict(images.astype(np.float32), verbose=0)
    assert not encoder.files["tensorflow"].exists()
    for name in encoder.files:
        embeddings, probabilities = load_engine(name, str(encoder.network(name)), 9, 1).run(images)
        assert cosines(embeddings, expected).min() >= 0.9999, name
        np.testing.assert_allclose(probabilities, expected_probabilities, atol=1e-4)
    half = in_half_precision(keras.saving.load_model(encoder.files["tensorflow"], compile=False))
    assert "float16" in {layer.compute_dtype for layer in half._flatten_layers()}
    assert cosines(np.asarray(half(images, training=False)[0], np.float32), expected).min() >= 0.999
    embeddings, probabilities = encoder.encode(images)
    assert embeddings.shape == (9, encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_a_picture_has_the_same_bits_wherever_it_lies_in_a_batch(weights):
    """Or a night, whose batches are others, would not be equal to a run from scratch."""
    for encoder in (encoders.load("default"), encoders.load("mobilenet_v2", weights)):
        images = pictures(6, encoder.input_size[0])
        engine = load_engine("onnxruntime", str(encoder.network("onnxruntime")), CPU_BATCH, 1)
        for image in images[:3]:
            found = set()
            for place in range(CPU_BATCH):
                batch = images[6 - CPU_BATCH :].copy()
                batch[place] = image
                outputs = [output for output in engine.run(batch) if output is not None]
                found.add(b"".join(output[place].tobytes() for output in outputs))
            found.add(b"".join(output[0].tobytes() for output in engine.run(image[None]) if output is not None))
            assert len(found) == 1, encoder.name


def test_encode_takes_any_number_and_size_of_pictures(weights):
    encoder = encoders.load("mobilenet_v2", weights)
    assert encoder.encode(np.zeros((0, 224, 224, 3), np.uint8))[0].shape == (0, 1280)
    together = encoder.encode(pictures(5, 224), batch_size=2)[0]
    np.testing.assert_allclose(together[4:], encoder.encode(pictures(5, 224)[4:], batch_size=3)[0], atol=1e-6)
    large = np.full((1, 500, 300, 3), 90, np.uint8)
    np.testing.assert_allclose(
        encoder.encode(large)[0], encoder.encode(np.full((1, 224, 224, 3), 90, np.uint8))[0], atol=1e-6
    )
    with pytest.raises(ValueError, match="float32"):
        encoder.encode(np.zeros((1, 224, 224, 3), np.float32))


def test_any_named_layer_is_an_embedding(mobilenet, weights):
    import keras

    model = mobilenet[1]
    encoder = encoders.load("mobilenet_v2", weights, "block_16_project_BN")
    assert encoder.dim == 320
    assert encoder.model_version.startswith("mobilenet_v2.block_16_project_BN-")
    images = pictures(3, 224)
    inner = keras.Model(model.input, model.get_layer("block_16_project_BN").output)
    expected = inner.predict(
        keras.applications.mobilenet_v2.preprocess_input(images.astype(np.float32)), verbose=0
    ).mean(axis=(1, 2))
    assert cosines(encoder.encode(images)[0], expected).min() >= 0.9999


def test_the_model_version_changes_with_the_file_and_with_the_layer(tmp_path):
    first, second = tmp_path / "a.h5", tmp_path / "b.h5"
    first.write_bytes(b"weights")
    second.write_bytes(b"weights!")
    versions = {
        content_hash(first),
        content_hash(second),
        content_hash(first, b"layer"),
        content_hash(b"first", b"layer"),
        content_hash(b"firstl", b"ayer"),
    }
    assert len(versions) == 5
    assert content_hash(first) == content_hash(first)


def test_a_second_load_imports_no_tensorflow(weights):
    version = encoders.load("mobilenet_v2", weights).model_version
    script = """
import sys, numpy as np
from vsspark import encoders
assert not {"tensorflow", "keras", "onnxruntime", "pyspark", "mlflow"} & set(sys.modules)
encoder = encoders.load("mobilenet_v2", sys.argv[1])
encoder.encode(np.zeros((2, 224, 224, 3), np.uint8))
print(encoder.model_version, {"tensorflow", "keras", "pyspark"} & set(sys.modules) or "light")
"""
    done = subprocess.run(
        [sys.executable, "-c", script, weights],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout.split() == [version, "light"]


def test_tensorflow_is_imported_without_its_noise():
    script = (
        "from vsspark.encoders.quiet import import_tensorflow; import_tensorflow(); import keras, sys; "
        "print('heard', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "heard\n"


def test_the_table_holds_every_network_of_keras_applications():
    import keras

    offered = {name for name in dir(keras.applications) if name[0].isupper()}
    assert {backbone.builder for backbone in BACKBONES.values()} == offered
    assert all(
        hasattr(getattr(keras.applications, backbone.module), "preprocess_input") for backbone in BACKBONES.values()
    )


@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v3_small",
        "efficientnet_b0",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("resnet50", "densenet121")),
    ],
)
def test_preprocessing_inside_the_network_is_the_networks_own(name):
    import keras

    images = pictures(2, 224).astype(np.float32)
    network, backbone = build_backbone(name, None, None)
    module = getattr(keras.applications, BACKBONES[name].module)
    expected = backbone(module.preprocess_input(images.copy()), training=False)
    assert cosines(np.asarray(network(images, training=False)), np.asarray(expected)).min() > 0.99999


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_every_network_builds_at_its_size(name):
    import keras

    if name in ("convnext_xlarge", "convnext_large", "efficientnet_b7", "efficientnet_v2_l", "nasnet_large"):
        pytest.skip("needs gigabytes for random weights and differs from its smaller sisters in width alone")
    network, _ = build_backbone(name, None, None)
    assert network.input_shape == (None, BACKBONES[name].side, BACKBONES[name].side, 3)
    assert len(network.output_shape) == 2
    keras.backend.clear_session()


def test_the_classifiers_layers_bring_the_top_along():
    network, backbone = build_backbone("vgg16", "fc1", None)
    assert network.output_shape == (None, 4096)
    assert backbone.get_layer("predictions").output.shape == (None, 1000)


def test_unknown_names_and_layers_list_the_known_ones(weights):
    with pytest.raises(
        ConfigError,
        match=r"encoder\.name: got 'mobilnet_v2' \(did you mean mobilenet_v2\?\); known are default, .*vgg19, xception",
    ) as caught:
        encoders.load("mobilnet_v2")
    assert caught.value.exit_code == 2
    with pytest.raises(
        ConfigError, match=r"encoder\.layer: mobilenet_v2 has no layer 'fc7'; it has .*block_16_project_BN.*predictions"
    ):
        encoders.load("mobilenet_v2", weights, "fc7")
    with pytest.raises(ConfigError, match=r"encoder\.weights: vgg16 needs weights"):
        encoders.load("vgg16")
    with pytest.raises(ConfigError, match=r"encoder\.layer"):
        encoders.load("default", layer="x")
    assert registry.names()[0] == "default"


def test_an_exact_gelu_reaches_onnx_runtime(tmp_path, monkeypatch):
    """As ConvNeXt and vision transformers have it; tf2onnx hands on an operator that ONNX does not have."""
    import keras

    from vsspark.encoders.export import export

    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(1)
    pixels = keras.Input((16, 16, 3))
    hidden = keras.layers.Dense(6, activation="gelu")(keras.layers.Rescaling(1 / 255)(pixels))
    network = keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(hidden))
    images = pictures(3, 16)
    encoder = export("gelu", "gelu-1", network, None)
    np.testing.assert_allclose(encoder.encode(images)[0], network.predict(images, verbose=0), atol=1e-5)
