"""Encoders by name: the one that ships, every `keras.applications` network, and models registered in MLflow."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from vsspark.config import EncoderConfig
from vsspark.encoders.backbones import BACKBONES, build_backbone
from vsspark.encoders.default_graph import write_network
from vsspark.encoders.encoder import Encoder
from vsspark.encoders.engines import SUFFIX
from vsspark.encoders.export import CACHE, export, exported, writable_cache, write_keras
from vsspark.encoders.keras_hub_presets import load_preset
from vsspark.encoders.mlflow_models import find_model, load_model
from vsspark.encoders.model_files import check_weights, content_hash, load_weights
from vsspark.encoders.onnx_models import load_onnx
from vsspark.encoders.quiet import import_tensorflow
from vsspark.errors import ConfigError
from vsspark.images.decode import PREPROCESSING

if TYPE_CHECKING:
    import keras

MLFLOW_SCHEMES = ("models:/", "runs:/")
_EXPORT = b"export-2"  # enters every model version: change it when the exported network computes something else


def names() -> list[str]:
    """The names that `load` knows."""
    return ["default", "onnx", "keras_hub", *BACKBONES]


def load(name: str, weights: str | None = None, layer: str | None = None) -> Encoder:
    """The encoder of that name, exported for the engines. TensorFlow is imported only where a network is exported that
    no earlier run has exported; never for the default encoder, nor for ONNX models.

    name: one of `names()`, or an MLflow URI of a Keras model (`models:/NAME@alias`, `models:/NAME/VERSION`,
    `runs:/RUN/PATH`). weights: an HDF5 file, or "imagenet" for Keras's own download; None = the encoder's own, which
    `keras.applications` networks lack. layer: whose output is the embedding; None = the encoder's own choice. Raises
    ConfigError naming the key, what was found and what is allowed.
    """
    return load_configured(EncoderConfig(name=name, weights=weights, layer=layer))


def load_configured(config: EncoderConfig, storage_options: Mapping[str, str] | None = None) -> Encoder:
    """As `load`, with all of the section's keys. storage_options: as `open_filesystem` takes them, for weights in a
    store.
    """
    name, weights, layer = config.name, config.weights, config.layer
    if name == "onnx":
        return load_onnx(config, storage_options or {})
    if name == "keras_hub":
        return load_preset(config)
    for key in ("output", "pooling", "preprocessing"):
        if getattr(config, key) is not None:
            raise ConfigError(
                f"encoder.{key}: got a value; only encoder.name=onnx and keras_hub have that choice, leave the key out"
            )
    if name.startswith(MLFLOW_SCHEMES):
        return _load_mlflow(name, weights, layer)
    if name == "default":
        return _load_default(weights, layer)
    if name in BACKBONES:
        return _load_backbone(name, weights, layer)
    close = difflib.get_close_matches(name, names(), 1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    raise ConfigError(
        f"encoder.name: got {name!r}{hint}; known are {', '.join(names())}, "
        f"and MLflow's {' and '.join(MLFLOW_SCHEMES)} URIs"
    )


def _load_default(weights: str | None, layer: str | None) -> Encoder:
    if layer is not None:
        raise ConfigError(
            f"encoder.layer: got {layer!r}; the default encoder's embedding is its own, leave the key out"
        )
    if weights is not None and weights == "imagenet":
        raise ConfigError(
            "encoder.weights: got 'imagenet'; the default encoder has its own weights, leave the key out or name a file"
        )
    about, graph = json.loads(_shipped("weights/default.json")), _shipped("weights/default.graph.onnx")
    source = b"".join(_shipped(name) for name in ("default.py", "parts.py"))
    categories, input_size = tuple(about["categories"]), tuple(about["input_size"])
    with _default_weights(weights) as file:
        version = f"default-{content_hash(file, source, json.dumps(about).encode(), PREPROCESSING.encode(), graph)}"
        network = CACHE / f"{version}.onnx"
        if not network.is_file():
            network = writable_cache() / network.name
            write_network(graph, file, network)
    whole = network.with_suffix(SUFFIX["tensorflow"])
    return Encoder(
        name="default",
        model_version=version,
        input_size=input_size,
        dim=about["dim"],
        categories=categories,
        files={"onnxruntime": network.absolute(), "tensorflow": whole.absolute()},
        make=partial(_write_keras_default, weights, whole, len(categories), input_size),
    )


def _shipped(name: str) -> bytes:
    return (resources.files("vsspark.encoders") / name).read_bytes()


@contextmanager
def _default_weights(weights: str | None) -> Iterator[Path]:
    with resources.as_file(resources.files("vsspark.encoders") / "weights" / "default.weights.h5") as own:
        yield check_weights(weights) if weights else own


def _write_keras_default(weights: str | None, target: Path, categories: int, input_size: tuple[int, int]) -> None:
    import_tensorflow()
    from vsspark.encoders.default import build

    network = build(categories, input_size)
    with _default_weights(weights) as file:
        load_weights(network, file, "the default encoder")
    write_keras(network, target)


def _load_backbone(name: str, weights: str | None, layer: str | None) -> Encoder:
    if weights is None:
        raise ConfigError(
            f"encoder.weights: {name} needs weights; give an HDF5 file (.weights.h5, .h5), "
            "or imagenet for Keras's own download"
        )
    title = f"{name}.{layer}" if layer else name
    stamps = (title.encode(), PREPROCESSING.encode(), _EXPORT)
    if weights == "imagenet":
        import_tensorflow()
        network = _imagenet(name, layer)
        version = f"{title}-{content_hash(*stamps, *(value.tobytes() for value in network.get_weights()))}"
        return exported(name, version) or export(name, version, network, None)
    file = check_weights(weights)
    version = f"{title}-{content_hash(file, *stamps)}"
    encoder = exported(name, version)
    if encoder:
        return encoder
    import_tensorflow()
    network, backbone = build_backbone(name, layer, None)
    load_weights(backbone, file, name)
    return export(name, version, network, None)


def _imagenet(name: str, layer: str | None) -> keras.Model:
    try:
        return build_backbone(name, layer, "imagenet")[0]
    except ConfigError:
        raise
    except Exception as error:  # Keras passes on whatever urllib raises, a bare Exception among them
        raise ConfigError(
            f"encoder.weights: Keras could not download the imagenet weights of {name}: {error}; give a file instead"
        ) from None


def _load_mlflow(uri: str, weights: str | None, layer: str | None) -> Encoder:
    if weights is not None or layer is not None:
        raise ConfigError(
            f"encoder.weights, encoder.layer: a registered model has its own, leave both out beside encoder.name={uri}"
        )
    model = find_model(uri)
    version = f"{model.title}-{content_hash(Path(model.archive), PREPROCESSING.encode(), _EXPORT)}"
    encoder = exported(uri, version)
    if encoder:
        return encoder
    import_tensorflow()
    return export(uri, version, load_model(model, uri), model.categories)
