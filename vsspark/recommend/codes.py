"""What the rules compare of a product: 64 bits of a text for each field, bits of written rules, its price."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import and_

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window

from vsspark.recommend.field_codes import field_code
from vsspark.recommend.lists import first_value
from vsspark.recommend.marks import rule_bits
from vsspark.recommend.terms import AVAILABLE, GROUP, RELATED, TARGET, TWINS, WHEN, ProductRules


def may_be_shown(items: tuple[bool, float | None, float | None]) -> Column:
    """Whether a product may be recommended by the rules that look at nothing but the item. items: of
    `ListConfig.item_limits`; of rows with in_stock and price."""
    stocked, at_least, at_most = items
    wanted = [F.lit(True)]
    wanted += [F.col("in_stock")] if stocked else []
    wanted += [] if at_least is None else [F.col("price") >= at_least]
    wanted += [] if at_most is None else [F.col("price") <= at_most]
    return F.coalesce(reduce(and_, wanted), F.lit(False))


def product_codes(images: DataFrame, rules: ProductRules, stage: Callable[[str, DataFrame], DataFrame]) -> DataFrame:
    """product_id, codes array<long>, amount double (the price), a row per product: what the rules compare.

    A code is 64 bits of a field's text, 0 where there is none. A product without a variant group is a group of its own,
    and so is one whose pictures no other product has all of. images: rows of `images`; a product's first image that
    states a value says it. stage: writes rows and reads them back, see `storage.run_tables`.
    """
    made = {f"{AVAILABLE} {surface.name}": surface for surface in rules.surfaces}
    bits = [field for field in rules.fields if field.split(" ")[0] in (WHEN, TARGET)]
    columns = {field: f"code{place}" for place, field in enumerate(rules.fields)}
    read = [field for field in rules.fields if field not in (RELATED, *made, *bits)]
    codes = [field_code(field, rules.missing_words).alias(columns[field]) for field in read]
    stated = [first_value(F.col(name)).alias(name) for name in ("price", "in_stock")]
    facts = images.groupBy("product_id").agg(*stated, *codes)
    if RELATED in columns:
        facts = facts.withColumn(columns[RELATED], F.col(columns[TWINS]))
        facts = connected(facts, (columns[GROUP], columns[RELATED]), stage)
    for field in made.keys() & columns.keys():
        facts = facts.withColumn(columns[field], may_be_shown(made[field].items).cast("bigint"))
    if bits:
        marked = rule_bits(images, rules).withColumnsRenamed({field: columns[field] for field in bits})
        facts = facts.join(marked, "product_id")
    codes = F.array(*[F.col(column) for column in columns.values()]).cast("array<bigint>")
    return facts.select("product_id", codes.alias("codes"), F.col("price").alias("amount"))


def connected(rows: DataFrame, columns: tuple[str, str], stage: Callable[[str, DataFrame], DataFrame]) -> DataFrame:
    """The rows with one code, in the second column, for all that are equal in either column, directly or through others.

    Cost: two shuffles of the rows for each step of the longest chain; two steps where twins link no more than two groups.
    """
    first, second = columns
    rows, step = rows.withColumn("_label", F.col(first)), 0
    while True:
        least = F.min("_label").over(Window.partitionBy(second))
        rows = rows.withColumn("_next", least).withColumn("_next", F.min("_next").over(Window.partitionBy(first)))
        rows, step = stage(f"connected-{step}", rows), step + 1
        changed = rows.where("_next <> _label").count()
        rows = rows.withColumn("_label", F.col("_next")).drop("_next")
        if not changed:
            return rows.withColumn(second, F.col("_label")).drop("_label")
