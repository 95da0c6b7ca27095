"""A published model's graph between pixels and embedding: preprocessing put before it, pooling behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vsspark.config import EncoderConfig
from vsspark.encoders.onnx_files import nodes_of
from vsspark.encoders.preprocessing import Arithmetic
from vsspark.errors import ConfigError

if TYPE_CHECKING:
    import onnx

_USUAL = ("pooler_output", "image_embeds", "image_embeddings")  # outputs that are taken where there are several
_OWN = "vsspark/"


class Image(NamedTuple):
    """The input for pixels."""

    name: str
    dtype: int  # of onnx.TensorProto
    channels_last: bool
    batch: int | None  # images that a run must have; None = any number
    size: tuple[int | None, int | None]  # (height, width); None = any


def wrap(model: onnx.ModelProto, config: EncoderConfig, arithmetic: Arithmetic, size: tuple[int, int]) -> None:
    """Turns the model into one from uint8 RGB `pixels` (n, h, w, 3) to float32 `embedding` (n, d).

    Raises ConfigError for an output that does not exist, listing those that do, and for a size that does not fit.
    """
    from onnx import helper

    output = _chosen_output(model, config)
    _keep_what_leads_to(model, output.name)
    image = _image_input(model)
    if any(have is not None and have != want for have, want in zip(image.size, size, strict=True)):
        raise ConfigError(
            f"encoder.preprocessing: gives pictures of {size[0]} x {size[1]}, the model takes "
            f"{image.size[0]} x {image.size[1]} (height x width)"
        )
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < 7:
        raise ConfigError(f"encoder.weights: the model is of ONNX operator set {opset}, needed is 7 or later")
    before = _preprocess(image, arithmetic)
    behind = _pool(output, config, image.channels_last, opset)
    nodes = [*before.nodes, *model.graph.node, *behind.nodes]
    del model.graph.node[:], model.graph.input[:], model.graph.output[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend([*before.constants, *behind.constants])
    pixels = helper.make_tensor_value_info("pixels", 2, [image.batch or "n", *size, 3])  # 2: uint8
    model.graph.input.append(pixels)
    model.graph.output.append(helper.make_tensor_value_info("embedding", 1, None))  # 1: float32


class _Part(NamedTuple):
    nodes: list
    constants: list


def _shape(value: onnx.ValueInfoProto) -> list[int | None]:
    """None for a side that is open."""
    return [side.dim_value if side.HasField("dim_value") and side.dim_value > 0 else None
            for side in value.type.tensor_type.shape.dim]  # fmt: skip


def _chosen_output(model: onnx.ModelProto, config: EncoderConfig) -> onnx.ValueInfoProto:
    outputs = {value.name: value for value in model.graph.output}
    listed = ", ".join(f"{name} {_text(_shape(value))}" for name, value in outputs.items())
    if config.output is not None:
        if config.output not in outputs:
            raise ConfigError(f"encoder.output: the model has no output {config.output!r}; it has {listed}")
        return outputs[config.output]
    usual = next((outputs[name] for name in _USUAL if name in outputs), None)
    if len(outputs) > 1 and usual is None:
        raise ConfigError(f"encoder.output: the model has several, name one: {listed}")
    return usual or next(iter(outputs.values()))


def _text(shape: list[int | None]) -> str:
    return f"({', '.join('?' if side is None else str(side) for side in shape)})"


def _keep_what_leads_to(model: onnx.ModelProto, output: str) -> None:
    """Leaves out every operator, weight and input that the output does not depend on."""
    graph, wanted, kept = model.graph, {output}, []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input)
            for attribute in node.attribute:
                for inner in (attribute.g, *attribute.graphs):
                    wanted |= {name for deep in nodes_of(inner) for name in deep.input}
                    wanted |= {value.name for value in inner.output}
    kept.reverse()
    for field, values in (
        (graph.node, kept),
        (graph.initializer, [value for value in graph.initializer if value.name in wanted]),
        (graph.sparse_initializer, [v for v in graph.sparse_initializer if v.values.name in wanted]),
        (graph.input, [value for value in graph.input if value.name in wanted]),
    ):
        copies = [type(value).FromString(value.SerializeToString()) for value in values]
        del field[:]
        field.extend(copies)


def _image_input(model: onnx.ModelProto) -> Image:
    weights = {value.name for value in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1 or len(_shape(inputs[0])) != 4:
        listed = ", ".join(f"{value.name} {_text(_shape(value))}" for value in inputs) or "none"
        raise ConfigError(
            f"encoder.weights: this output needs the inputs {listed}; expected one, pictures (n, 3, h, w) or (n, h, w, 3)"
        )
    from onnx import TensorProto

    shape, dtype = _shape(inputs[0]), inputs[0].type.tensor_type.elem_type
    known = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.UINT8)
    if dtype not in known:
        raise ConfigError(
            f"encoder.weights: the input {inputs[0].name} is {TensorProto.DataType.Name(dtype)}; "
            f"allowed are {', '.join(TensorProto.DataType.Name(value) for value in known)}"
        )
    last = shape[3] == 3 and shape[1] != 3
    if not last and shape[1] not in (3, None):
        raise ConfigError(f"encoder.weights: the input {inputs[0].name} is {_text(shape)}; expected 3 channels")
    return Image(inputs[0].name, dtype, last, shape[0], tuple(shape[1:3] if last else shape[2:4]))


def _preprocess(image: Image, arithmetic: Arithmetic) -> _Part:
    from onnx import TensorProto, helper, numpy_helper

    if image.dtype == TensorProto.UINT8 and arithmetic[:2] != ((1.0,) * 3, (0.0,) * 3):
        raise ConfigError(
            f"encoder.preprocessing: the input {image.name} takes whole numbers 0 to 255; "
            "do_rescale and do_normalize must be false"
        )
    constants = [
        numpy_helper.from_array(np.array(arithmetic.scale, np.float32), f"{_OWN}scale"),
        numpy_helper.from_array(np.array(arithmetic.shift, np.float32), f"{_OWN}shift"),
        numpy_helper.from_array(np.array([2, 1, 0], np.int64), f"{_OWN}blue_first"),
    ]
    steps = [
        ("Cast", [], {"to": TensorProto.FLOAT}),
        ("Mul", [f"{_OWN}scale"], {}),
        ("Sub", [f"{_OWN}shift"], {}),
        *([("Gather", [f"{_OWN}blue_first"], {"axis": 3})] if arithmetic.blue_first else []),
        *([] if image.channels_last else [("Transpose", [], {"perm": [0, 3, 1, 2]})]),
        ("Cast", [], {"to": image.dtype}),
    ]
    names = ["pixels", *(f"{_OWN}before_{i}" for i in range(len(steps) - 1)), image.name]
    nodes = [
        helper.make_node(kind, [names[i], *more], [names[i + 1]], f"{_OWN}{kind}_{i}", **attributes)
        for i, (kind, more, attributes) in enumerate(steps)
    ]
    return _Part(nodes, constants)


def _pool(output: onnx.ValueInfoProto, config: EncoderConfig, channels_last: bool, opset: int) -> _Part:
    from onnx import TensorProto, helper, numpy_helper

    rank, pooling = len(_shape(output)), config.pooling
    allowed = {2: ("none",), 3: ("token", "mean_tokens"), 4: ("mean_space",)}.get(rank, ())
    if pooling is None and len(allowed) == 1:
        pooling = allowed[0]
    if pooling not in allowed:
        raise ConfigError(
            f"encoder.pooling: got {pooling}; output {output.name} is {_text(_shape(output))}, "
            f"for which allowed are {', '.join(allowed) or 'none: name another output'}"
        )
    constants, nodes, last = [], [], output.name

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(value, f"{_OWN}{name}"))
        return f"{_OWN}{name}"

    def step(kind: str, *more: str, **attributes) -> None:
        nonlocal last
        name = f"{_OWN}behind_{len(nodes)}"
        nodes.append(helper.make_node(kind, [last, *more], [name], name, **attributes))
        last = name

    step("Cast", to=TensorProto.FLOAT)  # a mean in float16 would lose digits
    if pooling == "token":
        step("Gather", constant("token", np.array(config.pooling_index, np.int64)), axis=1)
    if pooling == "mean_tokens" and config.pooling_skip:
        start, end, axis = ([config.pooling_skip], [np.iinfo(np.int64).max], [1])
        if opset < 10:
            step("Slice", starts=start, ends=end, axes=axis)
        else:
            step("Slice", *(constant(f"slice_{i}", np.array(v, np.int64)) for i, v in enumerate((start, end, axis))))
    if pooling in ("mean_tokens", "mean_space"):
        axes = [1] if pooling == "mean_tokens" else [1, 2] if channels_last else [2, 3]
        if opset < 18:
            step("ReduceMean", axes=axes, keepdims=0)
        else:
            step("ReduceMean", constant("axes", np.array(axes, np.int64)), keepdims=0)
    nodes.append(helper.make_node("Identity", [last], ["embedding"], f"{_OWN}embedding"))
    return _Part(nodes, constants)
