"""Lists under the rules of `recommend`: exactly the nearest eligible products, and why a list is short."""

from __future__ import annotations

import datetime as dt
import logging
from functools import cached_property

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vsspark.config import CatalogueConfig, RecommendConfig
from vsspark.job.second_search import SecondSearch
from vsspark.knn.eligibility import RATIO
from vsspark.knn.facts import Rules
from vsspark.recommend.lists import merge_neighbours, ranked, short_products, top_products, with_backfill
from vsspark.recommend.rules import (
    best_of_groups,
    capped,
    eligible_pairs,
    image_facts,
    open_products,
    product_codes,
    twin_groups,
    with_equal_items,
)
from vsspark.recommend.terms import DEPTH, GROUP, TWINS, ProductRules, product_rules
from vsspark.storage.run_tables import RunTables

log = logging.getLogger("vsspark")


def rules_of(tables: RunTables, recommend: RecommendConfig, catalogue: CatalogueConfig) -> ProductRules | None:
    """The rules on pairs and lists; None where there are none. A column of variant groups that the feed lacks, such as
    one of a preset, makes none.
    """
    grouped = F.col("attributes")[GROUP].isNotNull()
    if catalogue.columns.group is not None and tables.read("images").where(grouped).isEmpty():
        columns = catalogue.columns.model_copy(update={"group": None})
        catalogue = catalogue.model_copy(update={"columns": columns})
    return product_rules(recommend, catalogue)


class EligibleLists:
    """The lists of one run under its rules."""

    def __init__(self, tables: RunTables, rules: ProductRules, recommend: RecommendConfig, search: SecondSearch):
        self._tables, self._rules, self._recommend, self._search = tables, rules, recommend, search
        # Caps choose among more products than a list has places.
        self._places = recommend.k * (DEPTH if rules.caps else 1)

    @cached_property
    def _images(self) -> DataFrame:
        return self._tables.read("images")

    @cached_property
    def _codes(self) -> DataFrame:
        return self._tables.stage("codes", product_codes(self._images, self._rules, self._tables.stage))

    @cached_property
    def image_rules(self) -> Rules:
        """What the search must know to keep the rules itself."""
        return Rules(self._rules.terms, image_facts(self._images, self._codes))

    def visual(self, neighbours: DataFrame) -> DataFrame:
        """The nearest eligible products of the probed blocks, as `merge_neighbours` gives them: k, or as many as caps
        choose from."""
        tables = self._tables
        eligible = tables.stage("eligible", self._eligible(merge_neighbours(neighbours, self._images)))
        owners = self._images.select("image_id", "product_id")
        searched = tables.read("_searched")
        again = tables.stage("open", open_products(eligible, searched, neighbours, owners, self._places))
        count = again.count()
        if not count:
            return tables.stage("visual", top_products(eligible, self._places))
        log.info("rules      %s products are searched again: their neighbours hold too few eligible ones", f"{count:,}")
        lists = self._search.in_probed_blocks("again", again, self._places, self.image_rules)
        found = self._eligible(merge_neighbours(self.settled(lists, everywhere=False), self._images))
        both = eligible.join(again, "product_id", "left_anti").unionByName(found)
        return tables.stage("visual", top_products(both, self._places))

    def settled(self, lists: DataFrame, everywhere: bool) -> DataFrame:
        """The rows of a search under the rules, with all that is equal to what it found."""
        owners = self._images.select("image_id", "product_id")
        items = self._tables.read("_searched").withColumn("content", F.col("content_hash")).join(owners, "image_id")
        return with_equal_items(lists, items, self._codes, self._rules, everywhere)

    def backfill(self, merged: DataFrame) -> DataFrame:
        """The nearest eligible products of a search of the whole catalogue."""
        return top_products(self._eligible(merged), self._recommend.k)

    def arranged(self, visual: DataFrame, backfill: DataFrame | None) -> DataFrame:
        """The lists with rank and reason: one of each variant group across both sources, caps kept."""
        rows = with_backfill(visual, backfill)
        if backfill is not None:
            rows = best_of_groups(rows, self._rules)
        if self._rules.caps:
            lists = capped(rows, self._rules, self._recommend.k)
        else:
            lists = ranked(rows, self._recommend.k).withColumn("reason", F.lit(None).cast("string"))
        return self._tables.stage("lists", lists)

    def write_short_lists(self, items: DataFrame, lists: DataFrame) -> int:
        """Writes `short_lists`; how many products have one. items: of `searchable`; lists: of `arranged`."""
        tables, k = self._tables, self._recommend.k
        products = items.groupBy("product_id").agg(F.max("recommendable").alias("recommendable"))
        total = products.agg(F.count_if("recommendable")).first()[0]
        short = short_products(products.select("product_id"), lists, k).join(products, "product_id")
        short = short.join(self._codes.select("product_id", "amount"), "product_id", "left")
        others = F.lit(total) - F.col("recommendable").cast("int")
        reason = F.when(others < k, "no_eligible").otherwise("rule")
        if any(condition.kind == RATIO for condition in self._rules.terms.conditions):
            reason = F.when(F.col("amount").isNull(), "no_price").otherwise(reason)
        rows = short.select("product_id", F.col("have").alias("places"), reason.alias("reason"))
        rows = tables.stage("short-lists", rows.withColumn("run_id", F.lit(tables.run_id)))
        counts = {row["reason"]: row["count"] for row in rows.groupBy("reason").count().collect()}
        if counts or tables.exists("short_lists"):
            tables.overwrite("short_lists", rows)
        if counts:
            said = ", ".join(f"{count:,} {reason}" for reason, count in sorted(counts.items()))
            log.info("rules      %s products have fewer than %d places: %s", f"{sum(counts.values()):,}", k, said)
        return sum(counts.values())

    def write_duplicate_groups(self, run_date: dt.date) -> int:
        """Writes `duplicate_groups`; how many groups there are. The id of a group is its earliest member."""
        tables = self._tables
        if TWINS not in self._rules.fields and not tables.exists("duplicate_groups"):
            return 0
        groups = tables.stage("twins", twin_groups(self._images, tables.read_or_empty("duplicate_groups"), run_date))
        count = groups.select("group_id").distinct().count()
        if count or tables.exists("duplicate_groups"):
            tables.overwrite("duplicate_groups", groups.withColumn("run_id", F.lit(tables.run_id)))
        if count:
            log.info("rules      %s groups of products have the same pictures, see duplicate_groups", f"{count:,}")
        return count

    def _eligible(self, merged: DataFrame) -> DataFrame:
        """The eligible pairs with item_codes, of each variant group the best."""
        pairs = eligible_pairs(merged, self._codes, self._rules)
        return best_of_groups(pairs.withColumn("source", F.lit("visual")), self._rules).drop("source")
