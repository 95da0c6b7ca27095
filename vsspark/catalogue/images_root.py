"""Which folder the image names of a feed are relative to, guessed by looking for the first pictures."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pyarrow import fs

from vsspark.catalogue.uris import ABSOLUTE
from vsspark.errors import ConfigError
from vsspark.storage.files import first_line
from vsspark.storage.filesystems import S3_SCHEMES, open_filesystem, split_uri

_LOOKED_AT = 20  # pictures
_MOST_FOLDERS = 50


class Found(NamedTuple):
    """root: the folder, or None where the names need none or nobody knows it. known: whether that is the answer.
    note: what was found, for the user."""

    root: str | None
    known: bool
    note: str


def find_images_root(names: Sequence[str], folder: str | None, given: str | None, options: Mapping[str, str]) -> Found:
    """The folder below which the pictures of these names are: `given`, or the table's folder or one in it.

    folder: that of the table, None where it has none. options: as in `storage.filesystems`.
    """
    web = [name for name in names if re.match("(?i)https?://", name)]
    below = [name for name in names if not re.match(ABSOLUTE, name) or name.startswith("/")][:_LOOKED_AT]
    if web and not below:
        note = f"the pictures are links such as {web[0]}, which are fetched from the web; docs/catalogue.md says how"
        return Found(given, True, note)
    if not below:
        return Found(given, True, "image names are absolute")
    if given:
        try:
            note = f"{_count(given, below, options)} of the first {len(below)} pictures are there"
        except ConfigError as error:
            note = str(error)
        return Found(given, True, note)
    if all(name.startswith("/") for name in below) and _count("/", below, options):
        return Found(None, True, "image names are absolute")
    counts = {root: _count(root, below, options) for root in _folders(folder, options)}
    best = max(counts, key=lambda root: counts[root], default=None)
    if best is not None and counts[best]:
        return Found(best, True, f"{counts[best]} of the first {len(below)} pictures are there")
    looked = "" if folder is None else f" below {folder or '.'} or a folder in it"
    return Found(None, False, f"none of the first {len(below)} pictures, such as {below[0]}, is a file{looked}")


def _folders(folder: str | None, options: Mapping[str, str]) -> list[str]:
    """The folder and those in it, as they would be written in the configuration."""
    if folder is None or not _is_read(folder):
        return []
    files, path = open_filesystem(folder or ".", options)
    try:
        listed = files.get_file_info(fs.FileSelector(path, allow_not_found=True))
    except OSError as error:
        raise ConfigError(f"{folder or '.'} cannot be listed: {first_line(error)}") from None
    inner = sorted(info.base_name for info in listed if info.type == fs.FileType.Directory)[:_MOST_FOLDERS]
    return [folder or ".", *[posixpath.join(folder, name) for name in inner if not name.startswith((".", "_"))]]


def _count(root: str, names: Sequence[str], options: Mapping[str, str]) -> int:
    """How many of the names are files below the root."""
    if not _is_read(root):
        return 0
    files, path = open_filesystem(root, options)
    try:
        found = files.get_file_info([posixpath.join(path, name.lstrip("/")) for name in names])
    except (OSError, ValueError) as error:  # ValueError: a name that is none
        raise ConfigError(f"the pictures below {root} cannot be looked for: {first_line(error)}") from None
    return sum(info.type == fs.FileType.File for info in found)


def _is_read(folder: str) -> bool:
    scheme, _ = split_uri(folder)
    return scheme == "file" or scheme in S3_SCHEMES
