"""The catalogue's box column: whatever a cell holds -> the one text that `images.box` has for it."""

from __future__ import annotations

import re

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, NumericType, StringType

from vsspark.config import CatalogueConfig
from vsspark.errors import SchemaError

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,2})?"
_FOUR = rf"^{_NUMBER}(?: {_NUMBER}){{3}}$"
_FAR = 1e15  # pixels; beyond it a double is no exact number of them


def listed_boxes(box: Column, kind: DataType, of_lists: bool, config: CatalogueConfig) -> Column:
    """array<string>: `images.box` of each image that the row names, in their order; null where the row has no box.

    kind: of the box column. of_lists: whether a row may name several images; it then has a list of boxes, an array of
    arrays or texts, or a text split by catalogue.image_separator as the images are. Raises SchemaError for a column
    of another type.
    """
    where, type_name = f"catalogue.columns.box={config.columns.box}", kind.simpleString()
    if not of_lists:
        if isinstance(kind, StringType) or _is_four(kind):
            return F.when(box.isNotNull(), F.array(_normal(box, kind)))
        raise SchemaError(f"{where}: is {type_name}, expected text such as 12 30 200 400, or an array of four numbers")
    if isinstance(kind, ArrayType) and (isinstance(kind.elementType, StringType) or _is_four(kind.elementType)):
        return F.when(F.size(box) > 0, F.transform(box, lambda one: _normal(one, kind.elementType)))
    if isinstance(kind, StringType) and config.image_separator:
        return F.when(
            F.trim(box) != "",
            F.transform(F.split(box, re.escape(config.image_separator)), lambda one: _normal(one, kind)),
        )
    raise SchemaError(
        f"{where}: is {type_name}, and catalogue.columns.image={config.columns.image} lists several images a row: "
        "expected one box for each of them, an array of texts or of arrays of four numbers"
    )


def _is_four(kind: DataType) -> bool:
    return isinstance(kind, ArrayType) and isinstance(kind.elementType, NumericType | StringType)


def _normal(box: Column, kind: DataType) -> Column:
    """Four whole numbers with spaces in between, the fractions given to the box; what is no box stays as it is; blank
    = null, the whole picture.
    """
    text = (
        F.concat_ws(" ", F.transform(box.cast("array<string>"), lambda number: F.coalesce(number, F.lit("?"))))
        if _is_four(kind)
        else box
    )
    text = F.trim(F.regexp_replace(text, r"[\s,;\[\](){}]+", " "))
    places = F.split(text, " ")
    numbers = [F.get(places, i).try_cast("double") for i in range(4)]
    whole = [F.floor(numbers[0]), F.floor(numbers[1]), F.ceil(numbers[2]), F.ceil(numbers[3])]
    near = F.lit(True)
    for number in numbers:
        near = near & (F.abs(number) < _FAR)
    four = F.concat_ws(" ", *[number.cast("string") for number in whole])
    return F.when(text.rlike(_FOUR), F.when(near, four).otherwise(text)).when(text != "", text)
