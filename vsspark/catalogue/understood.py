"""The `catalogue` section that fits a feed nobody has described: what `vsspark init` writes.

Cost: the feed's first rows, and a look for the first pictures; no picture is read.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from vsspark.catalogue.checks import rejected_rows
from vsspark.catalogue.columns import own_columns, text
from vsspark.catalogue.csv_dialect import NAMES, Dialect
from vsspark.catalogue.guess import (
    Sample,
    fitting_preset,
    further_images,
    image_separator,
    likely_columns,
    preset_columns,
)
from vsspark.catalogue.images_root import find_images_root
from vsspark.catalogue.spark import images_from
from vsspark.catalogue.tables import read_catalogue, table_format, unreadable
from vsspark.catalogue.text_feed import REASON, written_as
from vsspark.config import CatalogueConfig, ColumnsConfig
from vsspark.errors import SchemaError
from vsspark.spark import session

_ROWS = 500  # looked at
_MOST_FAULTS = 0.05  # share of them that a guessed column may leave unread
_OPTIONAL = ("price", "in_stock", "box")  # the roles whose cells may be ones that the job cannot read


@dataclass
class Understood:
    """settings: keys of `catalogue`. notes: by key, what is to be known of it. refused: guesses of columns that the
    job could not read, by role. open: the roles and keys that nobody could guess. names: the feed's columns.
    """

    format: str
    names: list[str]
    settings: dict[str, Any]
    notes: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)

    @property
    def columns(self) -> dict[str, str | None]:
        return self.settings["columns"]

    @property
    def preset_columns(self) -> dict[str, str]:
        """The columns that the preset takes, by role."""
        preset = self.settings.get("preset")
        return preset_columns(preset, self.names) if preset else {}


def understand(spark: SparkSession, config: CatalogueConfig, given: Mapping[str, Any]) -> Understood:
    """The section of a feed. config: with the table's name and what the user has given. given: the latter alone.

    What was given is never guessed. Raises the errors of `read_catalogue` for a feed that cannot be read.
    """
    table = read_catalogue(spark, config)
    kind = table_format(spark, config)
    try:
        sample = first_rows(table)
        found = Understood(kind, list(sample.names), {**given, "table": config.table})
        _guess_columns(found, sample)
        if kind == "csv":
            found.settings["csv"] = {**_csv_settings(written_as(spark, config)), **given.get("csv", {})}
        names = [] if found.open else _tried(table.limit(_ROWS), found)
    except PySparkException as error:
        raise unreadable(config, error) from None
    _guess_root(spark, found, names, config)
    return found


def first_rows(table: DataFrame) -> Sample:
    """The first rows of a table that can be read, as texts."""
    names = own_columns(table)
    good = table.where(F.col(REASON).isNull()) if REASON in table.columns else table
    rows = good.limit(_ROWS).select(*[text(name).alias(f"c{i}") for i, name in enumerate(names)]).collect()
    return Sample(names, [tuple(row) for row in rows])


def _guess_columns(found: Understood, sample: Sample) -> None:
    """Sets preset, columns, more_images and image_separator."""
    settings = found.settings
    preset = settings.setdefault("preset", fitting_preset(sample.names))
    columns = settings["columns"] = dict(settings.get("columns", {}))
    taken = found.preset_columns
    for role in ColumnsConfig.model_fields:
        if role in columns or role in taken:
            continue
        used = {*columns.values(), *taken.values()}
        likely = [name for name in likely_columns(role, sample) if name not in used]
        if likely:
            columns[role] = likely[0]
        if likely[1:]:
            found.notes[f"columns.{role}"] = f"or {', '.join(map(repr, likely[1:5]))}"
    roles = {**taken, **columns}
    found.open = [f"columns.{role}" for role in ("product_id", "image") if role not in roles]
    if preset is None and "image" in roles and roles["image"] in sample.names:
        if "more_images" not in settings and "box" not in roles:
            settings["more_images"] = further_images(roles["image"], sample)
        if "image_separator" not in settings:
            images = [
                cell for name in (roles["image"], *settings.get("more_images", ())) for cell in sample.cells(name)
            ]
            settings["image_separator"] = image_separator(images)


def _csv_settings(dialect: Dialect | None) -> dict[str, str]:
    """The `csv` keys that differ from an ordinary file's, and always the separator; none for files that differ."""
    if dialect is None:
        return {}
    own = {"separator": NAMES.get(dialect.separator, dialect.separator)}
    own |= {} if dialect.quote == '"' else {"quote": NAMES.get(dialect.quote, dialect.quote)}
    own |= {"escape": NAMES.get(dialect.escape, dialect.escape)} if dialect.escape else {}
    return own | ({"encoding": dialect.encoding} if dialect.encoding != "utf-8" else {})


def _tried(first: DataFrame, found: Understood) -> list[str]:
    """The image names of the first rows, read with what was guessed; guesses that cannot be read are taken back."""
    tree = {key: value for key, value in found.settings.items() if value is not None}
    # Where the pictures are does not count here; a table of a database would need a folder.
    config = CatalogueConfig.model_validate({**tree, "images_root": "/"})
    try:
        rows = images_from(first, config).cache()
    except SchemaError as error:
        if found.columns.get("box") and "catalogue.columns.box" in str(error):
            found.refused["box"] = str(error).partition(": ")[2]
            found.columns.pop("box")
            return _tried(first, found)
        found.notes["columns.image"] = str(error)
        return []
    try:
        # A row has one fault, its first: where a column is taken back, others may come to light.
        if _refused(rows, config, found):
            return _tried(first, found)
        images = rows.where(F.col("_image").isNotNull()).select("_image").limit(_ROWS).collect()
        return list(dict.fromkeys(row[0] for row in images))
    finally:
        rows.unpersist()


def _refused(rows: DataFrame, config: CatalogueConfig, found: Understood) -> bool:
    """Whether a column was taken back; the other rows that cannot be read are noted."""
    total = rows.select("_row").distinct().count()
    faults = rejected_rows(rows).groupBy("column", "reason").agg(F.count("*"), F.first("text")).collect()
    before = len(found.refused)
    for column, reason, count, example in faults:
        said = f"{count} of the first {total} {{}}, for example {example!r}: {reason}"
        role = next((r for r in _OPTIONAL if column and getattr(config.columns, r) == column), None)
        if role is None or count <= _MOST_FAULTS * total:
            found.notes["table"] = said.format("rows are set aside")
            continue
        found.refused[role] = f"{column!r}: {said.format('cells')}"
        found.columns.pop(role, None)
        if role in found.preset_columns:
            found.columns[role] = None
    return len(found.refused) > before


def _guess_root(spark: SparkSession, found: Understood, names: list[str], config: CatalogueConfig) -> None:
    """Sets images_root."""
    in_folder = found.format not in ("jdbc", "table")
    folder = posixpath.dirname(config.table.rstrip("/")) if in_folder else None
    if not names:
        return
    root = find_images_root(names, folder, config.images_root, session.storage_options(spark))
    found.settings["images_root"] = root.root if root.root or in_folder or not root.known else "/"
    found.notes["images_root"] = root.note
    if not root.known:
        found.open.append("images_root")
