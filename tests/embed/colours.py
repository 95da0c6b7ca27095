"""A network with known results: the embedding is the picture's mean colour, the probabilities are three constants."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from vsspark.encoders import Encoder

SIZE = (16, 16)


def write_network(path: Path, head: bool = False) -> Path:
    """uint8 (n, 16, 16, 3) -> (n, 3): the mean colour less 20, NaN where that is negative."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "axes"], ["mean"], keepdims=0),
        helper.make_node("Sub", ["mean", "dark"], ["shifted"]),
        helper.make_node("Sqrt", ["shifted"], ["root"]),
        helper.make_node("Mul", ["root", "root"], ["embedding"]),
    ]
    values = [numpy_helper.from_array(np.array([1, 2]), "axes"), numpy_helper.from_array(np.float32(20), "dark")]
    outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 3])]
    if head:
        nodes += [
            helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
            helper.make_node("Add", ["nothing", "fixed"], ["probabilities"]),
        ]
        values += [
            numpy_helper.from_array(np.float32(0), "zero"),
            numpy_helper.from_array(np.array([[0.5, 0.25, 0.25]], np.float32), "fixed"),
        ]
        outputs.append(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 3]))
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", *SIZE, 3])
    graph = helper.make_graph(nodes, "colours", [pixels], outputs, values)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def colour_encoder(folder: Path, head: bool = False) -> Encoder:
    path = write_network(folder / f"colours{'-head' * head}-{abs(hash(str(folder))):x}.onnx", head)
    return Encoder("colours", path.stem, SIZE, 3, ("a", "b", "c") if head else None, {"onnxruntime": path})


def colour_of(i: int) -> tuple[int, int, int]:
    return 30 + i * 7 % 200, 40 + i * 31 % 200, 50 + i * 57 % 200


def write_pictures(folder: Path, n: int) -> list[str]:
    """n PNG files of one colour each, `colour_of(i)`, of sides that differ."""
    paths = []
    for i in range(n):
        path = folder / f"picture {i} 100%#.png"
        Image.new("RGB", (20 + i % 5 * 13, 20 + i % 7 * 9), colour_of(i)).save(path)
        paths.append(str(path))
    return paths
