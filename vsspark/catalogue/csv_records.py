"""Lines of a text feed -> its records, and the lines that are none, with their numbers.

Python's csv does the parsing, strictly: it is the one kept library that both refuses a quote where none may be and can
go on behind it (pyarrow reads `"Big" shirt` as `Big shirt` and has no line numbers; Spark's univocity puts the rest of
the file into one cell). It reads 1.5 million records of ten fields a second and core, more than the rest of a run.

Where a record cannot be read, its first line alone is set aside, and reading goes on at the next: an unclosed quote
costs one line, not the rest of the file. The records depend only on the line that reading begins at.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from vsspark.catalogue.csv_dialect import Dialect, split_lines
from vsspark.errors import DataQualityError

MAX_LINES = 5_000  # of a record; what is longer is an unclosed quote. Lines, since they are the same in any encoding
_LONGEST_LINE = 64 * 2**20  # characters
_SHOWN = 1000  # characters of a line in `rejected_rows`
_LONE = re.compile("[\udc00-\udcff]")


class Reject(NamedTuple):
    line: int
    text: str
    reason: str


class Page(NamedTuple):
    """What a stretch of lines holds: lines and cells of its records, and what is none. starts: per record, reject or blank row, the index of its first line. taken:
    lines that are used up; those behind it begin a record that goes on in the next page.
    """

    lines: list[int]  # where the records begin, the file's first line is 1
    records: list[list[str]]
    rejects: list[Reject]
    blank: int
    starts: list[int]
    taken: int


def read_pages(blocks: Iterable[str], dialect: Dialect, width: int, line: int) -> Iterator[Page]:
    """Pages of a text that begins and ends with whole records. blocks: the text in pieces. line: number of its first
    line. width: fields of a record.

    Raises DataQualityError for a line that no text feed has.
    """
    lines: list[str] = []
    cut = ""
    for block in blocks:
        fresh = split_lines(cut + block, dialect.newline)
        cut = "" if not fresh or fresh[-1].endswith(dialect.newline) else fresh.pop()
        if len(cut) > _LONGEST_LINE:
            raise DataQualityError(f"line {line + len(lines) + len(fresh)} has more than {_LONGEST_LINE:,} characters")
        lines += fresh
        page = parse_page(lines, dialect, width, line, last=False)
        lines, line = lines[page.taken :], line + page.taken
        yield page
    yield parse_page([*lines, cut] if cut else lines, dialect, width, line, last=True)


def parse_page(raw: list[str], dialect: Dialect, width: int, line: int, last: bool) -> Page:
    """The records of these lines, the first of which has the number `line`. last: whether the text ends with them."""
    numbers: list[int] = []
    records: list[list[str]] = []
    rejects: list[Reject] = []
    starts: list[int] = []
    blank = at = 0
    lines, options = _with_plain_escapes(raw, dialect), dialect.reader_options()
    csv.field_size_limit(2**31 - 1)
    while at < len(raw):
        begin = at
        reader = csv.reader(lines[begin:], **options)
        try:
            for cells in reader:
                after = begin + reader.line_num
                if after - at > MAX_LINES:
                    raise csv.Error("unexpected end of data")
                if len(cells) == width and (cells[0].strip() or not _is_blank(cells)):
                    numbers.append(line + at)
                    records.append(cells)
                elif _is_blank(cells):
                    blank += 1
                else:
                    if _swallows_records(lines[at + 1 : after], options, width):
                        raise csv.Error("unexpected end of data")
                    reason = f"{len(cells)} fields, the header has {width}"
                    rejects.append(Reject(line + at, _shown(raw[at:after]), reason))
                starts.append(at)
                at = after
        except csv.Error as error:
            unfinished = "end of data" in str(error)
            if unfinished and not last and len(raw) - at <= MAX_LINES:
                break
            rejects.append(Reject(line + at, _shown(raw[at : at + 1]), _fault(str(error))))
            starts.append(at)
            at += 1  # its first line alone is given up
    return _without_undecoded(Page(numbers, records, rejects, blank, starts, at), raw, dialect)


def count_unread(lines: list[str], dialect: Dialect, last: bool) -> int:
    """How many of these lines are in no record of the first one's length. last: whether the text ends with them.

    Where quotes are taken as text, a cell that is wrapped in them counts as unread: it was quoted.
    """
    options = dialect.reader_options()
    try:
        width = len(next(csv.reader(iter(_with_plain_escapes(lines, dialect)), **options), []))
    except csv.Error:
        return len(lines)
    page = parse_page(lines, dialect, width, 1, last)
    left = len(lines) - page.taken
    unread = len(page.rejects) + (left if left > 1000 else 0)
    if not dialect.quote:
        unread += sum(any(len(c) > 1 and c[0] == c[-1] == '"' for c in cells) for cells in page.records)
    return unread


def _is_blank(cells: list[str]) -> bool:
    return not any(cell.strip() for cell in cells)


def _swallows_records(lines: list[str], options: dict, width: int) -> bool:
    """Whether these lines are records by themselves, or all but the last: a quote before them was never closed."""

    def is_record(line: str) -> bool:
        try:
            return len(next(csv.reader([line], **options), [])) == width
        except csv.Error:
            return False

    return bool(lines) and all(map(is_record, lines[:-1] or lines))


def _with_plain_escapes(lines: list[str], dialect: Dialect) -> list[str]:
    """The lines with an escape doubled where it escapes nothing: csv would drop it, and `C:\\new` is a text."""
    escape = dialect.escape
    if not escape:
        return lines
    special = re.escape(dialect.quote + escape + dialect.separator)
    pattern = re.compile(f"({re.escape(escape)}[{special}])|{re.escape(escape)}")
    return [pattern.sub(lambda m: m[1] or escape + escape, line) if escape in line else line for line in lines]


def _without_undecoded(page: Page, raw: list[str], dialect: Dialect) -> Page:
    """The page, with those records among the rejects whose bytes are not in the encoding."""
    try:
        "".join(raw[: page.taken]).encode()
        return page
    except UnicodeEncodeError:
        pass
    lines, records, rejects = [], [], list(page.rejects)
    for line, cells in zip(page.lines, page.records, strict=True):
        text = dialect.separator.join(cells)
        found = _LONE.search(text)
        if found:
            reason = f"byte 0x{ord(found[0]) & 0xFF:02X} is not {dialect.encoding}: see catalogue.csv.encoding"
            rejects.append(Reject(line, _shown([text]), reason))
        else:
            lines.append(line)
            records.append(cells)
    return page._replace(lines=lines, records=records, rejects=sorted(rejects))


def _shown(lines: list[str]) -> str:
    text = "".join(lines).rstrip("\r\n")
    text = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return _LONE.sub(lambda m: f"\\x{ord(m[0]) & 0xFF:02x}", text)


def _fault(message: str) -> str:
    if "end of data" in message:
        return "a quote is opened and not closed: see catalogue.csv.quote"
    if "expected after" in message:
        return "a quote inside a quoted field: see catalogue.csv.quote and catalogue.csv.escape"
    if "new-line character" in message:
        return "a carriage return in the middle of a line"
    return message
