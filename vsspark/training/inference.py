"""The answers of a network that is being trained."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_BATCH_NUMBERS = 32 * 224 * 224 * 3  # that go through a network at once: 32 pictures of 224 pixels, 4 of 576
_BATCH = 32  # rows at most


def traced(network) -> Callable:
    """The network as one TensorFlow function, for `encode`: traced when it first runs, not again in every epoch."""
    import tensorflow as tf

    return tf.function(lambda inputs: network(inputs, training=False), reduce_retracing=True)


def encode(answer: Callable, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A network's two outputs, embeddings (n, e) and probabilities (n, c), float32. answer: a `traced` network;
    inputs: (n, ...) as it takes them, any dtype.
    """
    batch = max(1, min(_BATCH, _BATCH_NUMBERS // inputs[0].size))
    parts = [answer(inputs[start : start + batch].astype(np.float32)) for start in range(0, len(inputs), batch)]
    return tuple(np.concatenate([part[i].numpy() for part in parts]) for i in (0, 1))
