"""Small KerasHub presets with random weights, saved, loaded and compared with the library's own call."""

from __future__ import annotations

import json

import numpy as np
import pytest

from vsspark import encoders
from vsspark.config import EncoderConfig
from vsspark.errors import ConfigError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hub():
    return pytest.importorskip("keras_hub", reason="the extra keras-hub is not installed")


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def backbones(hub, kind: str):
    """(backbone, image converter class)"""
    models, layers = hub.models, hub.layers
    size = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "image_shape": (32, 32, 3)}
    if kind == "vit":
        return models.ViTBackbone(patch_size=8, mlp_dim=32, **size), layers.ViTImageConverter
    if kind == "dinov2":
        network = models.DINOV2Backbone(patch_size=8, intermediate_dim=32, position_embedding_shape=(32, 32, 3), **size)
        return network, layers.DINOV2ImageConverter
    text = {"vocabulary_size": 30, "embedding_dim": 16, "hidden_dim": 16, "num_layers": 1, "num_heads": 2}
    text |= {"intermediate_dim": 32, "max_sequence_length": 8}
    vision = {"patch_size": 8, "hidden_dim": 16, "num_layers": 2, "num_heads": 2, "intermediate_dim": 32}
    vision |= {"image_shape": (32, 32, 3)}
    if kind == "clip":
        vision_encoder, text_encoder = models.CLIPVisionEncoder(**vision), models.CLIPTextEncoder(**text)
        return models.CLIPBackbone(vision_encoder, text_encoder, projection_dim=12), layers.CLIPImageConverter
    vision_encoder, text_encoder = models.SigLIPVisionEncoder(**vision), models.SigLIPTextEncoder(**text)
    return models.SigLIPBackbone(vision_encoder, text_encoder), layers.SigLIPImageConverter


@pytest.mark.parametrize("kind", ["vit", "dinov2", "clip", "siglip"])
def test_a_preset_gives_what_the_library_gives(hub, tmp_path, kind):
    import keras

    keras.utils.set_random_seed(3)
    backbone, make_converter = backbones(hub, kind)
    folder = str(tmp_path / kind)
    backbone.save_to_preset(folder)
    steps = {"scale": [0.016, 0.017, 0.018], "offset": [-2.1, -2.0, -1.8], "interpolation": "bilinear"}
    converter = make_converter(image_size=(32, 32), antialias=kind == "clip", **steps)
    converter.save_to_preset(folder)
    encoder = encoders.load("keras_hub", folder)
    again = encoders.load("keras_hub", folder)
    assert (again.model_version, again.fit, again.dim) == (encoder.model_version, encoder.fit, encoder.dim)
    for side in ((32, 32), (50, 90), (120, 70), (20, 28)):
        coarse = np.random.default_rng(side[0]).integers(0, 255, (2, 5, 5, 3), np.uint8)
        images = np.asarray(keras.ops.image.resize(coarse, side, "bicubic")).clip(0, 255).astype(np.uint8)
        inputs = converter(images)
        own = hub.models.Backbone.from_preset(folder)
        expected = (
            own.get_vision_embeddings(inputs)
            if hasattr(own, "get_vision_embeddings")
            else own.vision_encoder(inputs)
            if hasattr(own, "vision_encoder")
            else own(inputs)[:, 0]
        )
        expected, found = np.asarray(expected), encoder.encode(images)[0]
        assert found.shape == expected.shape == (2, encoder.dim)
        norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
        # Pictures of another size are resized to whole numbers, by the library to fractions.
        least = 0.9999 if side == (32, 32) else 0.9995
        assert ((found * expected).sum(axis=1) / norms).min() >= least, side
    if kind == "vit":
        mean = encoders.load_configured(EncoderConfig(name="keras_hub", weights=folder, pooling="mean_tokens"))
        assert mean.model_version != encoder.model_version
        with pytest.raises(ConfigError, match=r"encoder\.pooling: got mean_space; ViTBackbone"):
            encoders.load_configured(EncoderConfig(name="keras_hub", weights=folder, pooling="mean_space"))


def test_a_preset_that_names_code_is_refused(hub, tmp_path):
    config = {"module": "os", "class_name": "system", "config": {}, "registered_name": "os>system"}
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"os\.system, which is code"):
        encoders.load("keras_hub", str(tmp_path / "preset"))
    (tmp_path / "preset" / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"encoder\.weights: KerasHub cannot load"):
        encoders.load("keras_hub", str(tmp_path / "preset"))
    with pytest.raises(ConfigError, match=r"encoder\.weights: keras_hub needs a preset"):
        encoders.load("keras_hub")
