"""How a text feed is written: encoding, separator, quote, escape. What the settings leave open is guessed from the
file's beginning.

The guess is a trial: the beginning is read in every way that the settings allow, and the way that leaves fewest lines
unread is taken; between equals, RFC 4180.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vsspark.config import CsvConfig
from vsspark.errors import ConfigError

_BOMS = (  # the longer first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLE = 5_000  # lines that a guess is tried on
_SEPARATORS = (",", ";", "\t", "|")
NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe", '"': "double quote", "\\": "backslash", "": "none"}
_SEP_LINE = re.compile(r'^"?sep=(.)"?\r?\n', re.IGNORECASE)  # Excel's own first line
LONE = "vsspark_lone"  # an error handler of codecs, see _lone
_INVISIBLE = "\ufeff\u200b\u200e\u200f\u2060"


@dataclass(frozen=True)
class Dialect:
    """quote, escape: a character, or "" for none. skip_blanks: blanks after a separator are no part of the field.
    newline: what ends a line, "\\n" (a "\\r" before it goes with it) or "\\r".
    """

    encoding: str = "utf-8"
    separator: str = ","
    quote: str = '"'
    escape: str = ""
    skip_blanks: bool = False
    newline: str = "\n"

    def reader_options(self) -> dict:
        """The arguments of csv.reader."""
        options = {"delimiter": self.separator, "strict": True, "skipinitialspace": self.skip_blanks}
        options["escapechar"] = self.escape or None
        if not self.quote:
            return options | {"quoting": csv.QUOTE_NONE, "quotechar": None}
        return options | {"quotechar": self.quote, "doublequote": True}

    @property
    def one_byte_structure(self) -> bool:
        """Whether separators, quotes and line ends are single bytes that no other character contains."""
        name = codecs.lookup(self.encoding).name
        return name in ("utf-8", "ascii") or name.startswith(("cp125", "iso8859", "koi8", "mac-", "cp437", "cp85"))


@dataclass(frozen=True)
class Layout:
    """A feed's dialect, its column names, where the first record begins (bytes and lines), and what was guessed."""

    dialect: Dialect
    columns: tuple[str, ...]
    body: int
    body_line: int
    guesses: tuple[str, ...]


def find_layout(head: bytes, whole: bool, config: CsvConfig, wanted: Sequence[str], default: str, what: str) -> Layout:
    """The layout of a file. head: its first bytes. whole: whether they are the whole file. wanted: column names that
    the header should have. default: the separator that the file's name says. what: the file, for messages.

    Raises ConfigError for an unknown encoding and for a header that cannot be read.
    """
    guesses: list[str] = []
    bom, encoding = find_encoding(head, config, what, guesses)
    text = codecs.getincrementaldecoder(encoding)(LONE).decode(head[len(bom) :], whole)
    newline = "\r" if "\n" not in text and "\r" in text else "\n"
    if not whole:
        text = text[: text.rfind(newline) + 1] or text
    first_line, skipped = 1, ""
    sep_line = _SEP_LINE.match(text)
    if sep_line:
        skipped, text, first_line = sep_line[0], text[len(sep_line[0]) :], 2
        default = sep_line[1]
    while True:  # blank lines above the header
        blank = re.match(r"[ \t,;|]*(\r\n|\n|\r)", text)
        if not blank:
            break
        skipped, text, first_line = skipped + blank[0], text[len(blank[0]) :], first_line + 1
    base = Dialect(encoding=encoding, newline=newline)
    dialect = _best(text, whole, base, config, (wanted, default))
    names, lines = _header(text, dialect, what)
    if config.separator is None and dialect.separator != default:
        guesses.append(f"separator {NAMES.get(dialect.separator, dialect.separator)} (catalogue.csv.separator)")
    if config.quote is None and not dialect.quote:
        guesses.append("quotes are part of the text (catalogue.csv.quote=none)")
    if config.escape is None and dialect.escape:
        guesses.append("a backslash before a quote makes it text (catalogue.csv.escape)")
    if dialect.skip_blanks:
        guesses.append("blanks after a separator are skipped")
    body = len(bom) + len((skipped + "".join(lines)).encode(encoding))
    return Layout(dialect, names, body, first_line + len(lines), tuple(guesses))


def split_lines(text: str, newline: str) -> list[str]:
    """Lines with their ends. Only the newline ends one: not the further line ends of Unicode, as splitlines has it."""
    return list(io.StringIO(text, newline=newline))


def shown(separator: str) -> str:
    return NAMES.get(separator, separator)


