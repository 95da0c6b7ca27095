"""Encoders from KerasHub's presets: `encoder.name: keras_hub`, with the preset's own preprocessing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from vsspark.config import EncoderConfig
from vsspark.encoders import export
from vsspark.encoders.encoder import Encoder
from vsspark.encoders.model_files import check_keras_config, content_hash
from vsspark.encoders.quiet import import_tensorflow
from vsspark.errors import ConfigError
from vsspark.images.fit import Fit

if TYPE_CHECKING:
    import keras

_BUILD = b"keras-hub-1"  # enters every model version: change it when the exported network computes something else
_RESAMPLE = {"nearest": 0, "bilinear": 2, "bicubic": 3}  # Pillow's numbers


def load_preset(config: EncoderConfig) -> Encoder:
    """The encoder of a preset's folder or handle. Raises ConfigError naming the key."""
    if config.weights is None:
        raise ConfigError("encoder.weights: keras_hub needs a preset: its folder, or a handle such as dinov2_small")
    for key in ("layer", "output", "preprocessing"):
        if getattr(config, key) is not None:
            raise ConfigError(f"encoder.{key}: a KerasHub preset has its own, leave the key out")
    choice = json.dumps([config.pooling, config.pooling_index, config.pooling_skip]).encode()
    folder = Path(config.weights)
    version = None
    if folder.is_dir():
        for file in sorted(folder.rglob("*.json")):
            check_keras_config(file, "encoder.weights")
        files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != "metadata.json")
        version = f"keras_hub-{content_hash(*files, choice, _BUILD)}"
        encoder = export.exported("keras_hub", version)
        if encoder and _fit_file(encoder).is_file():
            return dataclasses.replace(encoder, fit=_read_fit(_fit_file(encoder)))
    backbone, converter = _open(config.weights)
    fit, scale, offset = _steps(converter, config.weights)
    network = _network(backbone, config, fit.size, (scale, offset))
    if version is None:
        weights = [value.tobytes() for value in network.get_weights()]
        stamp = repr((fit, scale, offset)).encode()
        version = f"keras_hub-{content_hash(*weights, stamp, choice, _BUILD)}"
    encoder = export.export("keras_hub", version, network, None)
    _fit_file(encoder).write_text(json.dumps(dataclasses.asdict(fit)), encoding="utf-8")
    return dataclasses.replace(encoder, fit=fit)


def _fit_file(encoder: Encoder) -> Path:
    return encoder.files["onnxruntime"].with_suffix(".fit.json")


def _read_fit(file: Path) -> Fit:
    given = json.loads(file.read_text(encoding="utf-8"))
    return Fit(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})


def _open(preset: str):
    """(backbone, image converter), without running anything that was stored with them."""
    import_tensorflow()
    try:
        import keras_hub
    except ImportError:
        raise ConfigError("encoder.name: keras_hub needs pip install 'vsspark[keras-hub]' on the driver") from None
    try:
        return (
            keras_hub.models.Backbone.from_preset(preset),
            keras_hub.layers.ImageConverter.from_preset(preset),
        )
    except Exception as error:  # KerasHub passes on whatever its downloads, its files and its layers raise
        raise ConfigError(f"encoder.weights: KerasHub cannot load {preset}: {str(error).splitlines()[0]}") from None


def _steps(converter, preset: str) -> tuple[Fit, list[float], list[float]]:
    """(resize and cut, scale, offset): a pixel's value x of 0..255 becomes x * scale + offset, channel by channel."""
    given = converter.get_config()
    size, kind, smooth = given["image_size"], given["interpolation"], given["antialias"]
    where = f"encoder.weights: {preset}: image converter"
    if size is None or None in tuple(size):
        raise ConfigError(f"{where}: image_size is {size}, expected height and width")
    if given["pad_to_aspect_ratio"]:
        raise ConfigError(f"{where}: pad_to_aspect_ratio is not done here")
    if kind not in _RESAMPLE or (kind == "bicubic" and not smooth):
        raise ConfigError(f"{where}: interpolation {kind}, antialias {smooth} is not done here; bilinear is")
    fit = Fit(tuple(size), tuple(size), None, _RESAMPLE[kind], bool(smooth), bool(given["crop_to_aspect_ratio"]))
    scale, offset = given["scale"], given["offset"]
    scale = [1.0] * 3 if scale is None else scale if isinstance(scale, list | tuple) else [scale] * 3
    offset = [0.0] * 3 if offset is None else offset if isinstance(offset, list | tuple) else [offset] * 3
    return fit, list(map(float, scale)), list(map(float, offset))


def _network(
    backbone: keras.Model, config: EncoderConfig, size: tuple[int, int], steps: tuple[list[float], list[float]]
) -> keras.Model:
    """RGB 0..255 float32 (n, h, w, 3) to the embedding (n, d)."""
    import keras

    pixels = keras.Input((*size, 3), name="rgb")
    images = keras.layers.Rescaling(*steps)(pixels)
    if hasattr(backbone, "get_vision_embeddings"):  # of models for pictures and text
        output = backbone.get_vision_embeddings(images)
    elif hasattr(backbone, "vision_encoder"):
        output = backbone.vision_encoder(images)
    else:
        output = backbone(images)
    rank = len(getattr(output, "shape", ()))
    allowed = {2: ("none",), 3: ("token", "mean_tokens"), 4: ("mean_space",)}.get(rank, ())
    pooling = config.pooling or (allowed[0] if allowed else None)
    if pooling not in allowed:
        raise ConfigError(
            f"encoder.pooling: got {pooling}; {type(backbone).__name__} gives {getattr(output, 'shape', output)}, "
            f"for which allowed are {', '.join(allowed) or 'none'}"
        )
    if pooling == "token":
        output = output[:, config.pooling_index]
    elif pooling == "mean_tokens":
        output = keras.ops.mean(output[:, config.pooling_skip :], axis=1)
    elif pooling == "mean_space":
        output = keras.ops.mean(output, axis=(1, 2))
    return keras.Model(pixels, output, name="keras_hub")
