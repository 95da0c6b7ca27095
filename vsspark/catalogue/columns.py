"""The table's columns that the settings name: found, also inside structs, and of a type that fits."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    DataType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegralType,
    NullType,
    StringType,
    StructType,
)

from vsspark.catalogue.text_feed import EXTRA
from vsspark.config import CatalogueConfig, ColumnsConfig
from vsspark.config.presets import OTHER_NAMES, PRESETS
from vsspark.errors import SchemaError

log = logging.getLogger("vsspark")
_URLS = ("url", "src", "uri", "href", "path", "link", "image", "image_url", "filename", "file")
_EXACT = {"double": 2**53, "float": 2**24}  # whole numbers up to these are exact


def with_found_columns(table: DataFrame, config: CatalogueConfig) -> tuple[DataFrame, ColumnsConfig, list[str]]:
    """(the table with a column for every role and EXTRA, the names of its columns by role, the further image columns).

    Blanks around a name do not count; `image.url` is the field of a struct, or of each struct of a list. Ids that are
    doubles become whole numbers. Of a preset's columns only id and image must be there. Raises SchemaError for columns
    that the table lacks or that hold something else.
    """
    where = f"catalogue.table={config.table}"
    have = own_columns(table)
    preset = PRESETS.get(config.preset or "", {"columns": {}})
    wanted = [("columns." + role, name) for role, name in config.columns.model_dump().items() if name is not None]
    wanted += [("more_images", name) for name in config.more_images]
    found: dict[str, str | None] = {}
    more: list[str] = []
    missing: list[str] = []
    for key, name in wanted:
        role = key.removeprefix("columns.")
        by_preset = name == preset["columns"].get(role) or name in preset.get("more_images", ())
        path = _find(table.schema, name, OTHER_NAMES.get(name, ()) if by_preset else ())
        if path is None and by_preset and role not in ("product_id", "image"):
            log.info("catalogue  %s: there is no column %r (catalogue.%s)", where, name, key)
            found |= {} if key == "more_images" else {role: None}
            continue
        if path is None:
            missing.append(_missing(key, name, have))
            continue
        column = path[0]
        if len(path) > 1:
            column = ".".join(path)
            table = table.withColumn(column, F.col(".".join(map(identifier, path))))
        if key == "more_images" or role == "image":
            table, column = _with_image_text(table, column, f"{where}: catalogue.{key}")
        if key == "more_images":
            more.append(column)
        else:
            found[role] = column
    if missing:
        raise SchemaError(f"{where}: no such column: {', '.join(missing)}; the table has {', '.join(map(repr, have))}")
    table = _with_whole_ids(table, found["product_id"], where)
    lacking = {f.name: F.lit(None).cast(f.dataType) for f in EXTRA if f.name not in table.columns}
    return table.withColumns(lacking), config.columns.model_copy(update=found), more


def own_columns(table: DataFrame) -> list[str]:
    """The names of the feed's own columns."""
    return [name for name in table.columns if name not in EXTRA.names]


def identifier(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def text(name: str) -> Column:
    return F.col(identifier(name)).cast(StringType())


def _find(schema: StructType, name: str, others: Sequence[str] = ()) -> list[str] | None:
    """The path of a column: itself, or the fields that lead to it; None where there is none."""
    stripped = {n.strip(): n for n in reversed(schema.names)}
    for candidate in (name, stripped.get(name.strip()), *others):
        if candidate in schema.names:
            return [candidate]
    first, dot, rest = name.partition(".")
    if not dot or first not in schema.names:
        return None
    kind = schema[first].dataType
    kind = kind.elementType if isinstance(kind, ArrayType) else kind
    inner = _find(kind, rest) if isinstance(kind, StructType) else None
    return inner and [first, *inner]


def _missing(key: str, name: str, have: list[str]) -> str:
    near = difflib.get_close_matches(name.lower(), [n.lower() for n in have], n=1)
    similar = next((n for n in have if near and n.lower() == near[0]), None)
    return f"catalogue.{key}={name}" + (f" (meant {similar!r}?)" if similar else "")


def _with_image_text(table: DataFrame, name: str, key: str) -> tuple[DataFrame, str]:
    """(the table, its column of image names): a text, or a list of texts."""
    kind = table.schema[name].dataType
    inner = kind.elementType if isinstance(kind, ArrayType) else kind
    if isinstance(inner, StructType):
        texts = [f.name for f in inner if isinstance(f.dataType, StringType)]
        named = [n for n in texts if n.lower() in _URLS]
        choice = named or texts
        if len(choice) == 1:
            field = f"{name}.{choice[0]}"
            log.info("catalogue  %s=%s: the images are in the field %s", key, name, field)
            return table.withColumn(field, F.col(f"{identifier(name)}.{identifier(choice[0])}")), field
        raise SchemaError(
            f"{key}={name} is {kind.simpleString()}: name the field that holds paths, "
            f"for example {key.rpartition(' ')[2]}={name}.{(texts or inner.names or ['url'])[0]}"
        )
    if isinstance(inner, BinaryType):
        raise SchemaError(
            f"{key}={name} is {kind.simpleString()}: pictures inside a table are not read; "
            "expected a column of paths or URIs"
        )
    if not isinstance(inner, StringType | IntegralType | NullType):
        raise SchemaError(
            f"{key}={name} is {kind.simpleString()}, expected paths or URIs: text, a list "
            "of texts, or a field of a struct such as image.url"
        )
    return table, name


def _with_whole_ids(table: DataFrame, name: str, where: str) -> DataFrame:
    """The table with ids as text: doubles that are whole numbers without their fraction.

    Raises SchemaError for doubles that are no whole numbers, or too large to be exact.
    """
    kind: DataType = table.schema[name].dataType
    column = F.col(identifier(name))
    if isinstance(kind, DecimalType) and kind.scale > 0:
        whole = column == F.floor(column)
        shown = F.when(whole, F.floor(column).cast("string")).otherwise(column.cast("string"))
        return table.withColumn(name, shown)
    if isinstance(kind, DoubleType | FloatType):
        limit = _EXACT[kind.typeName()]
        wrong = column.isNotNull() & ~F.isnan(column) & ((column != F.floor(column)) | (F.abs(column) >= limit))
        count = table.agg(F.count_if(wrong).alias("n"), F.max(F.when(wrong, column)).alias("example")).first()
        if count.n:
            raise SchemaError(
                f"{where}: catalogue.columns.product_id={name} is {kind.simpleString()}, and {count.n:,} ids are no "
                f"whole numbers below {limit:,}, for example {count.example!r}: what they were before cannot be "
                "told any more. Write the column as text or whole numbers"
            )
        log.info("catalogue  %s: the ids in %s are %s, read as whole numbers", where, name, kind.simpleString())
        return table.withColumn(name, F.when(~F.isnan(column), column.cast("long").cast("string")))
    return table
