"""Excel and OpenDocument sheets -> the catalogue's rows as text, with the sheet's row numbers."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Iterator
from functools import partial

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StringType, StructField, StructType
from python_calamine import CalamineError, CalamineWorkbook

from vsspark.catalogue.csv_chunks import Chunk
from vsspark.catalogue.csv_records import Page
from vsspark.catalogue.text_feed import EXTRA, Source, distinct, find_files, record_batches
from vsspark.config import CatalogueConfig
from vsspark.errors import ConfigError
from vsspark.spark import session

_BATCH = 5000


def read_sheet_feed(spark: SparkSession, config: CatalogueConfig) -> DataFrame:
    """The columns of the sheet, by its first row that is not blank, and EXTRA. One task: a workbook is one archive.

    Raises ConfigError for a file that is no workbook, or has no such sheet.
    """
    source = Source(session.storage_options(spark))
    path = find_files(config.table, source)[0][0]
    header = next(rows(path, source, config.sheet), None)
    if header is None:
        raise ConfigError(f"catalogue.table={path}: the sheet has no rows")
    line, cells = header
    columns = distinct(tuple(cell.strip() or f"column {i}" for i, cell in enumerate(cells, 1)), path)
    schema = StructType([*[StructField(name, StringType()) for name in columns], *EXTRA])
    return spark.range(0, 1, 1, 1).mapInArrow(partial(_read, path, source, config.sheet, (line, columns)), schema)


def rows(path: str, source: Source, sheet: str | None) -> Iterator[tuple[int, list[str]]]:
    """(row number, cells as text) of the sheet's rows, blank ones too, from the first that is not blank."""
    with source.open(path) as file:
        content = file.read()
    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(content))
        names = book.sheet_names
        if sheet is not None and sheet not in names:
            raise ConfigError(f"catalogue.sheet: got {sheet!r}, {path} has {', '.join(map(repr, names))}")
        table = book.get_sheet_by_name(sheet if sheet is not None else names[0])
        begun = False
        for number, cells in enumerate(table.iter_rows(), 1):
            texts = [cell_text(cell) for cell in cells]
            begun = begun or any(text.strip() for text in texts)
            if begun:
                yield number, texts
    except CalamineError as error:
        raise ConfigError(f"catalogue.table={path} cannot be read as a workbook: {error}") from None


def cell_text(cell: object) -> str:
    """The cell as a person reads it: whole numbers without a fraction, dates by ISO 8601."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 2**53 else repr(cell)
    if isinstance(cell, dt.datetime | dt.date | dt.time):
        return cell.isoformat()
    return str(cell)


def _read(
    path: str, source: Source, sheet: str | None, header: tuple[int, list[str]], batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    line, columns = header
    where = Chunk(path, 0, -1, line)
    for _ in batches:
        page = Page([], [], [], 0, [], 0)
        for number, cells in rows(path, source, sheet):
            if number == line:
                continue
            if not any(cell.strip() for cell in cells):
                page = page._replace(blank=page.blank + 1)
                continue
            page.lines.append(number)
            page.records.append(cells)
            if len(page.records) == _BATCH:
                yield from record_batches(page, columns, where)
                page = Page([], [], [], 0, [], 0)
        yield from record_batches(page, columns, where)
