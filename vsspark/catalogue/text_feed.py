"""CSV and TSV files -> the catalogue's rows as text, with the lines that could not be read among them.

Cost: one pass, split over tasks in chunks of 16 MiB; where fields may be quoted, a pass before it that only finds where
records begin (a third of the time). A task holds a block of 1 MiB and its rows. Compressed files, UTF-16 and stores
that only Spark reaches are one task each.
"""

from __future__ import annotations

import bz2
import gzip
import logging
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import LongType, StringType, StructField, StructType

from vsspark.catalogue import csv_chunks
from vsspark.catalogue.csv_chunks import Chunk
from vsspark.catalogue.csv_dialect import Dialect, Layout, find_layout
from vsspark.catalogue.csv_records import Page, read_pages
from vsspark.catalogue.uris import absolute
from vsspark.config import CatalogueConfig
from vsspark.errors import ConfigError, SchemaError
from vsspark.spark import session
from vsspark.storage.filesystems import S3_SCHEMES, open_filesystem, split_uri

log = logging.getLogger("vsspark")

# Columns beside the feed's own: where a row was, and why it is none. A row of BLANK stands for `text` blank rows.
LINE, FILE, REASON, TEXT = "__vsspark_line", "__vsspark_file", "__vsspark_reason", "__vsspark_text"
BLANK = "blank"
EXTRA = StructType([
    StructField(LINE, LongType()), StructField(FILE, StringType()),
    StructField(REASON, StringType()), StructField(TEXT, StringType()),
])  # fmt: skip
_COMPRESSED: dict[str, Callable] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
HEAD = 2**20


class Source(NamedTuple):
    """How tasks open the files of a feed."""

    options: Mapping[str, str]

    def open(self, path: str) -> BinaryIO:
        files, name = open_filesystem(path, self.options)
        opener = next((o for ending, o in _COMPRESSED.items() if path.lower().endswith(ending)), None)
        file = files.open_input_file(name)
        return file if opener is None else opener(file)


def is_text_feed(path: str) -> bool:
    return stem(path).endswith((".csv", ".tsv", ".txt", ".tab"))


def stem(path: str) -> str:
    """The path in lower case, without the ending of a compression."""
    low = path.lower().rstrip("/")
    return next((low.removesuffix(ending) for ending in _COMPRESSED if low.endswith(ending)), low)


def read_text_feed(spark: SparkSession, config: CatalogueConfig) -> DataFrame:
    """The feed's columns as text, empty fields null, and EXTRA. Logs what was guessed.

    Raises ConfigError where there is no such file, SchemaError for files of other columns than the first.
    """
    source = Source(session.storage_options(spark))
    files = find_files(config.table, source)
    layouts = [_layout(path, source, config) for path, _ in files]
    first = layouts[0]
    for (path, _), layout in zip(files, layouts, strict=True):
        if layout.columns != first.columns:
            raise SchemaError(
                f"catalogue.table={config.table}: {path} has the columns {', '.join(map(repr, layout.columns))}, "
                f"{files[0][0]} has {', '.join(map(repr, first.columns))}"
            )
    for guess in dict.fromkeys(guess for layout in layouts for guess in layout.guesses):
        log.info("catalogue  %s: %s", config.table, guess)
    return read_records(spark, source, files, layouts, distinct(first.columns, config.table))


def written_as(spark: SparkSession, config: CatalogueConfig) -> Dialect | None:
    """How the files of a text feed are written; None where they differ, or where only Spark reaches them."""
    scheme, _ = split_uri(config.table)
    if scheme != "file" and scheme not in S3_SCHEMES:
        return None
    source = Source(session.storage_options(spark))
    dialects = {_layout(path, source, config).dialect for path, _ in find_files(config.table, source)}
    return dialects.pop() if len(dialects) == 1 else None


def read_records(
    spark: SparkSession, source: Source, files: list[tuple[str, int]], layouts: list[Layout], columns: list[str]
) -> DataFrame:
    """The records of text files, split over tasks: a column of text for every field, and EXTRA."""
    chunks = [
        (chunk, layout.dialect)
        for (path, size), layout in zip(files, layouts, strict=True)
        for chunk in _chunks(spark, path, size, layout, source)
    ]
    schema = StructType([*[StructField(name, StringType()) for name in columns], *EXTRA])
    return spark.range(0, len(chunks), 1, len(chunks)).mapInArrow(partial(_read, chunks, source, columns), schema)


def distinct(names: tuple[str, ...], table: str) -> list[str]:
    """The names, a repeated one with its place in brackets; said."""
    seen: set[str] = set()
    result = []
    for place, name in enumerate(names, 1):
        fresh = name if name.lower() not in seen else f"{name} ({place})"
        if fresh != name:
            log.warning(
                "catalogue  %s: two columns are called %r; the one in place %d is %r", table, name, place, fresh
            )
        seen.add(name.lower())
        result.append(fresh)
    return result


