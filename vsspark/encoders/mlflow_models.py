"""Keras models registered in MLflow, opened without running anything that was stored with them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import yaml

from vsspark.encoders.model_files import check_keras_archive
from vsspark.errors import ConfigError

if TYPE_CHECKING:
    import keras


class RegisteredModel(NamedTuple):
    title: str  # NAME.vVERSION, or the run's id; enters the model version
    archive: Path  # the .keras file
    categories: tuple[str, ...] | None


def find_model(uri: str) -> RegisteredModel:
    """The Keras archive behind `models:/NAME@alias`, `models:/NAME/VERSION` or `runs:/RUN/PATH`, fetched from
    MLflow's tracking URI.

    The names of the head's categories are the model's metadata `categories`, a list.
    Raises ConfigError when there is no such model, or it is no Keras model.
    """
    import mlflow

    try:
        folder = Path(mlflow.artifacts.download_artifacts(uri))
        title = _title(uri)
    except (mlflow.exceptions.MlflowException, OSError, ValueError) as error:
        raise ConfigError(f"encoder.name: {uri} is not in MLflow at {mlflow.get_tracking_uri()}: {error}") from None
    try:
        about = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"encoder.name: {uri} is no MLflow model: {error}") from None
    archives = sorted(folder.glob("**/*.keras"))
    if len(archives) != 1:
        flavors = ", ".join(about.get("flavors", {})) or "none"
        raise ConfigError(
            f"encoder.name: {uri} holds {len(archives)} .keras files, flavors: {flavors}; "
            "expected one model logged by mlflow.keras or mlflow.tensorflow"
        )
    categories = (about.get("metadata") or {}).get("categories")
    if isinstance(categories, str):
        categories = json.loads(categories)
    return RegisteredModel(title, archives[0], tuple(str(name) for name in categories) if categories else None)


def load_model(found: RegisteredModel, uri: str) -> keras.Model:
    """The network: RGB 0..255 (n, h, w, 3) to the embedding, or to [embedding, category probabilities].

    Raises ConfigError for code inside, for other inputs and outputs, and for a head whose categories have no names.
    """
    check_keras_archive(found.archive, "encoder.name")
    import keras

    try:
        network = keras.saving.load_model(found.archive, compile=False, safe_mode=True)
    except Exception as error:  # a truncated archive, or layers this Keras does not have: any kind of error
        raise ConfigError(f"encoder.name: {uri}: Keras cannot load {found.archive.name}: {error}") from None
    shape, outputs = network.input_shape, network.outputs
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[3] != 3 or None in shape[1:]:
        raise ConfigError(f"encoder.name: {uri} takes {shape}, expected one input (n, height, width, 3) of fixed size")
    if len(outputs) not in (1, 2) or any(len(output.shape) != 2 for output in outputs):
        raise ConfigError(
            f"encoder.name: {uri} gives {[tuple(o.shape) for o in outputs]}, "
            "expected an embedding (n, d) and, with a head, probabilities (n, c)"
        )
    have = len(found.categories or ())
    if len(outputs) == 2 and outputs[1].shape[1] != have:
        raise ConfigError(
            f"encoder.name: {uri} has a head of {outputs[1].shape[1]} categories, "
            f"its metadata `categories` names {have}"
        )
    return network


def _title(uri: str) -> str:
    """NAME.vVERSION with the alias resolved, or RUN.PATH; letters that a file name can hold."""
    import mlflow

    scheme, _, rest = uri.partition(":/")
    if scheme == "models" and "@" in rest:
        name, _, alias = rest.partition("@")
        rest = f"{name}.v{mlflow.MlflowClient().get_model_version_by_alias(name, alias).version}"
    elif scheme == "models" and "/" in rest:
        rest = rest.replace("/", ".v")
    return re.sub(r"[^\w.-]+", "_", rest)
