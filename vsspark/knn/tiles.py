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

from vsspark.arrow import to_array
from vsspark.errors import StorageError
from vsspark.storage.filesystems import open_filesystem

MEMBERS, ITEMS, QUERIES = 0, 1, 2  # a tile's role: items that search their block; items alone; queries from elsewhere


class Tile(NamedTuple):
    """Where a tile is and what a plan needs to know of it."""

    uri: str
    batch: int  # of the file's record batches
    rows: int  # that are not struck out
    block: int
    role: int  # MEMBERS, ITEMS or QUERIES
    struck: tuple[str, int] | None = None  # file and batch of the positions of rows that are struck out


class TileRows(NamedTuple):
    """A tile's content."""

    vectors: np.ndarray  # (n, d) float32, or (n, words) uint64 bits
    ids: np.ndarray  # (n,) int64, rising
    groups: np.ndarray  # (n,) int64
    floors: np.ndarray  # (n,) float32: values below which a row wants no neighbour
    contents: pa.Array | None = None  # (n,) strings: what each row was embedded from; only in an index

    def take(self, rows: np.ndarray) -> TileRows:
        """Some of the rows."""
        columns = (column[rows] for column in self[:4])
        return TileRows(*columns, None if self.contents is None else self.contents.take(pa.array(rows)))


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


def read_text(folder: str, name: str, storage_options: Mapping[str, str] | None) -> str:
    """The content of a small file."""
    store, path = open_filesystem(f"{folder.rstrip('/')}/{name}", storage_options)
    return store.open_input_file(path).read().decode()


def list_files(folder: str, storage_options: Mapping[str, str] | None) -> list[str]:
    """The names of the files in a folder, sorted; none where there is no folder."""
    store, path = open_filesystem(folder, storage_options)
    found = store.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return sorted(info.base_name for info in found if info.type == fs.FileType.File)


def delete_file(uri: str, storage_options: Mapping[str, str] | None) -> None:
    """Delete a file."""
    store, path = open_filesystem(uri, storage_options)
    store.delete_file(path)


def read_tile(tile: Tile, storage_options: Mapping[str, str] | None) -> TileRows:
    """The tile's rows: a view of the mapped file where it is local, else the bytes of this one record batch. A copy
    where rows are struck out.
    """
    rows = stored_rows(tile, storage_options)
    return rows if tile.struck is None else rows.take(kept_positions(tile, len(rows.ids), storage_options))


def stored_rows(tile: Tile, storage_options: Mapping[str, str] | None) -> TileRows:
    """As `read_tile`, with the rows that are struck out: never a copy of a local file."""
    batch = _read_batch(tile.uri, tile.batch, storage_options)
    vectors = batch.column("vector")
    return TileRows(
        to_array(vectors.flatten()).reshape(len(vectors), vectors.type.list_size),
        to_array(batch.column("id")),
        to_array(batch.column("group")),
        to_array(batch.column("floor")),
        batch.column("content") if "content" in batch.schema.names else None,
    )


def read_facts(tile: Tile, storage_options: Mapping[str, str] | None) -> pa.RecordBatch:
    """id, group, content and position in the file of a tile's rows; the vectors are not read."""
    batch = _read_batch(tile.uri, tile.batch, storage_options, ["id", "group", "content"])
    batch = batch.append_column("position", pa.array(np.arange(batch.num_rows, dtype=np.int32)))
    return batch if tile.struck is None else batch.take(pa.array(kept_positions(tile, batch.num_rows, storage_options)))


def read_ids(tile: Tile, storage_options: Mapping[str, str] | None) -> pa.Array:
    """The ids of a tile's rows; nothing else is read."""
    ids = _read_batch(tile.uri, tile.batch, storage_options, ["id"]).column("id")
    return ids if tile.struck is None else ids.take(pa.array(kept_positions(tile, len(ids), storage_options)))


