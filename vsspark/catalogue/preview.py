"""What a catalogue was understood as, in text: format, guesses, columns, rows, what would be set aside."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from vsspark.catalogue.checks import check_images, rejected_rows
from vsspark.catalogue.guess import fitting_preset, likely_columns
from vsspark.catalogue.spark import images_from
from vsspark.catalogue.tables import read_catalogue, table_format, unreadable
from vsspark.catalogue.understood import first_rows
from vsspark.config import CatalogueConfig, ColumnsConfig
from vsspark.errors import DataQualityError, SchemaError

_ROWS, _REJECTED, _WIDTH = 10, 20, 40


def preview(spark: SparkSession, config: CatalogueConfig, say: Callable[[str], None]) -> None:
    """Says what a catalogue is understood as, line by line. Reads the table, no picture, and writes nothing.

    Raises the error that would end a run with this catalogue, after all that can be said has been.
    """
    say(f"table     {config.table}")
    with _notes(say):
        table = read_catalogue(spark, config)
    say(f"format    {table_format(spark, config)}")
    try:
        _say_columns(table, config, say)
        with _notes(say):
            try:
                rows = images_from(table, config)
            except SchemaError:
                _say_advice(table, say)
                raise
        rows = rows.cache()
        try:
            _say_rows(rows, config, say)
        finally:
            rows.unpersist()
    except PySparkException as error:
        raise unreadable(config, error) from None


def _say_columns(table: DataFrame, config: CatalogueConfig, say: Callable[[str], None]) -> None:
    """A line per column: its name, type, role, how often it is filled and what is in it."""
    sample = first_rows(table)
    roles = {name: role for role, name in config.columns.model_dump().items() if name}
    roles |= dict.fromkeys(config.more_images, "more_images")
    lines = [("column", "type", "used as", "filled", "for example")]
    for name in sample.names:
        cells = sample.cells(name)
        role = next(
            (role for wanted, role in roles.items() if wanted.partition(".")[0].strip() in (name, name.strip())), ""
        )
        filled = f"{sample.share_filled(name):.0%}" if sample.rows else ""
        examples = ", ".join(_short(cell) for cell in dict.fromkeys(cells[:50]))
        kind = table.schema[name].dataType.simpleString()
        lines.append((repr(name), _short(kind), role, filled, _short(examples, 2 * _WIDTH)))
    say(f"columns   {len(sample.names)}, filled in the first {len(sample.rows)} rows")
    _say_table(lines, say)


def _say_advice(table: DataFrame, say: Callable[[str], None]) -> None:
    """Which preset or columns a user may have meant."""
    sample = first_rows(table)
    preset = fitting_preset(sample.names)
    if preset is not None:
        say(f"advice    looks like {preset}: --set catalogue.preset={preset}")
    for role in ColumnsConfig.model_fields:
        likely = likely_columns(role, sample)
        if likely:
            say(f"advice    {role}: --set 'catalogue.columns.{role}={likely[0]}'" + _others(likely[1:]))
    say("advice    `vsspark init` writes a configuration with these columns")


def _others(names: list[str]) -> str:
    return f" (or {', '.join(map(repr, names[:4]))})" if names else ""


def _say_rows(rows: DataFrame, config: CatalogueConfig, say: Callable[[str], None]) -> None:
    """The first images, the first rejected rows, the counts. Raises DataQualityError as `check_images` does."""
    shown = ("product_id", "uri", "name", "category", "price", "_currency", "in_stock", "box")
    first = rows.where("_fault IS NULL").orderBy("_row", "_place").limit(_ROWS).collect()
    used = [name for name in shown if name in ("product_id", "uri") or any(row[name] is not None for row in first)]
    say(f"rows      the first {len(first)}, an image each")
    table = [[_short("" if row[name] is None else str(row[name]), 60, name == "uri") for name in used] for row in first]
    _say_table([[name.lstrip("_") for name in used], *table], say)
    rejected = rejected_rows(rows).orderBy("file", "line").limit(_REJECTED).collect()
    if rejected:
        say(f"rejected  the first {len(rejected)}")
        lines = [
            ["" if r.line is None else str(r.line), r.column or "", _short(r.text or "", 60), r.reason]
            for r in rejected
        ]
        _say_table([["line", "column", "text", "reason"], *lines], say)
    with _notes(say):
        try:
            counts = check_images(rows, config)
        except DataQualityError:
            say("result    a run would be refused, exit 2")
            raise
    say("counts    " + ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items()))
    say("result    a run would begin with these images; no picture was read, nothing was written")


def _say_table(lines: list, say: Callable[[str], None]) -> None:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        say("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _short(cell: str, width: int = _WIDTH, keep_end: bool = False) -> str:
    """The cell on one line, its end or middle left out where it is longer than the width."""
    flat = cell if cell.isprintable() else repr(cell)[1:-1]
    if len(flat) <= width:
        return flat
    return f"{flat[:10]}...{flat[13 - width :]}" if keep_end else flat[: width - 3] + "..."


@contextmanager
def _notes(say: Callable[[str], None]) -> Iterator[None]:
    """Says what the package logs of a catalogue meanwhile, in place of the log."""
    logger = logging.getLogger("vsspark")
    handler = logging.Handler(logging.INFO)
    handler.emit = lambda record: say("note      " + record.getMessage().removeprefix("catalogue").strip())
    before, level = logger.propagate, logger.level
    others = list(logger.handlers)
    logger.propagate, logger.handlers = False, [handler]
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.propagate, logger.handlers = before, others
        logger.setLevel(level)