def find_encoding(head: bytes, config: CsvConfig, what: str, guesses: list[str] | None = None) -> tuple[bytes, str]:
    """(byte order mark, encoding without one) of a file that begins with these bytes. guesses: what was guessed is
    added. Raises ConfigError for an unknown encoding.
    """
    guesses = [] if guesses is None else guesses
    bom, marked = next(((bom, name) for bom, name in _BOMS if head.startswith(bom)), (b"", None))
    if config.encoding is not None:
        try:
            name = codecs.lookup(config.encoding).name
        except LookupError:
            raise ConfigError(
                f"catalogue.csv.encoding: got {config.encoding!r}, expected an encoding such as utf-8, cp1252 or utf-16"
            ) from None
        name = {"utf-8-sig": "utf-8"}.get(name, name)
        if marked and marked.startswith(name):
            return bom, marked  # utf-16 -> utf-16-le
        return b"", name + "-le" if name in ("utf-16", "utf-32") else name
    if marked:
        if marked != "utf-8":
            guesses.append(f"encoding {marked}, by its byte order mark (catalogue.csv.encoding)")
        return bom, marked
    if len(head) >= 4 and b"\0" in head[:200]:  # ASCII letters in UTF-16 have a zero byte each
        zeros = [head[:200][i::2].count(0) for i in (0, 1)]
        if max(zeros) > 5 * (min(zeros) + 1) or (max(zeros) >= 2 and min(zeros) == 0):
            name = "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
            guesses.append(f"encoding {name} (catalogue.csv.encoding)")
            return b"", name
    return b"", "utf-8"


def _best(text: str, whole: bool, base: Dialect, config: CsvConfig, expected: tuple[Sequence[str], str]) -> Dialect:
    """The dialect that leaves the fewest lines of the sample unread, among those that the settings allow."""
    from vsspark.catalogue.csv_records import count_unread  # it imports Dialect

    lines = split_lines(text, base.newline)
    whole, lines = whole and len(lines) <= _SAMPLE, lines[:_SAMPLE]
    separator = config.separator or _separator(lines, base, config, *expected)
    given = replace(base, separator=separator)
    quotes = ['"', ""] if config.quote is None else [config.quote]
    escapes = ["", "\\"] if config.escape is None else [config.escape]
    ways = [
        replace(given, quote=quote, escape=escape, skip_blanks=skip)
        for quote, escape, skip in itertools.product(quotes, escapes, (False, True))
        if (quote or config.escape or not escape) and (quote or not skip)
    ]
    return min(ways, key=lambda way: count_unread(lines, way, whole))


def _separator(lines: list[str], base: Dialect, config: CsvConfig, wanted: Sequence[str], default: str) -> str:
    """The one whose header has most of the wanted columns, then whose rows have the header's length; else default."""
    from vsspark.catalogue.csv_records import count_unread

    best, best_score = default, None
    for candidate in (default, *(s for s in _SEPARATORS if s != default)):
        way = replace(base, separator=candidate, quote='"' if config.quote is None else config.quote)
        try:
            names, _ = _header("".join(lines[:50]), way, "")
        except ConfigError:
            continue
        hits = len(set(wanted) & set(names))
        fits = len(names) > 1 and count_unread(lines[:1000], way, False) * 2 < min(len(lines), 1000)
        score = (hits, fits, len(names) if not hits and fits else 0)
        if best_score is None or score > best_score:
            best, best_score = candidate, score
    return best


def _header(text: str, dialect: Dialect, what: str) -> tuple[tuple[str, ...], list[str]]:
    """(column names without blanks around them, the lines of the header)."""
    lines = split_lines(text, dialect.newline)
    reader = csv.reader(iter(lines), **dialect.reader_options())
    try:
        cells = next(reader, [])
    except csv.Error as error:
        raise ConfigError(
            f"catalogue.table={what}: line 1, the header, cannot be read: {error}; see catalogue.csv.quote"
        ) from None
    names: list[str] = []
    for place, cell in enumerate(cells, 1):
        name = cell.strip().strip(_INVISIBLE).strip() or f"column {place}"
        if any("\udc00" <= c <= "\udcff" for c in name):
            raise ConfigError(
                f"catalogue.table={what}: line 1, the header, is not {dialect.encoding}: set catalogue.csv.encoding, "
                "for example to cp1252"
            )
        names.append(name)
    return tuple(names), lines[: reader.line_num]


def _lone(error: UnicodeError) -> tuple[str, int]:
    """Each byte as the surrogate 0xDC00 + byte: no text in any encoding has one by itself."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(LONE, _lone)
