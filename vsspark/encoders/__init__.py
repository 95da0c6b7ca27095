"""Encoders: networks that turn pictures into embeddings, by name, and the engines that run them.

    encoder = encoders.load("mobilenet_v2", weights="mobilenet_v2.weights.h5")
    embeddings, probabilities = encoder.encode(images)

Importing this package does not import TensorFlow; loading an encoder that was exported before does not either.
"""

from vsspark.encoders.encoder import Encoder
from vsspark.encoders.registry import load, load_configured, names

__all__ = ["Encoder", "load", "load_configured", "names"]
