"""The encoder that ships, as an ONNX file, without TensorFlow: its graph lies in the package without the weights, which
come from the HDF5 file that Keras reads, too.

`vsspark.default_encoder.graph` makes the graph. Its metadata say for each weight where it lies in the HDF5 file, and
what becomes of it: a convolution has the batch normalisation behind it folded in.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

import numpy as np

from vsspark.errors import ConfigError

if TYPE_CHECKING:
    import h5py

SOURCES = "vsspark.sources"  # the name of the metadata: JSON, {initializer: Source}
_EPSILON = 1e-3  # Keras's own, of batch normalisation


class Source(TypedDict):
    """kind: `values`, a layer's variable as it is; `kernel`, of a convolution, its normalisation folded in; `shift`,
    what the normalisation then adds. variable, norm: paths in the HDF5 file, of a variable and of the normalisation's
    four.
    """

    kind: Literal["values", "kernel", "shift"]
    variable: str | None
    norm: str | None
    shape: list[int]


def write_network(graph: bytes, weights: Path, target: Path) -> None:
    """Writes the graph filled with the weights of a checked HDF5 file; the file appears whole or not at all.

    Raises ConfigError where the file is of another architecture, or broken.
    """
    import h5py
    import onnx

    model = onnx.ModelProto.FromString(graph)
    sources = {entry.key: entry.value for entry in model.metadata_props}[SOURCES]
    try:
        with h5py.File(weights, "r") as file:
            for name, source in json.loads(sources).items():
                model.graph.initializer.append(onnx.numpy_helper.from_array(value_of(source, file), name))
    # H5py raises every kind for a broken file: OSError, KeyError, ValueError, RuntimeError, TypeError.
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(
            f"encoder.weights: {weights} does not fit the default encoder: {first}; allowed are HDF5 weights that "
            "its own training has written"
        ) from None
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        whole = Path(scratch) / target.name
        onnx.save(model, whole)
        os.replace(whole, target)


def value_of(source: Source, file: h5py.File | Mapping) -> np.ndarray:
    """The initializer's value, float32 of `shape`. Raises KeyError or ValueError where the file has no such weights."""
    if source["kind"] == "values":
        value = _read(file, source["variable"])
    else:
        gamma, beta, mean, variance = (_read(file, f"{source['norm']}/{i}") for i in range(4))
        scale = gamma / np.sqrt(variance + np.float32(_EPSILON))
        value = _read(file, source["variable"]) * scale if source["kind"] == "kernel" else beta - mean * scale
    if value.ndim == 4:
        value = value.transpose(3, 2, 0, 1)  # Keras has a convolution's outputs last, ONNX first
    if list(value.shape) != source["shape"]:
        raise ValueError(f"{source['variable'] or source['norm']} is {value.shape}, expected {source['shape']}")
    return np.ascontiguousarray(value, np.float32)


def _read(file: h5py.File | Mapping, path: str) -> np.ndarray:
    if path not in file:
        raise KeyError(f"it has no {path}")
    return np.asarray(file[path], np.float32)
