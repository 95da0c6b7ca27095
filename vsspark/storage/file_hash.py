"""Size and SHA-256 of a file, read in pieces. Free of Spark."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from vsspark.storage.filesystems import open_filesystem

_PIECE = 2**20


def sha256(uri: str, storage_options: Mapping[str, str] | None = None) -> tuple[int, str]:
    """(bytes, SHA-256 in hex) of a file. uri: a local path, file: or s3a://."""
    store, path = open_filesystem(uri, storage_options)
    digest, size = hashlib.sha256(), 0
    with store.open_input_stream(path) as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()
