"""Rules on pairs of products, from `recommend`: which product may be recommended on whose page.

They hold before the k nearest are chosen: a list is that of the eligible products alone. Each kind of rule is kept
where that is cheapest:

    of the item alone       in_stock_only, min_stock, price.at_most and at_least: such products are no items of the
                            search (`job.neighbours.searchable`)
    of the pair             match, differ, price.at_most_times and between_times, variants: the search keeps DEPTH * k
                            neighbours, of which `eligible_pairs` leaves the eligible ones. Where these are sure to be
                            the nearest of all, they are the list; the other products are searched once more with the
                            rules in the kernel (`vsspark.knn.eligibility`)
    of the list             max_per, on the DEPTH * k nearest eligible products (`recommend.caps`)

Cost: facts of products are 16 bytes and 8 for each field; they are joined with the pairs twice, broadcast while they
are small. The second search reads the tiles of the blocks that its products probe; what it costs depends on how many
products the rules leave with too few of the DEPTH * k.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import IntegerType, StringType, StructField, StructType
from pyspark.sql.window import Window

from vsspark.catalogue.words import without_missing
from vsspark.config import RecommendConfig
from vsspark.errors import ConfigError
from vsspark.knn.eligibility import EQUAL, RATIO, SAME_OR_UNKNOWN_BOTH, UNKNOWN, Condition
from vsspark.recommend.caps import capped_order
from vsspark.recommend.lists import first_value, list_order
from vsspark.recommend.terms import CURRENCY, GROUP, TWINS, ProductRules


def check_fields(rows: DataFrame, recommend: RecommendConfig) -> None:
    """Raises ConfigError for a field that the catalogue does not have. rows: with `attributes`."""
    asked = {name: f"recommend.match: got {name}" for name in recommend.match}
    asked |= {name: f"recommend.differ: got {name}" for name in recommend.differ}
    asked |= {name: f"recommend.max_per: got {name}" for name in recommend.max_per}
    for name in ("category", CURRENCY):
        asked.pop(name, None)
    if not asked:
        return
    names = rows.select(F.explode(F.map_keys("attributes")).alias("name")).distinct().collect()
    have = sorted({row.name for row in names} | {"category"})
    missing = [said for name, said in asked.items() if name not in have]
    if missing:
        raise ConfigError(f"{'; '.join(missing)}; expected a column of the catalogue: {', '.join(have)}")


def product_codes(images: DataFrame, rules: ProductRules, stage: Callable[[str, DataFrame], DataFrame]) -> DataFrame:
    """product_id, codes array<long>, amount double (the price), a row per product: what the rules compare.

    A code is 64 bits of a field's text, 0 where there is none. A product without a variant group is a group of its own,
    and so is one whose pictures no other product has all of. images: rows of `images`; a product's first image that
    states a value says it. stage: writes rows and reads them back, see `storage.run_tables`.
    """
    fields = list(rules.fields)
    columns = [_code(field, rules.missing_words).alias(f"code{place}") for place, field in enumerate(fields)]
    facts = images.groupBy("product_id").agg(first_value(F.col("price")).alias("amount"), *columns)
    if rules.twins_with_variants:
        pair = f"code{fields.index(GROUP)}", f"code{fields.index(TWINS)}"
        facts = connected(facts, pair, stage)
    codes = F.array(*[F.col(f"code{place}") for place in range(len(columns))]).cast("array<bigint>")
    return facts.select("product_id", codes.alias("codes"), "amount")


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


def twin_groups(images: DataFrame, before: DataFrame, run_date: dt.date) -> DataFrame:
    """group_id, product_id, since date: the products all of whose pictures another product has, too.

    before: the rows of the last run. group_id: the member that has been in a group for longest, of several the first by
    name; so an id lasts while that member does.
    """
    pictures = F.array_sort(F.collect_set(F.concat_ws(" ", "content_hash", "box")))
    sets = images.where("content_hash IS NOT NULL").groupBy("product_id").agg(F.xxhash64(pictures).alias("pictures"))
    known = before.select("product_id", F.col("since").alias("earlier"))
    rows = sets.join(known, "product_id", "left").withColumn("since", F.coalesce("earlier", F.lit(run_date)))
    same = Window.partitionBy("pictures")
    first = F.min(F.struct("since", "product_id")).over(same)
    rows = rows.withColumns({"members": F.count("*").over(same), "group_id": first["product_id"]})
    return rows.where("members > 1").select("group_id", "product_id", "since")


def image_facts(images: DataFrame, codes: DataFrame) -> DataFrame:
    """image_id, codes, amount: `product_codes` of each image's product."""
    return images.select("image_id", "product_id").join(codes, "product_id").select("image_id", "codes", "amount")


def eligible_pairs(merged: DataFrame, codes: DataFrame, rules: ProductRules) -> DataFrame:
    """The pairs that the rules let through, with the codes of the similar product in `item_codes`. merged: of
    `lists.merge_neighbours`.
    """
    own = codes.select("product_id", F.col("codes").alias("own_codes"), F.col("amount").alias("own_amount"))
    other = [F.col("codes").alias("item_codes"), F.col("amount").alias("item_amount")]
    rows = merged.join(own, "product_id").join(
        codes.select(F.col("product_id").alias("similar_product_id"), *other), "similar_product_id"
    )
    for condition in rules.terms.conditions:
        rows = rows.where(_passes(condition))
    return rows.drop("own_codes", "own_amount", "item_amount")


