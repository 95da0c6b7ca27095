"""A product's value of a field as the rules compare it."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F

from vsspark.catalogue.words import without_missing
from vsspark.knn.eligibility import UNKNOWN
from vsspark.recommend.lists import first_value
from vsspark.recommend.terms import CURRENCY, GROUP, TWINS


def field_code(field: str, missing_words: Sequence[str]) -> Column:
    """64 bits of a product's value of the field."""
    if field == TWINS:
        pictures = F.array_sort(F.collect_set(F.concat_ws(" ", "content_hash", "box")))
        return F.when(F.count("content_hash") > 0, F.xxhash64(pictures)).otherwise(F.xxhash64(F.first("product_id")))
    if field == "category":
        value = F.coalesce(first_value(F.col("category")), F.expr("mode(predicted_category, true)"))
    elif field == CURRENCY:  # of the price that counts
        stated = without_missing(F.col("attributes")[field], missing_words)
        of_price = F.min_by(stated, F.when(F.col("price").isNotNull(), F.col("position")))
        value = F.coalesce(of_price, first_value(stated))
    else:
        value = first_value(without_missing(F.col("attributes")[field], missing_words))
    code = text_code(value)
    if field == GROUP:
        return F.when(value.isNotNull(), code).otherwise(F.xxhash64(F.lit(0), F.first("product_id")))
    return F.when(value.isNotNull(), code).otherwise(F.lit(UNKNOWN))


def text_code(value: Column) -> Column:
    """64 bits of a text, without blanks around it and whatever its case."""
    return F.xxhash64(F.lower(F.trim(value)))
