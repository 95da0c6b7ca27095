"""Weights and models that must be refused, as real files."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from vsspark import encoders
from vsspark.encoders.model_files import check_keras_archive
from vsspark.errors import ConfigError


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Trap:
    def __reduce__(self):
        return (open, ("sprung", "w"))


def refusal(path, name: str = "mobilenet_v2") -> str:
    with pytest.raises(ConfigError, match=r"encoder\.weights") as caught:
        encoders.load(name, str(path))
    assert str(path) in str(caught.value)
    assert "allowed" in str(caught.value)
    return str(caught.value)


def test_a_pickle_is_refused_unopened(tmp_path):
    for name in ("weights.h5", "weights.pkl"):
        (tmp_path / name).write_bytes(pickle.dumps(Trap()))
        assert "a Python pickle" in refusal(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_files_that_are_no_weights_are_named(tmp_path):
    (tmp_path / "page.h5").write_bytes(b"<!DOCTYPE html>")
    (tmp_path / "empty.h5").touch()
    (tmp_path / "text.h5").write_bytes(b"hello weights")
    (tmp_path / "pointer.h5").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert "HTML" in refusal(tmp_path / "page.h5")
    assert "an empty file" in refusal(tmp_path / "empty.h5")
    assert "b'hello" in refusal(tmp_path / "text.h5")
    assert "Git LFS" in refusal(tmp_path / "pointer.h5")
    assert "no such file" in refusal(tmp_path / "none.h5")
    assert "a directory" in refusal(tmp_path)


def test_truncated_weights(tmp_path):
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2000)])
    model.save_weights(tmp_path / "whole.weights.h5")
    data = (tmp_path / "whole.weights.h5").read_bytes()
    (tmp_path / "half.weights.h5").write_bytes(data[: len(data) // 2])
    assert "truncated" in refusal(tmp_path / "half.weights.h5")


def test_weights_of_another_architecture(tmp_path):
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.save_weights(tmp_path / "small.weights.h5")
    assert "does not fit mobilenet_v2" in refusal(tmp_path / "small.weights.h5")
    assert "does not fit the default encoder" in refusal(tmp_path / "small.weights.h5", "default")


def test_whole_models_are_no_weights(tmp_path):
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x + 1)])
    model.save(tmp_path / "lambda.keras")
    assert "a zip archive" in refusal(tmp_path / "lambda.keras")
    with pytest.raises(ConfigError, match="Lambda layer, which is code"):
        check_keras_archive(tmp_path / "lambda.keras", "encoder.name")


def test_an_archive_with_classes_from_elsewhere_is_refused(tmp_path):
    import json
    import zipfile

    config = {"module": "os", "class_name": "system", "config": {}, "registered_name": "os>system"}
    with zipfile.ZipFile(tmp_path / "evil.keras", "w") as archive:
        archive.writestr(
            "config.json", json.dumps({"module": "keras", "class_name": "Functional", "config": {"layers": [config]}})
        )
    with pytest.raises(ConfigError, match=r"os\.system"):
        check_keras_archive(tmp_path / "evil.keras", "encoder.name")


@pytest.fixture(scope="module")
def mlflow_store(tmp_path_factory):
    import mlflow

    folder, before = tmp_path_factory.mktemp("mlflow"), mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.create_experiment("models", artifact_location=f"file:{folder}/artifacts")
    mlflow.set_experiment("models")
    yield mlflow
    mlflow.set_tracking_uri(before)


def register(mlflow, model, name: str, **options) -> None:
    # The requirements are given, because finding them out imports TensorFlow in another process.
    with mlflow.start_run():
        mlflow.keras.log_model(model, name="model", registered_model_name=name, pip_requirements=["keras"], **options)


def two_headed(extra=None):
    import keras

    keras.utils.set_random_seed(3)
    image = keras.Input((32, 32, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(image))
    if extra is not None:
        x = extra(x)
    return keras.Model(image, [keras.layers.UnitNormalization()(x), keras.layers.Dense(3, activation="softmax")(x)])


def test_a_registered_model_by_alias_and_by_version(mlflow_store):
    model = two_headed()
    register(mlflow_store, model, "shop", metadata={"categories": ["hat", "shoe", "belt"]})
    mlflow_store.MlflowClient().set_registered_model_alias("shop", "live", "1")
    images = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), np.uint8)
    expected = model.predict(images.astype(np.float32), verbose=0)
    by_alias = encoders.load("models:/shop@live")
    assert by_alias.categories == ("hat", "shoe", "belt")
    assert by_alias.model_version.startswith("shop.v1-")
    assert encoders.load("models:/shop/1").model_version == by_alias.model_version
    embeddings, probabilities = by_alias.encode(images)
    np.testing.assert_allclose(embeddings, expected[0], atol=1e-4)
    np.testing.assert_allclose(probabilities, expected[1], atol=1e-3)


def test_a_registered_model_that_holds_code_or_is_missing(mlflow_store):
    import keras

    register(mlflow_store, two_headed(keras.layers.Lambda(lambda x: x * 2, output_shape=(4,))), "trap")
    register(mlflow_store, two_headed(), "nameless")
    with pytest.raises(ConfigError, match="Lambda layer"):
        encoders.load("models:/trap/1")
    with pytest.raises(ConfigError, match="head of 3 categories"):
        encoders.load("models:/nameless/1")
    with pytest.raises(ConfigError, match=r"encoder\.name: models:/none@live is not in MLflow"):
        encoders.load("models:/none@live")
    with pytest.raises(ConfigError, match="leave both out"):
        encoders.load("models:/shop@live", weights="imagenet")
