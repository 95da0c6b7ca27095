"""An index: packed tiles that are kept from night to night, with a manifest that says what they hold.

    FOLDER/manifest-0000000007.json     what the index is: settings, tiles, the file of struck-out rows; never changed
    FOLDER/tiles/NAME.arrow             tile files; never changed
    FOLDER/struck/NAME.arrow            row positions that are struck out, a record batch for each tile; never changed

The newest manifest that can be read is the index. A commit writes new files and then one new manifest, so a run that
is killed leaves the index as it was. One writer at a time: whoever holds the output's lock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from vsspark.knn.bits import VERSION
from vsspark.knn.tiles import (
    Tile,
    delete_file,
    list_files,
    read_struck,
    read_text,
    write_struck,
    write_text,
)

FORMAT = 1  # of manifest and tile files
METRICS = ("cosine", "l2", "l1")  # hamming's bits are cut at the medians of all rows: every night's are others
OUTSIDE = -1  # the block of rows that only search
_MANIFEST = "manifest-"
_KEPT = 2  # manifests whose files stay: a search that goes on after a kill may still read those of the one before


class Settings(NamedTuple):
    """What an index must have been made with to be of use."""

    metric: str
    model_version: str
    dimension: int | None = None  # None: any

    def recorded(self) -> dict[str, str | int | None]:
        """The settings as a manifest holds them, with the versions of the code."""
        return {**self._asdict(), "format": FORMAT, "values": VERSION}


class Entry(NamedTuple):
    """A tile as the manifest holds it."""

    file: str  # below FOLDER/tiles
    batch: int
    stored: int  # rows in the file
    block: int  # a position in `Index.blocks`, or OUTSIDE
    role: int
    struck: int = 0  # rows struck out
    struck_batch: int = -1  # of the file of struck-out rows

    @property
    def rows(self) -> int:
        """Rows that are not struck out."""
        return self.stored - self.struck


class Index(NamedTuple):
    """An index as one manifest describes it."""

    folder: str
    storage_options: Mapping[str, str] | None
    settings: Settings
    tile_rows: int = 0  # rows of a full tile
    version: int = 0  # 0: nothing is written yet
    label: str = ""  # the caller's name for what it holds, such as a digest of the tables
    blocks: tuple[str, ...] = ()  # names by number; only ever appended to
    next_tile: int = 0
    entries: Mapping[int, Entry] = {}  # by tile number
    struck_file: str = ""

    def tiles(self) -> dict[int, Tile]:
        """The tiles as a search reads them."""
        return {
            number: Tile(
                f"{self.folder}/tiles/{entry.file}",
                entry.batch,
                entry.rows,
                entry.block,
                entry.role,
                (f"{self.folder}/struck/{self.struck_file}", entry.struck_batch) if entry.struck else None,
            )
            for number, entry in self.entries.items()
        }

    def rows(self) -> int:
        """Rows that are not struck out."""
        return sum(entry.rows for entry in self.entries.values())

    def row_bytes(self) -> int:
        """Bytes of a vector; 0 where the index is empty."""
        return (self.settings.dimension or 0) * 4


def new_index(folder: str, settings: Settings, storage_options: Mapping[str, str] | None = None) -> Index:
    """An empty index; its first commit replaces whatever the folder holds."""
    folder = folder.rstrip("/")
    return Index(folder, storage_options, settings, version=max(_versions(folder, storage_options), default=0))


def open_index(
    folder: str, settings: Settings, storage_options: Mapping[str, str] | None = None
) -> tuple[Index | None, str]:
    """(the index, "") or (None, why it is of no use): build a `new_index` then, and say why."""
    folder = folder.rstrip("/")
    if settings.metric not in METRICS:
        return None, f"no index is kept for metric {settings.metric}"
    versions = _versions(folder, storage_options)
    if not versions:
        return None, f"there is no index at {folder}"
    try:
        read = json.loads(read_text(folder, _name(max(versions)), storage_options))
        found = _from_json(read, folder, storage_options, max(versions))
    except (ValueError, KeyError, TypeError) as error:
        return None, f"{_name(max(versions))} cannot be read: {error}"
    wanted = settings.recorded()
    for name, value in wanted.items():
        there = read["settings"].get(name)
        if value is not None and there != value:
            return None, f"it was made with {name.replace('_', ' ')} {there}, not {value}"
    files = set(list_files(f"{folder}/tiles", storage_options))
    missing = sorted({entry.file for entry in found.entries.values()} - files)
    if missing:
        return None, f"{len(missing)} of its tile files are missing, such as {missing[0]}"
    if found.struck_file and found.struck_file not in list_files(f"{folder}/struck", storage_options):
        return None, f"its file of struck-out rows is missing, {found.struck_file}"
    return found, ""


class Change(NamedTuple):
    """What a commit does to an index."""

    added: Iterable[Entry] = ()  # numbered from next_tile
    struck: Mapping[int, np.ndarray] = {}  # tile number -> further row positions
    removed: frozenset[int] = frozenset()  # tile numbers
    blocks: tuple[str, ...] | None = None
    label: str | None = None


def commit(index: Index, change: Change, name: str) -> Index:
    """The changed index, written. name: of the new file of struck-out rows; unique."""
    entries = {number: entry for number, entry in index.entries.items() if number not in change.removed}
    positions = struck_rows(index)
    for number, more in change.struck.items():
        positions[number] = np.union1d(positions.get(number, np.empty(0, np.int32)), more).astype(np.int32)
    number = index.next_tile
    for entry in change.added:
        entries[number] = entry
        number += 1
    entries = {
        number: entry._replace(struck=len(positions[number])) if number in positions else entry
        for number, entry in entries.items()
    }
    entries = {number: entry for number, entry in sorted(entries.items()) if entry.rows}
    struck = {number: positions[number] for number in entries if number in positions}
    struck_file = f"{name}.arrow" if struck else ""
    if struck:
        write_struck(f"{index.folder}/struck", name, list(struck.values()), index.storage_options)
        entries |= {number: entries[number]._replace(struck_batch=batch) for batch, number in enumerate(struck)}
    changed = index._replace(
        version=index.version + 1,
        label=index.label if change.label is None else change.label,
        blocks=index.blocks if change.blocks is None else change.blocks,
        next_tile=number,
        entries=entries,
        struck_file=struck_file,
    )
    write_text(changed.folder, _name(changed.version), _to_json(changed), changed.storage_options)
    return changed


def struck_rows(index: Index) -> dict[int, np.ndarray]:
    """The struck-out row positions of each tile that has any."""
    batches = {number: entry.struck_batch for number, entry in index.entries.items() if entry.struck}
    if not batches:
        return {}
    found = read_struck(f"{index.folder}/struck/{index.struck_file}", index.storage_options)
    return {number: found[batch] for number, batch in batches.items()}


def delete_unused(index: Index) -> int:
    """How many files were deleted: those that neither this manifest nor the one before it names."""
    options, deleted = index.storage_options, 0
    versions = sorted(v for v in _versions(index.folder, options) if v <= index.version)
    kept: set[str] = set()
    for version in versions[-_KEPT:]:
        read = _from_json(json.loads(read_text(index.folder, _name(version), options)), index.folder, options, version)
        kept |= {f"tiles/{entry.file}" for entry in read.entries.values()} | {f"struck/{read.struck_file}"}
    unused = [_name(version) for version in versions[:-_KEPT]]
    for folder in ("tiles", "struck"):
        names = list_files(f"{index.folder}/{folder}", options)
        unused += [f"{folder}/{name}" for name in names if f"{folder}/{name}" not in kept]
    for name in unused:
        delete_file(f"{index.folder}/{name}", options)
        deleted += 1
    return deleted


def _versions(folder: str, storage_options: Mapping[str, str] | None) -> list[int]:
    names = list_files(folder, storage_options)
    return [int(name[len(_MANIFEST) : -len(".json")]) for name in names if name.startswith(_MANIFEST)]


def _name(version: int) -> str:
    return f"{_MANIFEST}{version:010d}.json"


def _to_json(index: Index) -> str:
    columns = {name: value for name, value in index._asdict().items() if name not in ("folder", "storage_options")}
    return json.dumps(columns | {"settings": index.settings.recorded()})


def _from_json(read: dict, folder: str, storage_options: Mapping[str, str] | None, version: int) -> Index:
    settings = Settings(*(read["settings"][name] for name in Settings._fields))
    entries = {int(number): Entry(*fields) for number, fields in read["entries"].items()}
    return Index(
        folder,
        storage_options,
        settings,
        read["tile_rows"],
        version,
        read["label"],
        tuple(read["blocks"]),
        read["next_tile"],
        entries,
        read["struck_file"],
    )
