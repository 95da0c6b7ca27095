"""Encoders from ONNX files: `encoder.name: onnx`. Free of TensorFlow.

The model is written once per model version, with its preprocessing and pooling inside: a small graph, and its weights in
a file beside it, which ONNX Runtime maps into memory, so that the workers of a machine share its pages.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vsspark.config import EncoderConfig
from vsspark.encoders import export
from vsspark.encoders.encoder import Encoder
from vsspark.encoders.model_files import content_hash
from vsspark.encoders.onnx_files import check_external, fetch, load_external, read_graph
from vsspark.encoders.onnx_graph import wrap
from vsspark.encoders.preprocessing import arithmetic_of, fit_of, read_preprocessing
from vsspark.errors import ConfigError
from vsspark.images.fit import Fit

_WRAPPING = b"onnx-1"  # enters every model version: change it when the written network computes something else
_SUFFIX = ".tensors"


def load_onnx(config: EncoderConfig, storage_options: Mapping[str, str]) -> Encoder:
    """The encoder of an ONNX file and the preprocessing beside it. Raises ConfigError naming the key."""
    if config.weights is None:
        raise ConfigError("encoder.weights: onnx needs a model: an .onnx file or the folder that holds it")
    if config.layer is not None:
        raise ConfigError(f"encoder.layer: got {config.layer!r}; an ONNX model's outputs are named by encoder.output")
    with tempfile.TemporaryDirectory(prefix="vsspark-onnx-") as folder:
        files = fetch(config.weights, Path(folder), storage_options)
        preprocessing, where = config.preprocessing, "encoder.preprocessing"
        if preprocessing is None:
            if files.preprocessing is None:
                raise ConfigError(
                    f"encoder.preprocessing: no preprocessor_config.json lies beside {config.weights}; "
                    "put it there, or spell out size, image_mean and image_std"
                )
            where = f"encoder.weights: {config.weights}: preprocessor_config.json"
            preprocessing = read_preprocessing(files.preprocessing, where)
        fit = fit_of(preprocessing, where)
        model = read_graph(files.model)
        data = check_external(model, files.model)
        choice = (config.output, config.pooling, config.pooling_index, config.pooling_skip)
        stamp = json.dumps([preprocessing.model_dump(mode="json"), choice]).encode()
        version = f"onnx-{content_hash(files.model, *data, stamp, _WRAPPING)}"
        about = export.CACHE / f"{version}.json"
        if not all(file.is_file() for file in (about, about.with_suffix(".onnx"), about.with_suffix(_SUFFIX))):
            load_external(model, files.model)
            wrap(model, config, arithmetic_of(preprocessing), fit.size)
            about = _write(model, version, fit)
    return _encoder(about, fit)


def _write(model, version: str, fit: Fit) -> Path:
    """The description's path, beside network and weights; they appear whole or not at all."""
    import onnx

    folder = export.writable_cache()
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        graph, tensors, about = (Path(scratch) / f"{version}{suffix}" for suffix in (".onnx", _SUFFIX, ".json"))
        onnx.save(
            model, graph, save_as_external_data=True, all_tensors_to_one_file=True, location=tensors.name,
            size_threshold=1024,
        )  # fmt: skip
        tensors.touch()  # a model may hold no tensor of that size
        about.write_text(json.dumps({"dim": _dim(graph, fit)}), encoding="utf-8")
        for file in (tensors, graph, about):
            os.replace(file, folder / file.name)
    return folder / f"{version}.json"


def _dim(graph: Path, fit: Fit) -> int:
    """The embedding's length, by a run on a grey picture. Raises ConfigError where ONNX Runtime cannot run it."""
    from vsspark.encoders.engines import OnnxEngine

    try:
        embedding, _ = OnnxEngine(str(graph), 1, 1).run(np.full((1, *fit.size, 3), 127, np.uint8))
    except Exception as error:  # ONNX Runtime's own kinds, one per status code, share no base but Exception
        first = str(error).strip().splitlines()[0]
        raise ConfigError(f"encoder.weights: ONNX Runtime cannot run the model: {first}") from None
    if embedding.ndim != 2:
        raise ConfigError(f"encoder.output: the output is {embedding.shape}, expected (n, d) behind encoder.pooling")
    return embedding.shape[1]


def _encoder(about: Path, fit: Fit) -> Encoder:
    return Encoder(
        name="onnx",
        model_version=about.stem,
        input_size=fit.size,
        dim=json.loads(about.read_text(encoding="utf-8"))["dim"],
        categories=None,
        files={"onnxruntime": about.with_suffix(".onnx").absolute()},
        fit=fit,
        tensors=about.with_suffix(_SUFFIX).absolute(),
    )
