"""Record batches of (image_id, uri, box) to record batches of embeddings and refusals: what one Spark task does,
without Spark.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import cv2
import numpy as np
import pyarrow as pa

from vsspark.config import EncoderConfig, ImagesConfig
from vsspark.embed.kernel.photos import Loaded, load_photos, photo_rows
from vsspark.encoders.engines import Engine
from vsspark.errors import ImageError, Reason

# One row per image. `reason` is null for an embedded one; `embedding`, `probabilities`, `width` and `height` are null
# for a refused one.
EMBEDDED = pa.schema([
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
    batches: Iterable[pa.RecordBatch],
    engine: Engine,
    size: tuple[int, int],
    images: ImagesConfig,
    encoder: EncoderConfig,
    storage_options: Mapping[str, str],
    threads: int,
) -> Iterator[pa.RecordBatch]:
    """Record batches of `EMBEDDED`, one row per row of `image_id`, `uri` and, where there is one, `box` that comes
    in, in any order.

    size: (height, width) of the encoder's input. threads: cores this task may use. Photos are fetched and decoded
    ahead while the network runs; at most three of its batches are held, and the results of a batch or of 64 images.
    """
    # The pool is the parallelism; OpenCV would start a thread per core of the machine in every worker.
    cv2.setNumThreads(1)
    ahead = images.fetch_threads + 2 * engine.batch_size
    ready: list[Loaded] = []
    refused: list[Loaded] = []
    embedded: list[pa.RecordBatch] = []
    for loaded in load_photos(photo_rows(batches), size, images, storage_options, threads, ahead):
        (ready if loaded.error is None else refused).append(loaded)
        if len(ready) == engine.batch_size:
            good, broken = _infer(ready, engine, encoder)
            ready = []
            refused += broken
            embedded.append(good)
        if len(embedded) * engine.batch_size >= _ROWS_PER_BATCH:
            yield pa.concat_batches(embedded)
            embedded = []
        if len(refused) >= _ROWS_PER_BATCH:
            yield _refusals(refused)
            refused = []
    if ready:
        good, broken = _infer(ready, engine, encoder)
        refused += broken
        embedded.append(good)
    if embedded:
        yield pa.concat_batches(embedded)
    if refused:
        yield _refusals(refused)


def _infer(ready: list[Loaded], engine: Engine, encoder: EncoderConfig) -> tuple[pa.RecordBatch, list[Loaded]]:
    """(rows of the images that were embedded, the images for which the network gave NaN or infinity)."""
    embeddings, probabilities = engine.run(np.stack([loaded.photo.pixels for loaded in ready]))
    finite = np.isfinite(embeddings).all(axis=1)  # (n,)
    if probabilities is not None:
        finite &= np.isfinite(probabilities).all(axis=1)
        probabilities = probabilities[finite]
    embeddings = embeddings[finite]
    if encoder.unit_norm:
        # A picture that excites nothing keeps its zero vector: it is similar to nothing.
        embeddings = embeddings / np.maximum(
            np.linalg.norm(embeddings, axis=1, keepdims=True), np.finfo(np.float32).tiny
        )
    good = [loaded for loaded, is_finite in zip(ready, finite, strict=True) if is_finite]
    error = ImageError(Reason.NOT_FINITE, "the network gave NaN or infinity")
    broken = [
        loaded._replace(stage="encode", error=error)
        for loaded, is_finite in zip(ready, finite, strict=True)
        if not is_finite
    ]
    columns = {
        **_files(good),
        "width": [loaded.photo.width for loaded in good],
        "height": [loaded.photo.height for loaded in good],
        "embedding": _lists(embeddings),
        "probabilities": None if probabilities is None else _lists(probabilities),
    }
    return _record_batch(columns, len(good)), broken


def _refusals(refused: list[Loaded]) -> pa.RecordBatch:
    columns = {
        **_files(refused),
        "stage": [loaded.stage for loaded in refused],
        "reason": [loaded.error.reason.value for loaded in refused],
        "detail": [loaded.error.detail for loaded in refused],
    }
    return _record_batch(columns, len(refused))


def _files(rows: list[Loaded]) -> dict[str, list]:
    return {name: [getattr(loaded, name) for loaded in rows] for name in ("image_id", "content_hash", "size_bytes")}


def _lists(matrix: np.ndarray) -> pa.ListArray:
    """The rows of a (n, d) float32 matrix as Arrow lists, without a Python object per number."""
    n, d = matrix.shape
    return pa.ListArray.from_arrays(
        pa.array(np.arange(n + 1, dtype=np.int32) * d), pa.array(np.ascontiguousarray(matrix, np.float32).reshape(-1))
    )


def _record_batch(columns: dict[str, list | pa.Array | None], rows: int) -> pa.RecordBatch:
    """A batch of `EMBEDDED`; columns that are not given are null."""
    arrays = []
    for field in EMBEDDED:
        values = columns.get(field.name)
        if values is None:
            arrays.append(pa.nulls(rows, field.type))
        else:
            arrays.append(values if isinstance(values, pa.Array) else pa.array(values, field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=EMBEDDED)
