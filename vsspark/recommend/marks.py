"""Which products the written rules match: as bits beside a product's codes, and as rows for pins.

A rule's `when` and `target` name values of fields; a product matches that has one of the values in each. Fields are
those of `recommend`, and `product`.

Cost: one pass over the images by product; a broadcast join with the rules' values, 20 bytes each; bits are 16 bytes a
product for each BITS rules.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from vsspark.recommend.field_codes import field_code, text_code
from vsspark.recommend.terms import BITS, TARGET, WHEN, ProductRules
from vsspark.recommend.written import PRODUCT, WrittenRule


def unknown_names(rows: DataFrame, rules: Sequence[WrittenRule], fields: Sequence[str]) -> dict[str, str]:
    """id -> mistake, with its line, of rules that name a field or a product that the catalogue does not have. rows: with
    product_id; fields: that the catalogue has."""
    found: dict[str, str] = {}
    products: dict[str, list[WrittenRule]] = {}
    allowed = ", ".join(sorted({PRODUCT, *fields}))
    for rule in rules:
        for name, selector in (("when", rule.when), ("target", rule.target)):
            for field, values in selector.items():
                if field == PRODUCT:
                    for value in values:
                        products.setdefault(value, []).append(rule)
                elif field not in fields:
                    found[rule.id] = f"line {rule.line}: {name} {field!r}, expected one of {allowed}"
    if products:
        asked = rows.sparkSession.createDataFrame(pa.table({"product_id": pa.array(sorted(products))}))
        missing = asked.join(rows.select("product_id").distinct(), "product_id", "left_anti").collect()
        for row in sorted(missing):
            for rule in products[row.product_id]:
                found.setdefault(rule.id, f"line {rule.line}: the catalogue has no product {row.product_id!r}")
    return found


def matches(images: DataFrame, rules: ProductRules) -> DataFrame:
    """product_id, part (when or target), rule int: the products that the selectors match, of rules by their number;
    selectors that match every product have no rows. images: rows of `images`."""
    values = {"rule": [], "part": [], "field": [], "value": [], "fields": []}
    for number, rule in enumerate(rules.written):
        for part, selector in ((WHEN, rule.when), (TARGET, rule.target)):
            for field, texts in selector.items():
                for text in texts:
                    for key, cell in zip(values, (number, part, field, text, len(selector)), strict=True):
                        values[key].append(cell)
    fields = sorted(set(values["field"]))
    types = [pa.int32(), pa.string(), pa.string(), pa.string(), pa.int32()]
    arrays = {key: pa.array(cells, kind) for (key, cells), kind in zip(values.items(), types, strict=True)}
    asked = images.sparkSession.createDataFrame(pa.table(arrays))
    exact = F.xxhash64("value")  # of product_id: no two products are one
    asked = asked.withColumn("code", F.when(F.col("field") == PRODUCT, exact).otherwise(text_code(F.col("value"))))
    codes = [
        F.xxhash64(F.first("product_id")) if name == PRODUCT else field_code(name, rules.missing_words)
        for name in fields
    ]
    facts = images.groupBy("product_id").agg(*[code.alias(f"f{n}") for n, code in enumerate(codes)])
    cells = [F.struct(F.lit(name).alias("field"), F.col(f"f{n}").alias("code")) for n, name in enumerate(fields)]
    facts = facts.select("product_id", F.explode(F.array(*cells)).alias("cell")).select("product_id", "cell.*")
    met = facts.join(F.broadcast(asked), ["field", "code"]).groupBy("product_id", "part", "rule")
    return (
        met.agg(F.countDistinct("field").alias("met"), F.first("fields").alias("fields"))
        .where("met = fields")
        .drop("met", "fields")
    )


def rule_bits(images: DataFrame, rules: ProductRules) -> DataFrame:
    """product_id, and a column of bits for each BITS rules and part, by the field's name (`terms.WHEN`)."""
    count = -(-len(rules.written) // BITS)
    found = matches(images, rules).groupBy("product_id")
    bit = F.call_function("shiftleft", F.lit(1).cast("bigint"), F.col("rule") % BITS)
    names = [(part, number) for number in range(count) for part in (WHEN, TARGET)]
    columns = []
    for part, number in names:
        own = (F.col("part") == part) & (F.floor(F.col("rule") / BITS) == number)
        columns.append(F.bit_or(F.when(own, bit)).alias(f"{part} {number}"))
    rows = images.select("product_id").distinct().join(found.agg(*columns), "product_id", "left")
    return rows.select("product_id", *[_with_constant(part, number, rules.written) for part, number in names])


def _with_constant(part: str, number: int, written: Sequence[WrittenRule]) -> Column:
    """The bits, with those of the rules that hold on every page."""
    own = written[number * BITS : (number + 1) * BITS]
    constant = sum(1 << place for place, rule in enumerate(own) if part == WHEN and not rule.when)
    name = f"{part} {number}"
    bits = F.coalesce(F.col(f"`{name}`"), F.lit(0).cast("bigint"))
    return bits.bitwiseOR(F.lit(constant).cast("bigint")).alias(name)