def find_files(table: str, source: Source) -> list[tuple[str, int]]:
    """(path, bytes) of the table's files, by name: the file, or those in the folder but for hidden ones."""
    table = absolute(table)  # the tasks have working directories of their own
    files, name = open_filesystem(table, source.options)
    try:
        info = files.get_file_info(name)
        if info.type == fs.FileType.Directory:
            found = [i for i in files.get_file_info(fs.FileSelector(name)) if i.type == fs.FileType.File]
            found = [i for i in found if not i.base_name.startswith((".", "_")) and i.size]
            listed = [(f"{table.rstrip('/')}/{i.base_name}", i.size) for i in sorted(found, key=lambda i: i.path)]
            if listed:
                return listed
            raise ConfigError(f"catalogue.table={table} cannot be read: the folder has no files with rows")
    except OSError as error:
        raise ConfigError(f"catalogue.table={table} cannot be read: {error}") from None
    if info.type == fs.FileType.NotFound:
        raise ConfigError(f"catalogue.table={table} cannot be read: there is no such file")
    return [(table, info.size)]


def read_head(path: str, source: Source) -> tuple[bytes, bool]:
    """(the first MiB of a file, whether that is all of it). Raises ConfigError where it cannot be read."""
    try:
        with source.open(path) as file:
            head = file.read(HEAD)
            return head, len(head) < HEAD or not file.read(1)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ConfigError(f"catalogue.table={path} cannot be read: {error}") from None


def _layout(path: str, source: Source, config: CatalogueConfig) -> Layout:
    return layout_of(*read_head(path, source), path, config)


def layout_of(head: bytes, whole: bool, path: str, config: CatalogueConfig) -> Layout:
    """The layout of a file that begins with these bytes. whole: whether they are all of it."""
    default = "," if stem(path).endswith(".csv") or stem(config.table).endswith(".csv") else "\t"
    wanted = [name for name in config.columns.model_dump().values() if name]
    return find_layout(head, whole, config.csv, wanted, default, path)


def _chunks(spark: SparkSession, path: str, size: int, layout: Layout, source: Source) -> list[Chunk | None]:
    """The file's chunks; of one that cannot be split, one that ends where the file does."""
    if stem(path) != path.lower().rstrip("/") or not layout.dialect.one_byte_structure:
        return [Chunk(path, layout.body, -1, layout.body_line)]
    stretches = csv_chunks.cuts(layout.body, size)
    if len(stretches) == 1:
        return [Chunk(path, layout.body, size, layout.body_line)]
    look = partial(_scan, path, source, layout.dialect, len(layout.columns))
    plan = spark.createDataFrame(
        [(i, start, stop) for i, (start, stop) in enumerate(stretches)], "i int, start long, stop long"
    )
    rows = plan.repartitionByRange(len(stretches), "i").mapInArrow(
        partial(_scan_batches, look, layout.body), "i int, places array<struct<at: long, line: long>>"
    )
    found = sorted(rows.collect())
    scans = [csv_chunks.Scan([tuple(p) for p in row.places[:-1]], tuple(row.places[-1])) for row in found]
    first = (layout.body, layout.body_line)
    return csv_chunks.chain(path, first, stretches, scans, partial(look, exact=True))


def _scan(path: str, source: Source, dialect: Dialect, width: int, start: int, stop: int, exact: bool):
    with source.open(path) as file:
        return csv_chunks.scan(file, start, stop, dialect, width, exact)


def _scan_batches(look: Callable, body: int, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    place = pa.struct([("at", pa.int64()), ("line", pa.int64())])
    for batch in batches:
        for row in batch.to_pylist():
            scan = look(row["start"], row["stop"], exact=row["start"] == body)
            places = [{"at": at, "line": line} for at, line in (*scan.starts, scan.end)]
            yield pa.RecordBatch.from_arrays(
                [pa.array([row["i"]], pa.int32()), pa.array([places], pa.list_(place))], ["i", "places"]
            )


def _read(
    chunks: list[tuple[Chunk, Dialect]], source: Source, columns: list[str], batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for i in batch.column(0).to_pylist():
            chunk, dialect = chunks[i]
            with source.open(chunk.path) as file:
                end = None if chunk.end < 0 else chunk.end
                text = csv_chunks.decoded(file, chunk.start, end, dialect.encoding)
                for page in read_pages(text, dialect, len(columns), chunk.line):
                    yield from record_batches(page, columns, chunk)


def record_batches(page: Page, columns: list[str], chunk: Chunk) -> Iterator[pa.RecordBatch]:
    names = [*columns, LINE, FILE, REASON, TEXT]
    n = len(page.records)
    if n:
        arrays = [pa.array(column, pa.string()) for column in zip(*page.records, strict=True)]
        arrays = [pc.if_else(pc.equal(a, ""), pa.scalar(None, pa.string()), a) for a in arrays]
        lines = pa.array(page.lines, pa.int64())
        file, none = pa.repeat(pa.scalar(chunk.path), n), pa.nulls(n, pa.string())
        yield pa.RecordBatch.from_arrays([*arrays, lines, file, none, none], names)
    unread = [(r.line, r.reason, r.text) for r in page.rejects]
    if page.blank:
        unread.append((None, BLANK, str(page.blank)))
    if unread:
        lines, reasons, texts = zip(*unread, strict=True)
        extra = [pa.array(lines, pa.int64()), pa.repeat(pa.scalar(chunk.path), len(unread))]
        extra += [pa.array(reasons, pa.string()), pa.array(texts, pa.string())]
        yield pa.RecordBatch.from_arrays([*[pa.nulls(len(unread), pa.string()) for _ in columns], *extra], names)