def best_of_groups(rows: DataFrame, rules: ProductRules) -> DataFrame:
    """The rows, of which a product's list keeps the first of each variant group where the rules want that. rows: with
    source and item_codes.
    """
    column = rules.terms.group_column
    if column is None:
        return rows
    group = F.get("item_codes", F.lit(column))
    first = Window.partitionBy("product_id", group).orderBy(*list_order())
    return rows.withColumn("_place", F.row_number().over(first)).where("_place = 1").drop("_place")


def capped(rows: DataFrame, rules: ProductRules, k: int) -> DataFrame:
    """The k first of each product under `max_per`, with rank and reason: max_per where the order is not that of
    similarity. rows: with source and item_codes. One Python call per product.
    """
    names = ["product_id", "similar_product_id", "similarity", "query_image_id", "item_image_id", "source"]
    kept = [field for field in rows.schema.fields if field.name in names]
    schema = StructType([*kept, StructField("rank", IntegerType()), StructField("reason", StringType())])
    shown, caps, window = [field.name for field in kept], rules.caps, rules.window

    def place(product: pa.Table) -> pa.Table:  # Spark reads the annotations
        return _capped(product, caps, window, k, shown)

    return rows.groupBy("product_id").applyInArrow(place, schema)


def _capped(rows: pa.Table, caps: Sequence[tuple[int, int]], window: int, k: int, names: Sequence[str]) -> pa.Table:
    falling = [("source", "descending"), ("similarity", "descending"), ("similar_product_id", "ascending")]
    rows = rows.sort_by(falling).combine_chunks()
    codes = np.array(rows["item_codes"].to_pylist(), np.int64)
    tiers = np.array([source == "backfill" for source in rows["source"].to_pylist()])
    order = capped_order(codes, tiers, caps, window)
    moved = order != np.arange(len(order))
    shown = rows.select(list(names)).take(pa.array(order[:k]))
    ranks = pa.array(np.arange(1, len(shown) + 1, dtype=np.int32))
    reasons = pa.array(["max_per" if other else None for other in moved[:k]], pa.string())
    return shown.append_column("rank", ranks).append_column("reason", reasons)


def with_equal_items(
    lists: DataFrame, items: DataFrame, codes: DataFrame, rules: ProductRules, everywhere: bool
) -> DataFrame:
    """The rows of a search under rules, and the same for the items' copies: other members of the item's group with the
    same picture. The search keeps one of a group, of equals by image; a list keeps the first by product.

    lists: query_image_id, item_image_id, similarity. items: image_id, product_id, content, block (null: no item).
    everywhere: whether a copy may be in another block. Cost: one join of the rows with the items by image, one by content
    and group.
    """
    column = rules.terms.group_column
    if column is None:
        return lists
    keys = ["content", "_group"] if everywhere else ["content", "_group", "block"]
    rows = items.where("block IS NOT NULL").join(codes, "product_id")
    rows = rows.select("image_id", "content", "block", F.get("codes", F.lit(column)).alias("_group"))
    copies = rows.withColumnRenamed("image_id", "item_image_id")
    own = lists.join(copies, "item_image_id").drop("item_image_id", *({"block"} - set(keys)))
    return own.join(copies, keys).select("query_image_id", "item_image_id", "similarity")


def open_products(eligible: DataFrame, searched: DataFrame, neighbours: DataFrame, owners: DataFrame, places: int):
    """product_id of the products whose eligible pairs may not be the nearest `places`: a list that ends before all
    items are in it hides what lies below its last place.

    eligible: `eligible_pairs`, one of each group. searched: rows of `_searched`. owners: image_id, product_id.
    """
    lists = neighbours.groupBy(F.col("query_image_id").alias("image_id")).agg(
        F.count("*").alias("held"), F.min("similarity").alias("last")
    )
    images = searched.select("image_id", "complete", "length").join(lists, "image_id").join(owners, "image_id")
    whole = F.col("complete") & (F.col("length") <= F.col("held"))
    bounds = images.where(~whole).groupBy("product_id").agg(F.max("last").alias("bound"))
    pairs = eligible.select("product_id", "similarity").join(bounds, "product_id")
    sure = pairs.groupBy("product_id").agg(F.count_if(F.col("similarity") > F.col("bound")).alias("sure"))
    return bounds.join(sure, "product_id", "left").where(F.coalesce("sure", F.lit(0)) < places).select("product_id")


def _code(field: str, missing_words: Sequence[str]) -> Column:
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
    code = F.xxhash64(F.lower(F.trim(value)))
    if field == GROUP:
        return F.when(value.isNotNull(), code).otherwise(F.xxhash64(F.lit(0), F.first("product_id")))
    return F.when(value.isNotNull(), code).otherwise(F.lit(UNKNOWN))


def _passes(condition: Condition) -> Column:
    """`Condition` of a row of two products: what `knn.eligibility` computes in the search, of the same numbers."""
    if condition.kind == RATIO:
        own, item = F.col("own_amount"), F.col("item_amount")
        return (item >= F.lit(condition.low) * own) & (item <= F.lit(condition.high) * own)
    own, item = (F.get(name, F.lit(condition.column)) for name in ("own_codes", "item_codes"))
    same = own == item
    if condition.kind == SAME_OR_UNKNOWN_BOTH:
        return same
    either = (own == UNKNOWN) | (item == UNKNOWN)
    return F.when(either, F.lit(condition.unknown)).otherwise(same if condition.kind == EQUAL else ~same)
