"""Query pictures, embedded as the batch embeds its images, and the categories they are searched in. No Spark."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import cv2
import numpy as np

from vsspark.config import BlockingConfig, EncoderConfig, ImagesConfig
from vsspark.embed.kernel.frame import not_finite, run_network
from vsspark.embed.kernel.photos import PhotoResult, PhotoSource, load_photos
from vsspark.encoders import Encoder
from vsspark.encoders.engines import Engine, load_engine
from vsspark.errors import ImageError
from vsspark.images.product import decode_product

_AHEAD = 8  # pictures fetched and decoded while the network runs
Probes = tuple[tuple[str, float], ...]  # category and its probability, most probable first


class Picture(NamedTuple):
    """A picture to find products for."""

    uri: str  # a local path or s3a://bucket/key; where there are bytes, a name
    box: str | None = None  # the product's part of it, as `images.box`; None: the whole picture, or what is found
    data: bytes | None = None  # the file's bytes, where they need not be fetched


class PictureEmbedding(NamedTuple):
    """One picture's embedding, or the reason why it has none."""

    embedding: np.ndarray | None  # (d,) float32
    probabilities: np.ndarray | None  # (c,) float32; None without a head
    reason: str | None
    detail: str | None


def embed_pictures(
    pictures: Sequence[Picture],
    encoder: Encoder,
    images: ImagesConfig,
    encoder_config: EncoderConfig,
    storage_options: Mapping[str, str],
) -> list[PictureEmbedding]:
    """One `PictureEmbedding` per picture, in their order.

    The engine is the CPU's: a handful of pictures is done before a GPU is ready. It takes one picture at a time, so
    that none waits for others; the batch's passes hold several, which may change an embedding's last bits.
    """
    threads = len(os.sched_getaffinity(0))
    engine = load_engine("onnxruntime", str(encoder.files["onnxruntime"]), 1, threads)
    cv2.setNumThreads(1)  # the photos' threads are the parallelism
    photos = PhotoSource(encoder.picture_size, images, storage_options, threads)
    rows = [(i, picture.uri, picture.box) for i, picture in enumerate(pictures) if picture.data is None]
    given = (_decode(i, picture, photos) for i, picture in enumerate(pictures) if picture.data is not None)
    loaded = chain(given, load_photos(rows, photos, _AHEAD))
    results = {photo.image_id: _embed(photo, engine, encoder_config) for photo in loaded}
    return [results[i] for i in range(len(pictures))]


def _decode(number: int, picture: Picture, photos: PhotoSource) -> PhotoResult:
    try:
        photo = decode_product(picture.data, photos.size, photos.config, picture.box)
    except ImageError as error:
        return PhotoResult(number, stage="decode", error=error)
    return PhotoResult(number, photo=photo)


def _embed(photo: PhotoResult, engine: Engine, config: EncoderConfig) -> PictureEmbedding:
    error = photo.error
    if error is None:
        embeddings, probabilities, finite = run_network([photo], engine, config)
        if finite[0]:
            return PictureEmbedding(embeddings[0], None if probabilities is None else probabilities[0], None, None)
        error = not_finite()
    return PictureEmbedding(None, None, error.reason.value, error.detail)


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
