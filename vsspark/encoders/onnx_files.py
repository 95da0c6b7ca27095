"""ONNX models as files: fetched from any store, read without running anything, refused where they hold code."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pyarrow import fs

from vsspark.errors import ConfigError
from vsspark.storage.filesystems import open_filesystem, split_uri

if TYPE_CHECKING:
    import onnx

PREPROCESSOR = "preprocessor_config.json"
# ONNX's own operators and those that ONNX Runtime is built with. Every other domain needs a library of code.
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc")
# Operators of these domains that open other files.
_OPENING = ("EPContext", "PyOp", "PythonOp", "PythonOpGrad")


class ModelFiles(NamedTuple):
    model: Path  # on this machine, its external data beside it
    preprocessing: str | None  # the text of preprocessor_config.json


def fetch(weights: str, folder: Path, storage_options: Mapping[str, str]) -> ModelFiles:
    """The model that `encoder.weights` names and what lies beside it; from a store copied into `folder`.

    weights: a model file, or a folder that holds model.onnx, one .onnx file, or these below onnx/.
    Raises ConfigError where there is none.
    """
    try:
        system, path = open_filesystem(weights, storage_options)
        path = _model_path(system, path, weights)
        around = (posixpath.dirname(path), posixpath.dirname(posixpath.dirname(path)))
        candidates = [f"{parent}/{PREPROCESSOR}" for parent in around[: 1 + (posixpath.basename(around[0]) == "onnx")]]
        beside = next((info.path for info in system.get_file_info(candidates) if info.is_file), None)
        text = None
        if beside is not None:
            with system.open_input_stream(beside) as stream:
                text = stream.read().decode("utf-8", errors="replace")
        if split_uri(weights)[0] == "file":
            return ModelFiles(Path(path), text)
        return ModelFiles(_copy(system, path, folder), text)
    except OSError as error:
        raise ConfigError(f"encoder.weights: {weights} cannot be read: {error}") from None


def _model_path(system: fs.FileSystem, path: str, weights: str) -> str:
    info = system.get_file_info(path)
    if info.is_file:
        return path
    if info.type != fs.FileType.Directory:
        raise ConfigError(f"encoder.weights: {weights}: found no such file; allowed are an .onnx file or its folder")
    for folder in (path, f"{path}/onnx"):
        listing = system.get_file_info(fs.FileSelector(folder, allow_not_found=True))
        models = sorted(entry.base_name for entry in listing if entry.is_file and entry.extension == "onnx")
        if "model.onnx" in models or len(models) == 1:
            return f"{folder}/{'model.onnx' if 'model.onnx' in models else models[0]}"
        if models:
            raise ConfigError(f"encoder.weights: {weights} holds {', '.join(models)}; name one of these files")
    raise ConfigError(f"encoder.weights: {weights} holds no .onnx file")


def _copy(system: fs.FileSystem, path: str, folder: Path) -> Path:
    target = folder / posixpath.basename(path)
    fs.copy_files(path, str(target), source_filesystem=system, destination_filesystem=fs.LocalFileSystem())
    for name in external_names(read_graph(target), target):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        source = f"{posixpath.dirname(path)}/{name}"
        fs.copy_files(source, str(folder / name), source_filesystem=system, destination_filesystem=fs.LocalFileSystem())
    return target


def read_graph(file: Path) -> onnx.ModelProto:
    """The model without its external data, checked: no operator of a foreign domain. Raises ConfigError."""
    try:
        import onnx
    except ImportError:
        raise ConfigError("encoder.name: onnx needs the package onnx on the driver: pip install onnx") from None
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(file, format="protobuf", load_external_data=False)
    except (DecodeError, OSError) as error:
        raise ConfigError(f"encoder.weights: {file} is no ONNX model: {error}") from None
    if not model.graph.node:
        raise ConfigError(f"encoder.weights: {file} is no ONNX model: it holds no operators")
    own = {(function.domain, function.name) for function in model.functions}
    nodes = [node for part in (model.graph, *model.functions) for node in nodes_of(part)]
    foreign = {
        f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        for node in nodes
        if (node.domain, node.op_type) not in own and (node.domain not in _DOMAINS or node.op_type in _OPENING)
    }
    if foreign:
        raise ConfigError(
            f"encoder.weights: {file} wants the custom operators {', '.join(sorted(foreign))}, which are code from "
            "elsewhere; allowed are ONNX's own and ONNX Runtime's (com.microsoft)"
        )
    return model


def external_names(model: onnx.ModelProto, file: Path) -> list[str]:
    """Files with weights, relative to the model's folder. Raises ConfigError for one that lies elsewhere."""
    names = set()
    for tensor in _tensors(model):
        location = next((entry.value for entry in tensor.external_data if entry.key == "location"), None)
        if location is None:
            continue
        path = posixpath.normpath(location)
        if posixpath.isabs(path) or path.split("/")[0] == "..":
            raise ConfigError(f"encoder.weights: {file}: external data at {location!r} lie outside the model's folder")
        names.add(path)
    return sorted(names)


def check_external(model: onnx.ModelProto, file: Path) -> list[Path]:
    """The files with weights. Raises ConfigError for one that is missing or leads out of the folder by a link."""
    paths = []
    for name in external_names(model, file):
        path = file.parent / name
        if not path.is_file():
            raise ConfigError(f"encoder.weights: {file}: its external data {name} are missing")
        # A model in a cache of links: model and data are links into one folder of contents.
        homes = {file.parent.resolve(), file.resolve().parent}
        if not any(path.resolve().is_relative_to(home) for home in homes):
            raise ConfigError(f"encoder.weights: {file}: external data {name} lead out of the model's folder")
        paths.append(path)
    return paths


def load_external(model: onnx.ModelProto, file: Path) -> None:
    """Brings the weights of checked files into the model. Raises ConfigError where a file is too short.

    onnx's own function refuses links, which a download cache is made of.
    """
    for tensor in _tensors(model):
        where = {entry.key: entry.value for entry in tensor.external_data}
        if "location" not in where:
            continue
        with (file.parent / where["location"]).open("rb") as stream:
            stream.seek(int(where.get("offset", 0)))
            tensor.raw_data = stream.read(int(where.get("length", -1)))
        if len(tensor.raw_data) < int(where.get("length", 0)):
            raise ConfigError(f"encoder.weights: {file}: its external data {where['location']} end early")
        del tensor.external_data[:]
        tensor.data_location = 0  # inside


def nodes_of(graph) -> Iterator[onnx.NodeProto]:
    """Every operator of a graph or function, those of its branches and loops among them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from nodes_of(inner)


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    def of_nodes(graph) -> Iterator[onnx.TensorProto]:
        for node in graph.node:
            for attribute in node.attribute:
                yield from (attribute.t, *attribute.tensors)
                for inner in (attribute.g, *attribute.graphs):
                    yield from inner.initializer
                    yield from of_nodes(inner)

    yield from model.graph.initializer
    for part in (model.graph, *model.functions):
        yield from of_nodes(part)