def write_facts_of(
    folder: str, number: int, ids: np.ndarray, facts: tuple[np.ndarray, np.ndarray], options: Mapping[str, str] | None
) -> None:
    """Facts of a tile's rows, beside the tiles. facts: codes (n, columns) int64 and amounts (n,) float64."""
    codes, amounts = facts
    columns = {"id": pa.array(ids), "amount": pa.array(amounts)}
    columns |= {f"code{column}": pa.array(codes[:, column]) for column in range(codes.shape[1])}
    batch = pa.record_batch(columns)
    uri = f"{folder.rstrip('/')}/facts/{number:06d}.arrow"
    with _written_whole(uri, options) as stream, pa.ipc.new_file(stream, batch.schema) as writer:
        writer.write_batch(batch)


def read_facts_of(
    folder: str, number: int, ids: np.ndarray, options: Mapping[str, str] | None
) -> tuple[np.ndarray, np.ndarray]:
    """What `write_facts_of` wrote, in the order of the ids. Raises StorageError where an id is not among them."""
    batch = _read_batch(f"{folder.rstrip('/')}/facts/{number:06d}.arrow", 0, options)
    known = to_array(batch.column("id"))
    place = np.minimum(np.searchsorted(known, ids), max(0, len(known) - 1))
    if len(ids) and (not len(known) or (known[place] != ids).any()):
        raise StorageError(f"{folder}: the facts of tile {number} are of other rows; delete the folder and run again")
    names = [name for name in batch.schema.names if name.startswith("code")]
    codes = np.stack([to_array(batch.column(name))[place] for name in names], axis=1) if names else None
    return np.empty((len(ids), 0), np.int64) if codes is None else codes, to_array(batch.column("amount"))[place]


def kept_positions(tile: Tile, stored: int, storage_options: Mapping[str, str] | None) -> np.ndarray:
    """The positions that are not struck out."""
    there = np.ones(stored, bool)
    if tile.struck is not None:
        there[to_array(_read_batch(*tile.struck, storage_options).column("position"))] = False
    return np.flatnonzero(there)


def write_struck(
    folder: str, name: str, positions: list[np.ndarray], storage_options: Mapping[str, str] | None
) -> None:
    """One file of row positions, (n,) int32 each, a record batch for each tile."""
    schema = pa.schema([("position", pa.int32())])
    with (
        _written_whole(f"{folder.rstrip('/')}/{name}.arrow", storage_options) as stream,
        pa.ipc.new_file(stream, schema) as writer,
    ):
        for each in positions:
            writer.write_batch(pa.record_batch([pa.array(each, pa.int32())], schema=schema))


def read_struck(uri: str, storage_options: Mapping[str, str] | None) -> list[np.ndarray]:
    """What `write_struck` wrote."""
    store, path = open_filesystem(uri, storage_options)
    file = pa.ipc.open_file(store.open_input_file(path))
    return [file.get_batch(i).column("position").to_numpy() for i in range(file.num_record_batches)]


def _read_batch(
    uri: str, number: int, storage_options: Mapping[str, str] | None, columns: list[str] | None = None
) -> pa.RecordBatch:
    store, path = open_filesystem(uri, storage_options)
    source = pa.memory_map(path) if isinstance(store, fs.LocalFileSystem) else store.open_input_file(path)
    file = pa.ipc.open_file(source)
    if columns is not None:
        wanted = [file.schema.get_field_index(name) for name in columns]
        source.seek(0)
        file = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=wanted))
    return file.get_batch(number)


def _to_batch(tile: TileRows) -> pa.RecordBatch:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(tile.vectors.reshape(-1)), tile.vectors.shape[1])
    columns = {"id": tile.ids, "group": tile.groups, "floor": tile.floors}
    batch = {name: pa.array(column) for name, column in columns.items()} | {"vector": vectors}
    return pa.record_batch(batch if tile.contents is None else batch | {"content": tile.contents})
