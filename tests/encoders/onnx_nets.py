"""Small ONNX image models with random weights, as files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 32
CLIP = {
    "image_processor_type": "CLIPImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": 40},
    "do_center_crop": True,
    "crop_size": {"height": SIDE, "width": SIDE},
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.48, 0.46, 0.41],
    "image_std": [0.27, 0.26, 0.28],
    "do_convert_rgb": True,
}


def save(folder: Path, model: onnx.ModelProto, preprocessing: dict | None = CLIP, **options) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx", **options)
    if preprocessing is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing), encoding="utf-8")
    return folder


def network(
    last: bool = False, batch: int | str = "batch", dtype: int = TensorProto.FLOAT, opset: int = 17
) -> onnx.ModelProto:
    """Outputs: `map` (n, 12, 8, 8) or (n, 8, 8, 12), `last_hidden_state` (n, 64, 12), `pooler_output` (n, 6)."""
    random = np.random.default_rng(4)
    kind = np.float16 if dtype == TensorProto.FLOAT16 else np.float32
    values = {
        "kernel": random.normal(size=(12, 3, 4, 4)).astype(kind) / 7,
        "dense": random.normal(size=(12, 6)).astype(kind),
        "tokens": np.array([0, 64, 12], np.int64),
    }
    nodes = [
        *([helper.make_node("Transpose", ["pixel_values"], ["first"], perm=[0, 3, 1, 2])] if last else []),
        helper.make_node("Conv", ["first" if last else "pixel_values", "kernel"], ["conv"], strides=[4, 4]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("Transpose", ["relu"], ["channels_last"], perm=[0, 2, 3, 1]),
        helper.make_node("Identity", ["channels_last" if last else "relu"], ["map"]),
        helper.make_node("Reshape", ["channels_last", "tokens"], ["last_hidden_state"]),
        helper.make_node("ReduceMax", ["last_hidden_state"], ["largest"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["largest", "dense"], ["pooler_output"]),
    ]
    sides = [SIDE, SIDE, 3] if last else [3, SIDE, SIDE]
    map_sides = [8, 8, 12] if last else [12, 8, 8]
    outputs = {"map": map_sides, "last_hidden_state": [64, 12], "pooler_output": [6]}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("pixel_values", dtype, [batch, *sides])],
        [helper.make_tensor_value_info(name, dtype, [batch, *shape]) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def with_text_input(model: onnx.ModelProto) -> onnx.ModelProto:
    """As exports of a model for pictures and text: another input and an output that comes from it."""
    model.graph.input.append(helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"]))
    model.graph.node.append(helper.make_node("Cast", ["input_ids"], ["text_embeds"], to=TensorProto.FLOAT))
    model.graph.output.append(helper.make_tensor_value_info("text_embeds", TensorProto.FLOAT, ["batch", "length"]))
    return model


def with_operator(domain: str, name: str, inside_branch: bool = False) -> onnx.ModelProto:
    """The network with a foreign operator behind it, in the branch of an If where that is asked for."""
    model = network()
    node = helper.make_node(name, ["pooler_output"], ["foreign"], domain=domain)
    if inside_branch:
        value = helper.make_tensor_value_info("foreign", TensorProto.FLOAT, None)
        branch = helper.make_graph([node], "branch", [], [value])
        model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
        node = helper.make_node("If", ["yes"], ["chosen"], then_branch=branch, else_branch=branch)
    model.graph.node.append(node)
    model.graph.output.append(helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, ["batch", 6]))
    model.opset_import.append(helper.make_opsetid(domain, 1))
    return model
