"""Makes the graph that `encoders/default_graph.py` fills: `python -m vsspark.default_encoder.graph`. Run it after the
network's definition, its input size or its number of categories has changed.

Needs TensorFlow and tf2onnx. The network is exported as any other, and every initializer that comes from weights is
left out, with a note of where they lie.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vsspark.encoders.default_graph import SOURCES, Source, value_of
from vsspark.encoders.export import write_onnx
from vsspark.errors import VssparkError

if TYPE_CHECKING:
    import keras

_SHIPPED = Path(str(resources.files("vsspark.encoders") / "weights"))
_NAME = "default.graph.onnx"


def graph_of(network: keras.Model, weights: Path) -> bytes:
    """The graph of a network whose weights lie in an HDF5 file. Raises VssparkError where an initializer that is no
    small constant comes from none of them.
    """
    import h5py
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        write_onnx(network, Path(folder) / "network.onnx")
        model = onnx.load(Path(folder) / "network.onnx")
    with h5py.File(weights, "r") as file:
        stored: dict[str, np.ndarray] = {}
        file.visititems(lambda path, item: stored.update({path: item[()]}) if isinstance(item, h5py.Dataset) else None)
    sources = {}
    for tensor in list(model.graph.initializer):
        value = onnx.numpy_helper.to_array(tensor)
        source = _source(value, stored) if value.dtype == np.float32 and value.size > 1 else None
        if source is not None:
            sources[tensor.name] = source
            model.graph.initializer.remove(tensor)
        elif value.nbytes > 4096:
            raise VssparkError(f"{tensor.name} {value.shape} is made of no weights that {weights} has")
    model.metadata_props.add(key=SOURCES, value=json.dumps(sources))
    return model.SerializeToString(deterministic=True)


def _source(value: np.ndarray, stored: Mapping[str, np.ndarray]) -> Source | None:
    norms = sorted({path.rpartition("/")[0] for path in stored if "batch_normalization" in path})
    variables = [
        path for path, array in sorted(stored.items()) if array.size == value.size and array.ndim == value.ndim
    ]
    candidates = [Source(kind="values", variable=path, norm=None, shape=list(value.shape)) for path in variables]
    if value.ndim == 4:
        candidates += [
            Source(kind="kernel", variable=path, norm=norm, shape=list(value.shape))
            for path in variables
            for norm in norms
        ]
    candidates += [Source(kind="shift", variable=None, norm=norm, shape=list(value.shape)) for norm in norms]
    for source in candidates:
        try:
            found = value_of(source, stored)
        except ValueError:
            continue
        if np.allclose(found, value, rtol=1e-5, atol=1e-6):
            return source
    return None


def main() -> None:
    """Writes the graph of the shipped weights into the package."""
    from vsspark.encoders.default import build
    from vsspark.encoders.quiet import import_tensorflow

    import_tensorflow()
    about = json.loads((_SHIPPED / "default.json").read_text(encoding="utf-8"))
    network = build(len(about["categories"]), tuple(about["input_size"]))
    weights = _SHIPPED / "default.weights.h5"
    network.load_weights(weights)
    (_SHIPPED / _NAME).write_bytes(graph_of(network, weights))
    print(_SHIPPED / _NAME)


if __name__ == "__main__":
    main()
