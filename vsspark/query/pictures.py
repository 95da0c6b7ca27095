"""Query pictures, embedded as the batch embeds its images, and the categories they are searched in. No Spark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from vsspark.config import BlockingConfig, EncoderConfig, ImagesConfig
from vsspark.embed.kernel.frame import embed_batches
from vsspark.embed.kernel.photos import PhotoSource
from vsspark.encoders import Encoder
from vsspark.encoders.engines import load_engine
from vsspark.knn.exact import default_threads

_BATCH = 8
Probes = tuple[tuple[str, float], ...]  # category and its probability, most probable first


class PictureEmbedding(NamedTuple):
    """One picture's embedding, or the reason why it has none."""

    embedding: np.ndarray | None  # (d,) float32
    probabilities: np.ndarray | None  # (c,) float32; None without a head
    reason: str | None
    detail: str | None


def embed_pictures(
    uris: Sequence[str],
    encoder: Encoder,
    images: ImagesConfig,
    encoder_config: EncoderConfig,
    storage_options: Mapping[str, str],
) -> list[PictureEmbedding]:
    """One `PictureEmbedding` per uri, in their order.

    The engine is the CPU's: a handful of pictures is done before a GPU is
    ready.
    """
    threads = default_threads()
    engine = load_engine("onnxruntime", str(encoder.files["onnxruntime"]), min(_BATCH, len(uris)), threads)
    rows = pa.record_batch([pa.array(range(len(uris)), pa.int64()), pa.array(list(uris))], names=["image_id", "uri"])
    embeddings: list[PictureEmbedding | None] = [None] * len(uris)
    photos = PhotoSource(encoder.picture_size, images, storage_options, threads)
    for batch in embed_batches([rows], engine, encoder_config, photos):
        for row in batch.to_pylist():
            vectors = (
                None if row[name] is None else np.asarray(row[name], np.float32)
                for name in ("embedding", "probabilities")
            )
            embeddings[row["image_id"]] = PictureEmbedding(*vectors, row["reason"], row["detail"])
    return embeddings


def probed_categories(probabilities: np.ndarray, names: Sequence[str], config: BlockingConfig) -> Probes:
    """The categories a picture searches, as the batch chooses them: its most probable one, and more until their
    probabilities add up to config.probability, at most config.probes; equal probabilities by name. probabilities:
    (c,) of `names`.
    """
    order = sorted(range(len(names)), key=lambda i: (-probabilities[i], names[i]))[: config.probes]
    before = np.cumsum([0.0, *probabilities[order]])[:-1]
    return tuple(
        (names[i], float(probabilities[i]))
        for i, sum_before in zip(order, before, strict=True)
        if sum_before < max(config.probability, 1e-9)
    )
