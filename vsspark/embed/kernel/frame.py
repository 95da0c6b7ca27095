"""Record batches of (image_id, uri, box) to record batches of embeddings and refusals: what one Spark task does,
without Spark.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import cv2
import numpy as np
import pyarrow as pa

from vsspark.config import EncoderConfig
from vsspark.embed.kernel.copies import Copies
from vsspark.embed.kernel.photos import IsCopy, PhotoResult, PhotoSource, load_photos, photo_rows
from vsspark.encoders.engines import Engine
from vsspark.errors import ImageError, Reason

# One row per image. `reason` is null for an embedded one; `embedding`, `probabilities`, `width` and `height` are null
# for a refused one, and for a copy, whose `reason` is null too.
RESULTS = pa.schema([
    ("image_id", pa.int64()),
    ("content_hash", pa.string()),
    ("size_bytes", pa.int64()),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("embedding", pa.list_(pa.float32())),
    ("probabilities", pa.list_(pa.float32())),
    ("stage", pa.string()),
    ("reason", pa.string()),
    ("detail", pa.string()),
])  # fmt: skip
_ROWS_PER_BATCH = 64  # that leave together: the JVM unwraps each batch's schema and buffers anew


def embed_batches(
    batches: Iterable[pa.RecordBatch], engine: Engine, encoder: EncoderConfig, photos: PhotoSource
) -> Iterator[pa.RecordBatch]:
    """Record batches of `RESULTS`, one row per row of `image_id`, `uri` and, where there is one, `box` that comes
    in, in any order.

    Where the rows have a column `known` (see `Copies`), a content is decoded and embedded once; its copies have rows
    without embedding. Without that column every row gets its own.

    photos: of the size of the encoder's input. They are fetched and decoded ahead while the network runs; at most
    three of its batches are held, and the results of a batch or of 64 images.
    """
    # The pool is the parallelism; OpenCV would start a thread per core of the machine in every worker.
    cv2.setNumThreads(1)
    ahead = photos.config.fetch_threads + 2 * engine.batch_size
    ready: list[PhotoResult] = []
    rest: list[PhotoResult] = []  # refusals and copies
    results: list[pa.RecordBatch] = []
    batches, is_copy = _without_copies(batches)
    for photo in load_photos(photo_rows(batches), photos, ahead, is_copy):
        (ready if photo.photo is not None else rest).append(photo)
        if len(ready) == engine.batch_size:
            good, broken = _infer(ready, engine, encoder)
            ready = []
            rest += broken
            results.append(good)
        if len(results) * engine.batch_size >= _ROWS_PER_BATCH:
            yield pa.concat_batches(results)
            results = []
        if len(rest) >= _ROWS_PER_BATCH:
            yield _rows_without_embedding(rest)
            rest = []
    if ready:
        good, broken = _infer(ready, engine, encoder)
        rest += broken
        results.append(good)
    if results:
        yield pa.concat_batches(results)
    if rest:
        yield _rows_without_embedding(rest)


def _without_copies(batches: Iterable[pa.RecordBatch]) -> tuple[Iterable[pa.RecordBatch], IsCopy | None]:
    """The same batches, and what tells copies where the rows say which contents are known."""
    batches = iter(batches)
    first = next(batches, None)
    if first is None:
        return (), None
    batches = chain([first], batches)
    if "known" not in first.schema.names:
        return batches, None
    copies = Copies()
    return copies.register(batches), copies.is_copy


def _infer(
    ready: list[PhotoResult], engine: Engine, encoder: EncoderConfig
) -> tuple[pa.RecordBatch, list[PhotoResult]]:
    """(rows of the images that were embedded, the images for which the network gave NaN or infinity)."""
    embeddings, probabilities, finite = run_network(ready, engine, encoder)
    embeddings = embeddings[finite]
    probabilities = None if probabilities is None else probabilities[finite]
    good = [photo for photo, is_finite in zip(ready, finite, strict=True) if is_finite]
    broken = [
        photo._replace(stage="encode", error=not_finite())
        for photo, is_finite in zip(ready, finite, strict=True)
        if not is_finite
    ]
    columns = {
        **_files(good),
        "width": [photo.photo.width for photo in good],
        "height": [photo.photo.height for photo in good],
        "embedding": _lists(embeddings),
        "probabilities": None if probabilities is None else _lists(probabilities),
    }
    return _record_batch(columns, len(good)), broken


def not_finite() -> ImageError:
    """Why a picture has no embedding though its network ran."""
    return ImageError(Reason.NOT_FINITE, "the network gave NaN or infinity")


def run_network(
    photos: Sequence[PhotoResult], engine: Engine, encoder: EncoderConfig
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """(embeddings (n, d), probabilities (n, c) or None, (n,) bool: whether all numbers of a row are finite).

    photos: decoded, at most engine.batch_size.
    """
    embeddings, probabilities = engine.run(np.stack([photo.photo.pixels for photo in photos]))
    finite = np.isfinite(embeddings).all(axis=1)
    if probabilities is not None:
        finite &= np.isfinite(probabilities).all(axis=1)
    if encoder.unit_norm:
        # A picture that excites nothing keeps its zero vector: it is similar to nothing.
        lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
        embeddings = embeddings / np.maximum(lengths, np.finfo(np.float32).tiny)
    return embeddings, probabilities, finite


def _rows_without_embedding(rows: list[PhotoResult]) -> pa.RecordBatch:
    columns = {
        **_files(rows),
        "stage": [photo.stage for photo in rows],
        "reason": [photo.error and photo.error.reason.value for photo in rows],
        "detail": [photo.error and photo.error.detail for photo in rows],
    }
    return _record_batch(columns, len(rows))


def _files(rows: list[PhotoResult]) -> dict[str, list]:
    return {name: [getattr(photo, name) for photo in rows] for name in ("image_id", "content_hash", "size_bytes")}


def _lists(matrix: np.ndarray) -> pa.ListArray:
    """The rows of a (n, d) float32 matrix as Arrow lists, without a Python object per number."""
    n, d = matrix.shape
    return pa.ListArray.from_arrays(
        pa.array(np.arange(n + 1, dtype=np.int32) * d), pa.array(np.ascontiguousarray(matrix, np.float32).reshape(-1))
    )


def _record_batch(columns: dict[str, list | pa.Array | None], rows: int) -> pa.RecordBatch:
    """A batch of `RESULTS`; columns that are not given are null."""
    arrays = []
    for field in RESULTS:
        values = columns.get(field.name)
        if values is None:
            arrays.append(pa.nulls(rows, field.type))
        else:
            arrays.append(values if isinstance(values, pa.Array) else pa.array(values, field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=RESULTS)
