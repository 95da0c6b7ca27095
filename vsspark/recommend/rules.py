"""Rules on pairs of products, from `recommend`: which product may be recommended on whose page.

They hold before the k nearest are chosen: a list is that of the eligible products alone. Each kind of rule is kept
where that is cheapest:

    of the item alone       in_stock_only, min_stock, price.at_most and at_least: products that no list may show are no
                            items of the search (`job.neighbours.searchable`); lists that differ in these rules have
                            them as conditions, too
    of the pair             match, differ, price.at_most_times and between_times, variants, twins, and of the written
                            rules block, never_together and only: the search keeps DEPTH * k neighbours, of which
                            `eligible_pairs` leaves the eligible ones. Where these are sure to be the nearest of all,
                            they are the list; the other products are searched once more with the rules in the kernel
                            (`vsspark.knn.eligibility`)
    of the list             max_per, boost, bury, pins, the lists before it on a page: on the DEPTH * k nearest eligible
                            products (`recommend.arrange`)

All lists of a shop, its surfaces, go through the same pass over the neighbours; rows say in `surface` whose they are.

Cost: facts of products are 16 bytes and 8 for each field; they are joined with the pairs twice, broadcast while they
are small. The second search reads the tiles of the blocks that its products probe; what it costs depends on how many
products the rules leave with too few of the DEPTH * k.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import and_

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window

from vsspark.config import RecommendConfig
from vsspark.config.recommend import SIMILAR
from vsspark.errors import ConfigError
from vsspark.knn.eligibility import AMONG, APART, EQUAL, ITEM, RATIO, SAME_OR_UNKNOWN_BOTH, UNKNOWN, Condition
from vsspark.recommend.lists import list_order
from vsspark.recommend.terms import CURRENCY, Surface


def check_fields(rows: DataFrame, recommend: RecommendConfig) -> None:
    """Raises ConfigError for a field that the catalogue does not have. rows: with `attributes`."""
    asked: dict[str, str] = {}
    for surface, keys in recommend.lists().items():
        where = "recommend" if surface == SIMILAR else f"recommend.surfaces.{surface}"
        for key in ("max_per", "differ", "match"):
            asked |= {name: f"{where}.{key}: got {name}" for name in getattr(keys, key)}
    for name in ("category", CURRENCY):
        asked.pop(name, None)
    if not asked:
        return
    have = field_names(rows)
    missing = [said for name, said in asked.items() if name not in have]
    if missing:
        raise ConfigError(f"{'; '.join(missing)}; expected a column of the catalogue: {', '.join(have)}")


def field_names(rows: DataFrame) -> list[str]:
    """The fields that rules may name. rows: with `attributes`."""
    names = rows.select(F.explode(F.map_keys("attributes")).alias("name")).distinct().collect()
    return sorted({row.name for row in names} | {"category"})


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


def eligible_pairs(merged: DataFrame, codes: DataFrame, surfaces: Sequence[Surface]) -> DataFrame:
    """The pairs that the rules let through, a row for each list, with surface and the codes of both products, own_codes
    and item_codes. merged: of `lists.merge_neighbours`.
    """
    conditions = {surface.name: surface.terms.conditions for surface in surfaces}
    return passing_pairs(merged, codes, conditions)


def passing_pairs(pairs: DataFrame, codes: DataFrame, conditions: Mapping[str, Sequence[Condition]]) -> DataFrame:
    """`eligible_pairs` of rows with product_id and similar_product_id; conditions: by the name of the list. Rows that
    are of a list already, by `surface`, stay in that one."""
    own = codes.select("product_id", F.col("codes").alias("own_codes"), F.col("amount").alias("own_amount"))
    other = [F.col("codes").alias("item_codes"), F.col("amount").alias("item_amount")]
    rows = pairs.join(own, "product_id").join(
        codes.select(F.col("product_id").alias("similar_product_id"), *other), "similar_product_id"
    )
    of_a_list = "surface" in pairs.columns
    names = []
    for name, wanted in conditions.items():
        tests = [_passes(condition) for condition in wanted] + ([F.col("surface") == name] if of_a_list else [])
        names.append(F.when(reduce(and_, tests, F.lit(True)), F.lit(name)))
    rows = rows.withColumn("surface", F.explode(F.array_compact(F.array(*names))))
    return rows.drop("own_amount", "item_amount")


def best_of_groups(rows: DataFrame, surfaces: Sequence[Surface]) -> DataFrame:
    """The rows, of which a product's list keeps the first of each variant group where the rules want that. rows: with
    source and item_codes.
    """
    if all(surface.terms.group_column is None for surface in surfaces):
        return rows
    group = F.xxhash64("similar_product_id")  # without groups every product is one
    for surface in surfaces:
        column = surface.terms.group_column
        if column is not None:
            code = F.get("item_codes", F.lit(column))
            group = F.when(F.col("surface") == surface.name, code).otherwise(group)
    first = Window.partitionBy("surface", "product_id", group).orderBy(*list_order())
    return rows.withColumn("_place", F.row_number().over(first)).where("_place = 1").drop("_place")


def with_equal_items(
    lists: DataFrame, items: DataFrame, codes: DataFrame, column: int | None, everywhere: bool
) -> DataFrame:
    """The rows of a search under rules, and the same for the items' copies: other members of the item's group with the
    same picture. The search keeps one of a group, of equals by image; a list keeps the first by product.

    lists: query_image_id, item_image_id, similarity. items: image_id, product_id, content, block (null: no item).
    column: the group's, of the codes. everywhere: whether a copy may be in another block. Cost: one join of the rows
    with the items by image, one by content and group.
    """
    if column is None:
        return lists
    keys = ["content", "_group"] if everywhere else ["content", "_group", "block"]
    rows = items.where("block IS NOT NULL").join(codes, "product_id")
    rows = rows.select("image_id", "content", "block", F.get("codes", F.lit(column)).alias("_group"))
    copies = rows.withColumnRenamed("image_id", "item_image_id")
    own = lists.join(copies, "item_image_id").drop("item_image_id", *({"block"} - set(keys)))
    return own.join(copies, keys).select("query_image_id", "item_image_id", "similarity")


def open_products(
    eligible: DataFrame, searched: DataFrame, neighbours: DataFrame, owners: DataFrame, surfaces: Sequence[Surface]
) -> DataFrame:
    """product_id and surface of the lists whose eligible pairs may not be the nearest: neighbours that end before all
    items are in them hide what lies below their last place.

    eligible: `eligible_pairs`, one of each group. searched: rows of `_searched`. owners: image_id, product_id.
    """
    lists = neighbours.groupBy(F.col("query_image_id").alias("image_id")).agg(
        F.count("*").alias("held"), F.min("similarity").alias("last")
    )
    images = searched.select("image_id", "complete", "length").join(lists, "image_id").join(owners, "image_id")
    whole = F.col("complete") & (F.col("length") <= F.col("held"))
    bounds = images.where(~whole).groupBy("product_id").agg(F.max("last").alias("bound"))
    places = F.explode(
        F.array(*[F.struct(F.lit(s.name).alias("surface"), F.lit(s.places).alias("places")) for s in surfaces])
    )
    asked = bounds.select("product_id", places.alias("list")).select("product_id", "list.*")
    pairs = eligible.select("product_id", "surface", "similarity").join(bounds, "product_id")
    sure = pairs.groupBy("product_id", "surface").agg(F.count_if(F.col("similarity") > F.col("bound")).alias("sure"))
    held = asked.join(sure, ["product_id", "surface"], "left")
    return held.where(F.coalesce("sure", F.lit(0)) < F.col("places")).select("product_id", "surface")


def is_available(surface: Surface) -> Column:
    """Whether a list may show the product of a row with codes, where that is not the same for all lists."""
    for condition in surface.terms.conditions:
        if condition.kind == ITEM:
            return F.get("codes", F.lit(condition.item_column)) != UNKNOWN
    return F.lit(True)


def _passes(condition: Condition) -> Column:
    """`Condition` of a row of two products: what `knn.eligibility` computes in the search, of the same numbers."""
    if condition.kind in (APART, AMONG, ITEM):
        item = F.get("item_codes", F.lit(condition.item_column))
        if condition.kind == ITEM:
            return item != UNKNOWN
        own = F.get("own_codes", F.lit(condition.column)).bitwiseAND(F.lit(condition.mask).cast("bigint"))
        shared = own.bitwiseAND(item) != 0
        return ~shared if condition.kind == APART else (own == 0) | shared
    if condition.kind == RATIO:
        own, item = F.col("own_amount"), F.col("item_amount")
        return (item >= F.lit(condition.low) * own) & (item <= F.lit(condition.high) * own)
    own, item = (F.get(name, F.lit(condition.column)) for name in ("own_codes", "item_codes"))
    same = own == item
    if condition.kind == SAME_OR_UNKNOWN_BOTH:
        return same
    either = (own == UNKNOWN) | (item == UNKNOWN)
    return F.when(either, F.lit(condition.unknown)).otherwise(same if condition.kind == EQUAL else ~same)
