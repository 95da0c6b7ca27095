"""Which files of a task are copies: of a content that has an embedding already, or of another file of the task."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

import pyarrow as pa

PREFIX_DIGITS = 15  # hex digits of a content's hash that a task is told: 60 bits, a long


class Copies:
    """Answers `is_copy` for the files of one task; safe to call from several threads.

    Memory: a hash per file of the task, and 8 bytes per content that was known before.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[int, frozenset[int]] = {}
        self._contents: set[tuple[str, str | None]] = set()

    def register(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Passes the batches on; notes their `known`: the first 60 bits of the contents each file may be a copy of."""
        for batch in batches:
            pairs = zip(batch.column("image_id").to_pylist(), batch.column("known").to_pylist(), strict=True)
            self._known.update({image_id: frozenset(known) for image_id, known in pairs if known})
            yield batch

    def is_copy(self, image_id: int, content_hash: str, box: str | None) -> bool:
        """Whether this content is known, or this is not the first file of the task that has it.

        Two contents that share 60 bits of their hashes are taken for one here. Whoever uses the answer finds no
        embedding of the second and asks again without `known` (`vsspark.job.embed`).
        """
        known = self._known.pop(image_id, frozenset())
        if int(content_hash[:PREFIX_DIGITS], 16) in known:
            return True
        with self._lock:
            met = (content_hash, box) in self._contents
            self._contents.add((content_hash, box))
        return met
