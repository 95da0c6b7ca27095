"""What runs an exported network: ONNX Runtime, or TensorFlow, the reference.

An engine takes uint8 RGB and gives float32, in batches of one fixed size, so that nothing is retraced or re-planned
for a short last batch. The network holds its own preprocessing: an engine cannot change it. Neither TensorFlow nor
ONNX Runtime is imported before it is asked for.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import numpy as np

from vsspark.encoders.quiet import import_tensorflow

ENGINES = ("onnxruntime", "tensorflow")
# Layers that may compute in float16: convolutions and what lies between them, not the pooling and the heads behind
# them.
_HALVED = {
    "Conv2D",
    "DepthwiseConv2D",
    "SeparableConv2D",
    "BatchNormalization",
    "ReLU",
    "Activation",
    "Add",
    "Multiply",
    "Concatenate",
    "ZeroPadding2D",
}
SUFFIX = {"onnxruntime": ".onnx", "tensorflow": ".keras"}


class Engine(Protocol):
    batch_size: int

    def run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """(embeddings (n, d), probabilities (n, c) or None), float32, for n <= batch_size images (n, h, w, 3) uint8."""


@lru_cache(maxsize=4)
def load_engine(engine: str, path: str, batch_size: int, threads: int) -> Engine:
    """The engine for an exported network, one per process and file: the file's name holds the hash of what is in it."""
    if engine == "onnxruntime":
        return OnnxEngine(path, batch_size, threads)
    return TensorFlowEngine(path, batch_size, threads)


class OnnxEngine:
    """100 MobileNetV2 images/s on one core where TensorFlow reaches 59 on the same machine; loaded in hundredths of a
    second.
    """

    def __init__(self, path: str, batch_size: int, threads: int):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # A thread that spins while it waits takes the core from decoding.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        fixed = self._session.get_inputs()[0].shape[0]
        self._pass = fixed if isinstance(fixed, int) else batch_size  # images that one run takes
        self.batch_size = batch_size

    def run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        parts = [images[start : start + self._pass] for start in range(0, len(images), self._pass)]
        runs = [_first_rows(self._run(part), len(part)) for part in parts]
        if len(runs) == 1:
            return runs[0]
        embeddings, probabilities = zip(*runs, strict=True)
        return np.concatenate(embeddings), None if probabilities[0] is None else np.concatenate(probabilities)

    def _run(self, images: np.ndarray) -> list[np.ndarray]:
        return self._session.run(None, {self._input: _padded(images, self._pass)})


class TensorFlowEngine:
    """Keras's own arithmetic in one traced function; on a GPU in float16, with a batch size that fits its memory."""

    def __init__(self, path: str, batch_size: int, threads: int):
        import_tensorflow()
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        try:
            for gpu in gpus:
                tf.config.experimental.set_memory_growth(gpu, True)
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        except RuntimeError:
            pass  # TensorFlow has run in this process before: its threads and devices are set
        import keras

        network = keras.saving.load_model(path, compile=False, safe_mode=True)
        if gpus:
            network = in_half_precision(network)
        self._tf = tf
        self._function = tf.function(lambda images: network(images, training=False))
        self._shape = network.inputs[0].shape[1:]
        self.batch_size = self._fitting_batch(batch_size) if gpus else batch_size

    def run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        outputs = self._function(self._tf.constant(_padded(images, self.batch_size)))
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        return _first_rows([np.asarray(output, np.float32) for output in outputs], len(images))

    def _fitting_batch(self, batch_size: int) -> int:
        """The largest halving of `batch_size` that the GPU's memory takes."""
        while True:
            try:
                self._function(self._tf.zeros((batch_size, *self._shape), self._tf.uint8))
                return batch_size
            except self._tf.errors.ResourceExhaustedError:
                if batch_size == 1:
                    raise
                batch_size //= 2


def in_half_precision(network):
    """The same network computing in float16 up to the pooled features; the heads, and every weight, stay float32.

    MobileNetV2's embeddings keep a cosine of .9998 to the float32 ones, the shipped encoder's .9999999.
    """
    config = network.get_config()
    _halve(config)
    half = type(network).from_config(config)
    half.set_weights(network.get_weights())
    return half


def _halve(node) -> None:
    """Sets the computing type in every layer's configuration below `node`."""
    if isinstance(node, dict):
        layer = node.get("config")
        if isinstance(layer, dict) and "dtype" in layer and node.get("class_name") in _HALVED:
            layer["dtype"] = "mixed_float16"
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list | tuple) else ():
        _halve(child)


def _padded(images: np.ndarray, batch_size: int) -> np.ndarray:
    if len(images) == batch_size:
        return images
    return np.concatenate([images, np.zeros((batch_size - len(images), *images.shape[1:]), np.uint8)])


def _first_rows(outputs: list[np.ndarray], n: int) -> tuple[np.ndarray, np.ndarray | None]:
    return outputs[0][:n], outputs[1][:n] if len(outputs) > 1 else None
