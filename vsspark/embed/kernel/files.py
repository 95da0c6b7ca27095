"""What is known of a file without reading it: size and fingerprint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor

import pyarrow as pa

from vsspark.config import ImagesConfig
from vsspark.images.fetch import stat_image
from vsspark.images.listing import list_objects

_REQUESTS = 4  # per fetch thread's worth of the embed stage: a question about a file holds no photo in memory


def stat_files(
    batches: Iterable[pa.RecordBatch], images: ImagesConfig, storage_options: Mapping[str, str]
) -> Iterator[pa.RecordBatch]:
    """The batches, one row a file at `uri`, with its size_bytes and fingerprint; both are null where the file cannot
    be reached.

    Objects of one folder are told by listings where a batch names many (`images.listing`): sort the rows by uri.
    """
    threads = _REQUESTS * images.fetch_threads
    with ThreadPoolExecutor(threads, thread_name_prefix="files") as pool:
        for batch in batches:
            uris = batch.column("uri").to_pylist()
            stated = list_objects(uris, images, storage_options)
            rest = [uri for uri in dict.fromkeys(uris) if uri not in stated]
            stated |= _ask(pool, threads, rest, images, storage_options)
            sizes, fingerprints = ([stated[uri] and stated[uri][i] for uri in uris] for i in (0, 1))
            yield batch.append_column("size_bytes", pa.array(sizes, pa.int64())).append_column(
                "fingerprint", pa.array(fingerprints, pa.string())
            )


def _ask(
    pool: Executor, threads: int, uris: list[str], images: ImagesConfig, storage_options: Mapping[str, str]
) -> dict[str, tuple[int, str] | None]:
    # Handing one file to a thread takes as long as a look at a local disk.
    size = max(1, min(16, len(uris) // (4 * threads)))
    parts = [uris[start : start + size] for start in range(0, len(uris), size)]
    answers = pool.map(lambda part: [stat_image(uri, images, storage_options) for uri in part], parts)
    return dict(zip(uris, (answer for part in answers for answer in part), strict=True))
