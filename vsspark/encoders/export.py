"""A Keras network written once per model version for the engines: `.onnx`, `.keras` and a small `.json` about both.

The exported network takes uint8 RGB: the cast and the encoder's own preprocessing are inside it.
"""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vsspark.encoders.encoder import Encoder
from vsspark.encoders.engines import ENGINES, SUFFIX
from vsspark.encoders.onnx_files import nodes_of
from vsspark.errors import ConfigError

if TYPE_CHECKING:
    import keras

_SUMS = ("ReduceSum", "ReduceSumSquare", "ReduceL2")
CACHE = Path("build/encoders")  # relative to where the job was started, as everything generated is


def exported(name: str, model_version: str) -> Encoder | None:
    """The encoder as an earlier run exported it, without importing TensorFlow; None when there is none."""
    about = CACHE / f"{model_version}.json"
    if not about.is_file() or not all(about.with_suffix(SUFFIX[engine]).is_file() for engine in ENGINES):
        return None
    return _encoder(name, about)


def export(name: str, model_version: str, network: keras.Model, categories: tuple[str, ...] | None) -> Encoder:
    """The encoder, its network exported for every engine.

    network: RGB 0..255 float32 (n, h, w, 3) to the embedding (n, d), or to [embedding, category probabilities (n, c)].
    The files appear whole or not at all, so that two runs that export at once do no harm.
    """
    folder = writable_cache()
    height, width = network.input_shape[1:3]
    dim = int((network.output[0] if categories else network.output).shape[-1])
    description = {"input_size": [height, width], "dim": dim, "categories": list(categories) if categories else None}
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        onnx, whole, about = (Path(scratch) / f"{model_version}{suffix}" for suffix in (".onnx", ".keras", ".json"))
        write_onnx(network, onnx)
        _taking_pixels(network).save(whole)
        about.write_text(json.dumps(description), encoding="utf-8")
        for file in (onnx, whole, about):
            os.replace(file, folder / file.name)
    return _encoder(name, folder / f"{model_version}.json")


def write_keras(network: keras.Model, file: Path) -> None:
    """Writes the network for TensorFlow; the file appears whole or not at all."""
    with tempfile.TemporaryDirectory(dir=file.parent) as scratch:
        _taking_pixels(network).save(Path(scratch) / file.name)
        os.replace(Path(scratch) / file.name, file)


def _taking_pixels(network: keras.Model) -> keras.Model:
    """The network behind a cast: it takes uint8 RGB named `pixels`."""
    import keras

    height, width = network.input_shape[1:3]
    pixels = keras.Input((height, width, 3), dtype="uint8", name="pixels")
    uint8_network = keras.Model(pixels, network(keras.ops.cast(pixels, "float32")), name="encoder")
    uint8_network(np.zeros((1, height, width, 3), np.uint8))
    return uint8_network


def write_onnx(network: keras.Model, file: Path) -> None:
    """Writes the network behind its cast as ONNX."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Keras asks NumPy for a name that is gone
        _taking_pixels(network).export(file, format="onnx", verbose=False)
    _replace_erfc(file)
    _pad_sums(file)
    _drop_unused_inputs(file)


def _replace_erfc(file: Path) -> None:
    """Writes Erfc as 1 - Erf: TensorFlow makes it of an exact GELU, tf2onnx passes it on, ONNX has no such operator."""
    import onnx

    model = onnx.load(file)
    graph = model.graph
    if not any(node.op_type == "Erfc" for node in graph.node):
        return
    graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1), "vsspark/one"))
    nodes = []
    for node in graph.node:
        if node.op_type != "Erfc":
            nodes.append(node)
            continue
        inner = f"{node.output[0]}/erf"
        nodes.append(onnx.helper.make_node("Erf", list(node.input), [inner], inner))
        nodes.append(onnx.helper.make_node("Sub", ["vsspark/one", inner], list(node.output), node.name))
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, file)


def _pad_sums(file: Path) -> None:
    """Brings rows that are summed to a multiple of 16 bytes, by zeros.

    ONNX Runtime adds the numbers of a row in an order that depends on where it begins, modulo 16 bytes: with rows of
    1,034 numbers a picture's embedding would depend on its place in the batch.
    """
    import onnx

    model = onnx.load(file)
    graph = model.graph
    shapes = {
        value.name: value.type.tensor_type.shape.dim
        for value in onnx.shape_inference.infer_shapes(model).graph.value_info
    }
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type in _SUMS]:
        dims = shapes.get(node.input[0], ())
        axes = constants.get(node.input[1]) if len(node.input) > 1 else None
        if len(dims) != 2 or axes is None or list(axes) not in ([1], [-1]) or dims[1].dim_value % 4 == 0:
            continue
        padded, pads = f"{node.output[0]}/padded", f"{node.output[0]}/pads"
        lacking = np.array([0, 0, 0, -dims[1].dim_value % 4], np.int64)
        graph.initializer.append(onnx.numpy_helper.from_array(lacking, pads))
        pad = onnx.helper.make_node("Pad", [node.input[0], pads], [padded], f"{node.name}/pad")
        graph.node.insert(list(graph.node).index(node), pad)
        node.input[0] = padded
    onnx.save(model, file)


def _drop_unused_inputs(file: Path) -> None:
    """Leaves out inputs that no operator reads: tf2onnx keeps those of constants that it has folded.

    Raises ConfigError for another one that is read, since nobody would fill it.
    """
    import onnx

    model = onnx.load(file)
    used = {name for node in nodes_of(model.graph) for name in node.input}
    more = [value for value in model.graph.input if value.name != "pixels"]
    for value in more:
        if value.name in used:
            raise ConfigError(f"encoder.name: the network cannot be exported to ONNX: tf2onnx left {value.name} open")
        model.graph.input.remove(value)
    if more:
        onnx.save(model, file)


def _encoder(name: str, about: Path) -> Encoder:
    description = json.loads(about.read_text(encoding="utf-8"))
    return Encoder(
        name=name,
        model_version=about.stem,
        input_size=tuple(description["input_size"]),
        dim=description["dim"],
        categories=tuple(description["categories"]) if description["categories"] else None,
        files={engine: about.with_suffix(SUFFIX[engine]).absolute() for engine in ENGINES},
    )


def writable_cache() -> Path:
    try:
        CACHE.mkdir(parents=True, exist_ok=True)
        if os.access(CACHE, os.W_OK):
            return CACHE
    except OSError:
        pass
    # A job started where it may not write exports anew every time.
    return Path(tempfile.mkdtemp(prefix="vsspark-encoders-"))
