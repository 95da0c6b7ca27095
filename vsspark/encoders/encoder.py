"""An encoder as the other rooms see it: its name, input and output."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vsspark.encoders.engines import load_engine
from vsspark.images.decode import squash
from vsspark.images.fit import Fit


@dataclass(frozen=True)
class Encoder:
    """A network with its preprocessing inside, exported to files that an engine can run."""

    name: str  # as the configuration names it
    model_version: str  # name, layer and a hash of weights and preprocessing; the same on every engine
    input_size: tuple[int, int]  # (height, width) pixels
    dim: int  # length of an embedding
    categories: tuple[str, ...] | None  # what the head's probabilities stand for, in order; None = no head
    files: dict[str, Path] = field(repr=False)  # engine -> the exported network; `network` makes one that is lacking
    fit: Fit | None = None  # how a picture becomes one of input_size; None = squashed
    tensors: Path | None = field(default=None, repr=False)  # the weights, where they lie beside the ONNX file
    make: Callable[[], None] | None = field(default=None, repr=False, compare=False)  # writes the files that lack

    def network(self, engine: str) -> Path:
        """The network for an engine, made now where nobody has asked for it before."""
        if not self.files[engine].is_file() and self.make is not None:
            self.make()
        return self.files[engine]

    @property
    def picture_size(self) -> tuple[int, int] | Fit:
        """What decoding gives: (height, width) that a picture is squashed to, or how it is fitted."""
        return self.fit or self.input_size

    def encode(self, images: np.ndarray, batch_size: int = 4) -> tuple[np.ndarray, np.ndarray | None]:
        """(embeddings (n, dim) float32, probabilities (n, c) float32, or None without a head).

        images: (n, h, w, 3) uint8 RGB; another size than `input_size` is brought to it, as decoding does.
        Runs here, on every core, with the CPU's default engine.
        """
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise ValueError(f"images: got {images.dtype} {images.shape}, expected uint8 (n, h, w, 3)")
        if images.shape[1:3] != self.input_size:
            fit = self.fit.apply if self.fit else lambda image: squash(image, self.input_size)
            images = np.stack([fit(image) for image in images]) if len(images) else images
        engine = load_engine("onnxruntime", str(self.files["onnxruntime"]), batch_size, os.cpu_count() or 1)
        results = [engine.run(images[start : start + batch_size]) for start in range(0, len(images), batch_size)]
        embeddings = np.concatenate([np.zeros((0, self.dim), np.float32)] + [result[0] for result in results])
        if self.categories is None:
            return embeddings, None
        return embeddings, np.concatenate(
            [np.zeros((0, len(self.categories)), np.float32)] + [result[1] for result in results]
        )
