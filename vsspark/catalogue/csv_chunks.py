"""A large text feed cut into chunks that begin and end with whole records, exactly as one reader would find them.

Every task reads a chunk from the first line that begins in it, as if a record began there, and says where records
begin: the first of them, and the first one behind the chunk. If the chunk before has its end among the former, reading
from there gives the same records, since they depend only on the line that reading begins at. If not (a quoted field of
thousands of lines), the chunk is read again from its true start.
"""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from vsspark.catalogue.csv_dialect import LONE, Dialect, split_lines
from vsspark.catalogue.csv_records import parse_page

CHUNK = 16 * 2**20  # bytes a task parses
_BLOCK = 2**20
_STARTS = 2000  # records at a chunk's beginning whose places are said


class Chunk(NamedTuple):
    """A stretch of a file: bytes [start, end) are whole records, the first of them begins in line `line`."""

    path: str
    start: int
    end: int
    line: int


class Scan(NamedTuple):
    """starts: (byte, lines before it) of a chunk's first records. end: the same of the first record behind it."""

    starts: list[tuple[int, int]]
    end: tuple[int, int]


def cuts(start: int, size: int) -> list[tuple[int, int]]:
    """[start, size) in stretches of about CHUNK bytes."""
    n = max(1, round((size - start) / CHUNK))
    edges = [start + (size - start) * i // n for i in range(n + 1)]
    return list(itertools.pairwise(edges))


def scan(file: BinaryIO, start: int, stop: int, dialect: Dialect, width: int, exact: bool) -> Scan:
    """Where records begin in [start, stop) of a file. exact: whether one begins at `start`, else at its next line."""
    file.seek(start if exact else start - 1)
    skipping, at, line = not exact, start if exact else start - 1, 0
    found: list[tuple[int, int]] = []
    lines: list[str] = []
    cut = ""
    while True:
        block = file.read(_BLOCK).decode("latin-1")
        fresh = split_lines(cut + block, dialect.newline)
        cut = fresh.pop() if block and fresh and not fresh[-1].endswith(dialect.newline) else ""
        if skipping and (fresh or not block):
            at += len(fresh[0]) if fresh else 0
            fresh, skipping = fresh[1:], False
        lines += fresh
        page = parse_page(lines, dialect, width, 1, last=not block)
        places = list(itertools.accumulate(map(len, lines[: page.taken]), initial=at))
        found += [(places[i], line + i) for i in page.starts[: _STARTS - len(found)]]
        for i in (*page.starts, page.taken):
            if places[i] >= stop:
                return Scan(found, (places[i], line + i))
        lines, at, line = lines[page.taken :], places[-1], line + page.taken
        if not block:
            return Scan(found, (at, line))


def chain(
    path: str,
    first: tuple[int, int],
    stretches: list[tuple[int, int]],
    scans: list[Scan],
    rescan: Callable[[int, int], Scan],
) -> list[Chunk]:
    """The chunks of a file. first: (byte, line) of its first record. rescan(start, stop): of a stretch whose scan began
    at another place than a record's."""
    chunks = []
    at, line = first
    for (_, stop), done in zip(stretches, scans, strict=True):
        if at >= stop:
            continue
        before = dict(done.starts).get(at)
        if before is None:
            done, before = rescan(at, stop), 0
        end, lines = done.end
        chunks.append(Chunk(path, at, end, line))
        at, line = end, line + lines - before
    return chunks


def decoded(file: BinaryIO, start: int, end: int | None, encoding: str) -> Iterator[str]:
    """The text of bytes [start, end) of a file in blocks; bytes that are not in the encoding become lone surrogates."""
    decoder = codecs.getincrementaldecoder(encoding)(LONE)
    if start:
        file.seek(start)
    left = end - start if end is not None else None
    while block := file.read(_BLOCK if left is None else min(_BLOCK, left)):
        left = None if left is None else left - len(block)
        yield decoder.decode(block)
    yield decoder.decode(b"", final=True)
