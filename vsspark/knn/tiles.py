"""Tile files: prepared rows of one block, a record batch each, that tasks read straight from storage instead of from
a shuffle.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import fs

from vsspark.storage.filesystems import open_filesystem

MEMBERS, ITEMS, QUERIES = 0, 1, 2  # a tile's role: items that search their block; items alone; queries from elsewhere


class Tile(NamedTuple):
    """Where a tile is and what a plan needs to know of it."""

    uri: str
    batch: int  # of the file's record batches
    rows: int
    block: int
    role: int  # MEMBERS, ITEMS or QUERIES


class TileRows(NamedTuple):
    """A tile's content."""

    vectors: np.ndarray  # (n, d) float32, or (n, words) uint64 bits
    ids: np.ndarray  # (n,) int64, rising
    groups: np.ndarray  # (n,) int64
    floors: np.ndarray  # (n,) float32: values below which a row wants no neighbour


def write_tiles(folder: str, name: str, tiles: list[TileRows], storage_options: Mapping[str, str] | None) -> str:
    """The URI of one file that holds the tiles, a record batch each; a second attempt of the task replaces the first
    one's whole file.
    """
    uri = f"{folder.rstrip('/')}/{name}.arrow"
    batches = [_to_batch(tile) for tile in tiles]
    with _written_whole(uri, storage_options) as stream, pa.ipc.new_file(stream, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return uri


@contextmanager
def _written_whole(uri: str, storage_options: Mapping[str, str] | None) -> Iterator[pa.NativeFile]:
    """A stream to a file that is there as a whole or not at all: an object is so by itself, a local file is moved
    into place.
    """
    store, path = open_filesystem(uri, storage_options)
    if not isinstance(store, fs.LocalFileSystem):
        with store.open_output_stream(path) as stream:
            yield stream
        return
    store.create_dir(path.rpartition("/")[0], recursive=True)
    unfinished = f"{path.rpartition('/')[0]}/.{uuid.uuid4().hex}"  # no name that a reader looks for
    with store.open_output_stream(unfinished) as stream:
        yield stream
    store.move(unfinished, path)


def write_text(folder: str, name: str, text: str, storage_options: Mapping[str, str] | None) -> None:
    """A small file beside the tiles, there as a whole or not at all."""
    with _written_whole(f"{folder.rstrip('/')}/{name}", storage_options) as stream:
        stream.write(text.encode())


def read_texts(folder: str, prefix: str, storage_options: Mapping[str, str] | None) -> list[str]:
    """The contents of the small files whose names start with the prefix."""
    store, path = open_filesystem(folder, storage_options)
    names = sorted(
        info.path
        for info in store.get_file_info(fs.FileSelector(path, allow_not_found=True))
        if info.base_name.startswith(prefix)
    )
    return [store.open_input_file(name).read().decode() for name in names]


def holds_files(folder: str, storage_options: Mapping[str, str] | None) -> bool:
    """Whether the folder is there."""
    store, path = open_filesystem(folder, storage_options)
    return store.get_file_info(path).type == fs.FileType.Directory


def read_tile(tile: Tile, storage_options: Mapping[str, str] | None) -> TileRows:
    """The tile's rows: a view of the mapped file where it is local, else the bytes of this one record batch."""
    store, path = open_filesystem(tile.uri, storage_options)
    source = pa.memory_map(path) if isinstance(store, fs.LocalFileSystem) else store.open_input_file(path)
    batch = pa.ipc.open_file(source).get_batch(tile.batch)
    vectors = batch.column("vector")
    return TileRows(
        vectors.flatten().to_numpy().reshape(len(vectors), vectors.type.list_size),
        batch.column("id").to_numpy(),
        batch.column("group").to_numpy(),
        batch.column("floor").to_numpy(),
    )


def _to_batch(tile: TileRows) -> pa.RecordBatch:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(tile.vectors.reshape(-1)), tile.vectors.shape[1])
    columns = {"id": tile.ids, "group": tile.groups, "floor": tile.floors}
    return pa.record_batch({name: pa.array(column) for name, column in columns.items()} | {"vector": vectors})
