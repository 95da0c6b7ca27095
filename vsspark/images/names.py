"""Other names under which a file may lie that its catalogue's name does not find.

Macs store names decomposed (NFD: `u` and two dots) where catalogues mostly hold them composed (NFC: `ü`). Spark's
`input_file_name` percent-encodes what it returns (`a%20b.jpg`). A name as it is written always comes first.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote


def percent_decoded(name: str) -> str | None:
    """The name decoded once; None where it holds nothing encoded, or would lead elsewhere by a slash or `..`."""
    decoded = unquote(name, errors="surrogateescape")
    if decoded == name or decoded.count("/") != name.count("/") or "\0" in decoded:
        return None
    above = any(after == ".." != before for before, after in zip(name.split("/"), decoded.split("/"), strict=True))
    return None if above else decoded


def local_path(path: str, encoded: bool) -> str | None:
    """The path of what lies there under another of its names; None where there is nothing.

    encoded: whether the name may be percent-encoded, as those of `file:` URIs. Costs a look at the disk or two for each
    folder of a name with non-ASCII letters.
    """
    for name in (path, percent_decoded(path) if encoded else None):
        if name is not None and (found := _in_any_form("", name)) is not None:
            return found
    return None


def object_keys(key: str) -> list[str]:
    """The other names of an object; none for a name in ASCII without a percent sign."""
    names = [key] + ([decoded] if (decoded := percent_decoded(key)) is not None else [])
    forms = dict.fromkeys(form for name in names for form in _forms(name))
    return [form for form in forms if form != key and not re.search("[\ud800-\udfff]", form)]


def _forms(name: str) -> Iterator[str]:
    yield name
    if not name.isascii():
        yield unicodedata.normalize("NFC", name)
        yield unicodedata.normalize("NFD", name)


def _in_any_form(folder: str, name: str) -> str | None:
    """The path below the folder, each part in the form that lies there."""
    if name.isascii():
        return folder + name if os.path.lexists(folder + name) else None
    part, slash, rest = name.partition("/")
    for form in dict.fromkeys(_forms(part)):
        there = not form or os.path.lexists(folder + form)
        if there and (not rest or (found := _in_any_form(folder + form + slash, rest)) is not None):
            return found if rest else folder + form + slash
    return None
