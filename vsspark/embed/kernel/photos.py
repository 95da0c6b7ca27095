"""Photos fetched and decoded ahead of the network, by a bounded pool of threads."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import pyarrow as pa

from vsspark.config import ImagesConfig
from vsspark.errors import ImageError
from vsspark.images.decode import Photo
from vsspark.images.fetch import read_image
from vsspark.images.fit import Fit
from vsspark.images.product import decode_product

# (image_id, SHA-256 of its file, box) -> whether another image of the task, or of an earlier run, stands for it
IsCopy = Callable[[int, str, str | None], bool]


class PhotoSource(NamedTuple):
    """How photos are read and decoded."""

    size: tuple[int, int] | Fit  # (height, width) of the results, pixels, or how they are fitted
    config: ImagesConfig
    storage_options: Mapping[str, str]
    threads: int  # photos decoded at a time: the task's cores


class PhotoResult(NamedTuple):
    """One image for the network, or the stage and the error that ended it; neither photo nor error: a copy."""

    image_id: int
    content_hash: str | None = None  # SHA-256 of the bytes, hex
    size_bytes: int | None = None
    photo: Photo | None = None
    stage: str | None = None  # fetch or decode, where it failed
    error: ImageError | None = None


def load_photos(
    rows: Iterable[tuple[int, str, str | None]], source: PhotoSource, ahead: int, is_copy: IsCopy | None = None
) -> Iterator[PhotoResult]:
    """One `PhotoResult` per (image_id, uri, box or None), as they are ready: a slow object delays nothing but itself.

    ahead: photos requested and not yet consumed, which bounds the memory together with source.config: fetch_threads *
    max_bytes of files, threads * max_pixels * 19 bytes of decoding, ahead * h * w * 3 of results. is_copy: whether a
    content needs no decoding; None = every photo is decoded.
    """
    decoding = threading.Semaphore(source.threads)
    results: queue.SimpleQueue[Future[PhotoResult]] = queue.SimpleQueue()
    rows = iter(rows)
    pool = ThreadPoolExecutor(source.config.fetch_threads, thread_name_prefix="photos")
    waiting = 0
    try:
        while True:
            for row in islice(rows, ahead - waiting):
                pool.submit(_load, row, source, decoding, is_copy).add_done_callback(results.put)
                waiting += 1
            if waiting == 0:
                return
            yield results.get().result()
            waiting -= 1
    finally:
        pool.shutdown(cancel_futures=True)  # a cancelled task leaves no thread behind that still fetches


def photo_rows(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, str, str | None]]:
    """The rows of `image_id`, `uri` and, where the batches have it, `box`, as `load_photos` takes them."""
    for batch in batches:
        boxes = batch.column("box").to_pylist() if "box" in batch.schema.names else [None] * batch.num_rows
        yield from zip(batch.column("image_id").to_pylist(), batch.column("uri").to_pylist(), boxes, strict=True)


def _load(
    row: tuple[int, str, str | None], source: PhotoSource, decoding: threading.Semaphore, is_copy: IsCopy | None
) -> PhotoResult:
    image_id, uri, box = row
    try:
        data = read_image(uri, source.config, source.storage_options)
    except ImageError as error:
        return PhotoResult(image_id, stage="fetch", error=error)
    content_hash = hashlib.sha256(data).hexdigest()
    if is_copy is not None and is_copy(image_id, content_hash, box):
        return PhotoResult(image_id, content_hash, len(data))
    try:
        with decoding:
            photo = decode_product(data, source.size, source.config, box)
    except ImageError as error:
        return PhotoResult(image_id, content_hash, len(data), stage="decode", error=error)
    return PhotoResult(image_id, content_hash, len(data), photo)
