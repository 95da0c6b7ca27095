"""Facts of a file without the network: size and fingerprint without reading it, or the hash of its bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from vsspark.config import ImagesConfig
from vsspark.errors import ImageError
from vsspark.images.fetch import read_image, stat_image

_REQUESTS = 4  # per fetch thread's worth of the embed stage: a question about a file holds no photo in memory


def stat_files(
    batches: Iterable[pa.RecordBatch], images: ImagesConfig, storage_options: Mapping[str, str]
) -> Iterator[pa.RecordBatch]:
    """The batches, one row a file at `uri`, with its size_bytes and fingerprint; both are null where the file cannot
    be reached.
    """
    for batch, answers in _answers(
        batches, lambda uri: stat_image(uri, images, storage_options), _REQUESTS * images.fetch_threads
    ):
        sizes, fingerprints = ([None if f is None else f[i] for f in answers] for i in (0, 1))
        yield batch.append_column("size_bytes", pa.array(sizes, pa.int64())).append_column(
            "fingerprint", pa.array(fingerprints, pa.string())
        )


def hash_files(
    batches: Iterable[pa.RecordBatch], images: ImagesConfig, storage_options: Mapping[str, str]
) -> Iterator[pa.RecordBatch]:
    """The batches, one row a file at `uri`, with content_hash in its place: SHA-256 of the bytes, hex; null where the
    file cannot be read.

    Memory: fetch_threads * max_bytes.
    """

    def content_hash(uri: str) -> str | None:
        try:
            return hashlib.sha256(read_image(uri, images, storage_options)).hexdigest()
        except ImageError:
            return None  # the embed stage will meet the same file, and say why

    for batch, answers in _answers(batches, content_hash, images.fetch_threads):
        columns = batch.select([name for name in batch.schema.names if name != "uri"])
        yield columns.append_column("content_hash", pa.array(answers, pa.string()))


def _answers(batches: Iterable[pa.RecordBatch], ask: Callable, threads: int) -> Iterator[tuple[pa.RecordBatch, list]]:
    with ThreadPoolExecutor(threads, thread_name_prefix="files") as pool:
        for batch in batches:
            uris = batch.column("uri").to_pylist()
            # Handing one file to a thread takes as long as a look at a local disk.
            size = max(1, min(16, len(uris) // (4 * threads)))
            parts = [uris[start : start + size] for start in range(0, len(uris), size)]
            yield (
                batch,
                [answer for part in pool.map(lambda part: [ask(uri) for uri in part], parts) for answer in part],
            )
