"""Lists under the rules of `recommend`: exactly the nearest eligible products, and why a list is short."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Sequence
from functools import cached_property, reduce

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import IntegerType, StringType, StructField, StructType

from vsspark.config import CatalogueConfig, RecommendConfig
from vsspark.config.recommend import SIMILAR
from vsspark.job.second_search import SecondSearch
from vsspark.knn.eligibility import RATIO
from vsspark.knn.facts import Rules
from vsspark.recommend.arrange import Page
from vsspark.recommend.codes import product_codes
from vsspark.recommend.lists import merge_neighbours, nearest, ranked, with_backfill
from vsspark.recommend.pins import check_pins, pinned_pairs
from vsspark.recommend.rules import (
    best_of_groups,
    eligible_pairs,
    image_facts,
    is_available,
    open_products,
    twin_groups,
    with_equal_items,
)
from vsspark.recommend.terms import GROUP, RELATED, TWINS, ProductRules, Surface, product_rules
from vsspark.recommend.written import WrittenRule
from vsspark.storage.run_tables import RunTables

log = logging.getLogger("vsspark")

_SHOWN = ("product_id", "surface", "similar_product_id", "similarity", "query_image_id", "item_image_id", "source")


def rules_of(
    tables: RunTables, recommend: RecommendConfig, catalogue: CatalogueConfig, written: Sequence[WrittenRule] = ()
) -> ProductRules | None:
    """The rules on pairs and lists; None where there are none. written: rules of the file, those in force. A column of
    variant groups that the feed lacks, such as one of a preset, makes none.
    """
    grouped = F.col("attributes")[GROUP].isNotNull()
    if catalogue.columns.group is not None and tables.read("images").where(grouped).isEmpty():
        columns = catalogue.columns.model_copy(update={"group": None})
        catalogue = catalogue.model_copy(update={"columns": columns})
    return product_rules(recommend, catalogue, written)


class EligibleLists:
    """The lists of one run under its rules, all surfaces in one pass over the neighbours.

    Cost: beside that pass, a second search for each surface that has products without enough eligible neighbours.
    """

    def __init__(self, tables: RunTables, rules: ProductRules, search: SecondSearch, lenient: bool = False):
        self._tables, self._rules, self._search, self._lenient = tables, rules, search, lenient

    @cached_property
    def _images(self) -> DataFrame:
        return self._tables.read("images")

    @cached_property
    def _codes(self) -> DataFrame:
        return self._tables.stage("codes", product_codes(self._images, self._rules, self._tables.stage))

    @cached_property
    def _facts(self) -> DataFrame:
        return self._tables.stage("facts", image_facts(self._images, self._codes))

    def visual(self, neighbours: DataFrame) -> DataFrame:
        """The nearest eligible products of the probed blocks, with surface: as many of each list as it is chosen from."""
        tables, surfaces = self._tables, self._rules.surfaces
        eligible = tables.stage("eligible", self._eligible(merge_neighbours(neighbours, self._images), surfaces))
        owners = self._images.select("image_id", "product_id")
        again = open_products(eligible, tables.read("_searched"), neighbours, owners, surfaces)
        again = tables.stage("open", again)
        counts = {row["surface"]: row["count"] for row in again.groupBy("surface").count().collect()}
        places = {surface.name: surface.places for surface in surfaces}
        if not counts:
            return tables.stage("visual", nearest(eligible, places))
        parts = [eligible.join(again, ["product_id", "surface"], "left_anti")]
        for surface in surfaces:
            if surface.name not in counts:
                continue
            about = "rules      %s: %s products are searched again, their neighbours hold too few eligible ones"
            log.info(about, surface.name, f"{counts[surface.name]:,}")
            asked = again.where(F.col("surface") == surface.name).select("product_id")
            name, rules = f"again-{surface.name}", self._image_rules(surface)
            lists = self._search.in_probed_blocks(name, asked, surface.places, rules)
            parts.append(self._found(lists, surface, everywhere=False))
        return tables.stage("visual", nearest(reduce(DataFrame.unionByName, parts), places))

    def backfill(self, items: DataFrame, visual: DataFrame) -> DataFrame | None:
        """The nearest eligible products of the whole catalogue, for the lists that the probed blocks did not fill; None
        where all are full, or none is to be filled. items: of `searchable`."""
        surfaces = [surface for surface in self._rules.surfaces if surface.backfill]
        if not surfaces:
            return None
        short = self._tables.stage("short", self._lists_below(items, visual, {s.name: s.needed for s in surfaces}))
        counts = {row["surface"] for row in short.groupBy("surface").count().collect()}
        parts = []
        for surface in surfaces:
            if surface.name in counts:
                asked = short.where(F.col("surface") == surface.name).select("product_id")
                rules = self._image_rules(surface)
                lists = self._search.everywhere(f"backfill-{surface.name}", items, asked, surface.places, rules)
                parts.append(nearest(self._found(lists, surface, everywhere=True), {surface.name: surface.places}))
        return self._tables.stage("backfill", reduce(DataFrame.unionByName, parts)) if parts else None

    def arranged(self, items: DataFrame, visual: DataFrame, backfill: DataFrame | None) -> DataFrame:
        """The lists with rank and reason: one of each variant group across both sources, caps and written rules kept."""
        rules, surfaces = self._rules, self._rules.surfaces
        rows = with_backfill(visual, backfill)
        if backfill is not None:
            rows = best_of_groups(rows, surfaces)
        if not (any(surface.is_arranged for surface in surfaces) or rules.uses("pin", "boost", "bury")):
            lists = ranked(rows, {surface.name: surface.k for surface in surfaces})
            return self._tables.stage("arranged", lists.withColumn("reason", F.lit(None).cast("string")))
        rows = self._with_shown(rows.withColumns({name: F.lit(None).cast("int") for name in ("place", "rule")}))
        if rules.uses("pin"):
            rows = rows.unionByName(self._pinned(items).withColumn("shown", F.lit(False)))
        kept = {field.name: field for field in rows.schema.fields}
        shown = [kept[name] for name in _SHOWN]
        schema = StructType([*shown, StructField("rank", IntegerType()), StructField("reason", StringType())])
        page = Page(rules)

        def arrange(product: pa.Table) -> pa.Table:  # Spark reads the annotations
            placed = page.arrange(product.to_pylist())
            types = {name: product.schema.field(name).type for name in _SHOWN}
            types |= {"rank": pa.int32(), "reason": pa.string()}
            return pa.table({n: pa.array([row[n] for row in placed], kind) for n, kind in types.items()})

        return self._tables.stage("arranged", rows.groupBy("product_id").applyInArrow(arrange, schema))

    def write_short_lists(self, items: DataFrame, lists: DataFrame) -> int:
        """Writes `short_lists`; how many there are. items: of `searchable`; lists: of `arranged`."""
        tables, surfaces = self._tables, self._rules.surfaces
        short = self._lists_below(items, lists, {surface.name: surface.k for surface in surfaces})
        short = short.join(self._codes.select("product_id", "codes", "amount"), "product_id", "left")
        shown = items.groupBy("product_id").agg(F.max("recommendable").alias("recommendable"))
        shown = shown.join(self._codes.select("product_id", "codes"), "product_id")
        may = {s.name: F.col("recommendable") & is_available(s) for s in surfaces}
        totals = shown.agg(*[F.count_if(test).alias(name) for name, test in may.items()]).first()
        short = short.join(shown.select("product_id", "recommendable"), "product_id")
        reason = F.lit("rule")
        for surface in surfaces:
            others = F.lit(totals[surface.name]) - may[surface.name].cast("int")
            own = F.when(others < surface.k, "no_eligible").otherwise("rule")
            if any(condition.kind == RATIO for condition in surface.terms.conditions):
                own = F.when(F.col("amount").isNull(), "no_price").otherwise(own)
            reason = F.when(F.col("surface") == surface.name, own).otherwise(reason)
        columns = ["product_id", "surface", F.col("have").alias("places"), reason.alias("reason")]
        rows = tables.stage("short-lists", short.select(*columns).withColumn("run_id", F.lit(tables.run_id)))
        counts = {
            (row["surface"], row["reason"]): row["count"] for row in rows.groupBy("surface", "reason").count().collect()
        }
        if counts or tables.exists("short_lists"):
            tables.overwrite("short_lists", rows)
        for surface in surfaces:
            own = {reason: count for (name, reason), count in sorted(counts.items()) if name == surface.name}
            if own:
                said = ", ".join(f"{count:,} {reason}" for reason, count in own.items())
                about = "rules      %s: %s products have fewer than %d places: %s"
                log.info(about, surface.name, f"{sum(own.values()):,}", surface.k, said)
        return sum(counts.values())

    def write_duplicate_groups(self, run_date: dt.date) -> int:
        """Writes `duplicate_groups`; how many groups there are. The id of a group is its earliest member."""
        tables = self._tables
        if not {TWINS, RELATED} & set(self._rules.fields) and not tables.exists("duplicate_groups"):
            return 0
        groups = tables.stage("twins", twin_groups(self._images, tables.read_or_empty("duplicate_groups"), run_date))
        count = groups.select("group_id").distinct().count()
        if count or tables.exists("duplicate_groups"):
            tables.overwrite("duplicate_groups", groups.withColumn("run_id", F.lit(tables.run_id)))
        if count:
            log.info("rules      %s groups of products have the same pictures, see duplicate_groups", f"{count:,}")
        return count

    def _eligible(self, merged: DataFrame, surfaces: Sequence[Surface]) -> DataFrame:
        """The eligible pairs, of each variant group the best."""
        pairs = eligible_pairs(merged, self._codes, surfaces)
        return best_of_groups(pairs.withColumn("source", F.lit("visual")), surfaces).drop("source")

    def _image_rules(self, surface: Surface) -> Rules:
        """What a search must know to keep the rules itself."""
        return Rules(surface.terms, self._facts)

    def _found(self, lists: DataFrame, surface: Surface, everywhere: bool) -> DataFrame:
        """The eligible pairs of a search under the rules, with all that is equal to what it found."""
        owners = self._images.select("image_id", "product_id")
        items = self._tables.read("_searched").withColumn("content", F.col("content_hash")).join(owners, "image_id")
        settled = with_equal_items(lists, items, self._codes, surface.terms.group_column, everywhere)
        return self._eligible(merge_neighbours(settled, self._images), [surface])

    def _lists_below(self, items: DataFrame, lists: DataFrame, places: dict[str, int]) -> DataFrame:
        """product_id, surface and have (int) of the lists that have fewer places; of products with an embedded image."""
        have = lists.groupBy("product_id", "surface").agg(F.count("*").cast("int").alias("have"))
        wanted = [
            F.struct(F.lit(name).alias("surface"), F.lit(count).alias("wanted")) for name, count in places.items()
        ]
        asked = items.select("product_id").distinct().withColumn("list", F.explode(F.array(*wanted)))
        asked = asked.select("product_id", "list.*").join(have, ["product_id", "surface"], "left")
        return asked.withColumn("have", F.coalesce("have", F.lit(0))).where("have < wanted").drop("wanted")

    def _with_shown(self, rows: DataFrame) -> DataFrame:
        """The rows with `shown`: whether readers see the pair now, on this list and by the same model version."""
        tables = self._tables
        kept = any(surface.keep for surface in self._rules.surfaces)
        if not kept or tables.store.current_run("similar_products") is None:
            return rows.withColumn("shown", F.lit(False))
        published = tables.read("similar_products").where(F.col("model_version") == self._search.model_version)
        pair = ["product_id", F.coalesce("surface", F.lit(SIMILAR)).alias("surface"), "similar_product_id"]
        now = published.select(*pair, F.lit(True).alias("shown"))
        rows = rows.join(now, ["product_id", "surface", "similar_product_id"], "left")
        return rows.withColumn("shown", F.coalesce("shown", F.lit(False)))

    def _pinned(self, items: DataFrame) -> DataFrame:
        """The pins as rows of candidates, with place and rule."""
        pairs = self._tables.stage("pins", pinned_pairs(self._images, items, self._codes, self._rules))
        check_pins(pairs, self._rules, self._lenient)
        return self._search.similarities("pins", items, pairs).withColumn("source", F.lit("pin"))
