"""What each written rule does to the lists: those of a run without the rules beside those with them."""

from __future__ import annotations

from typing import NamedTuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vsspark.recommend.marks import matches
from vsspark.recommend.terms import TARGET, WHEN, ProductRules
from vsspark.recommend.written import WrittenRule

_LIST = ["product_id", "surface"]
_PAIR = [*_LIST, "similar_product_id"]


class Effect(NamedTuple):
    """rule. lists: how many it touches: it puts a product on them, or takes one off that would stand there. lost:
    products that these lists have no more and that no other list shows. short: of these lists, those that have fewer
    rows than without the rules.
    """

    rule: WrittenRule
    lists: int
    lost: int
    short: int


def rule_effects(before: DataFrame, after: DataFrame, images: DataFrame, rules: ProductRules) -> list[Effect]:
    """The effect of every written rule, in the order of the file. before, after: product_id, surface,
    similar_product_id, reason of the lists without and with the written rules; images: rows of `images`.

    Cost: five joins of the lists with themselves and with what the rules match.
    """
    gone = before.select(_PAIR).join(after.select(_PAIR), _PAIR, "left_anti")
    touched = _forbidden(before, images, rules).unionByName(_placed(after, rules)).select("rule", *_LIST).distinct()
    lost = gone.join(touched, _LIST).join(
        after.select("similar_product_id").distinct(), "similar_product_id", "left_anti"
    )
    lost = lost.groupBy("rule").agg(F.countDistinct("similar_product_id").alias("lost"))
    rows = before.groupBy(_LIST).agg(F.count("*").alias("old"))
    rows = rows.join(after.groupBy(_LIST).agg(F.count("*").alias("new")), _LIST, "full")
    shorter = rows.where(F.coalesce("new", F.lit(0)) < F.coalesce("old", F.lit(0))).select(
        *_LIST, F.lit(1).alias("short")
    )
    counted = (
        touched.join(shorter, _LIST, "left")
        .groupBy("rule")
        .agg(F.count("*").alias("lists"), F.count("short").alias("short"))
    )
    found = {row["rule"]: row for row in counted.join(lost, "rule", "left").collect()}
    effects = []
    for number, rule in sorted(enumerate(rules.written), key=lambda item: item[1].line):
        row = found.get(number)
        effects.append(Effect(rule, row["lists"], row["lost"] or 0, row["short"]) if row else Effect(rule, 0, 0, 0))
    return effects


def _placed(after: DataFrame, rules: ProductRules) -> DataFrame:
    """rule and list of what stands where it does by a pin, boost or bury."""
    reasons = [F.lit(f"{rule.action} {rule.id}") for rule in rules.written]
    place = F.array_position(F.array(*reasons), F.col("reason"))
    return (
        after.where("reason IS NOT NULL")
        .withColumn("rule", (place - 1).cast("int"))
        .where("rule >= 0")
        .select("rule", *_LIST)
    )


def _forbidden(before: DataFrame, images: DataFrame, rules: ProductRules) -> DataFrame:
    """rule and list of what a block, never_together or only takes off."""
    spark = images.sparkSession
    about = [
        (number, surface.name, rule.action, not rule.when)
        for number, rule in enumerate(rules.written)
        for surface in rules.surfaces
        if rule.is_of(surface.name) and rule.action in ("block", "never_together", "only")
    ]
    asked = F.broadcast(spark.createDataFrame(about, "rule int, surface string, action string, everywhere boolean"))
    found = matches(images, rules)
    pages = found.where(F.col("part") == WHEN).select("rule", "product_id", F.lit(True).alias("page"))
    targets = found.where(F.col("part") == TARGET).select(
        "rule", F.col("product_id").alias("similar_product_id"), F.lit(True).alias("hit")
    )
    rows = before.select(_PAIR).join(asked, "surface")
    rows = rows.join(pages, ["rule", "product_id"], "left").join(targets, ["rule", "similar_product_id"], "left")
    rows = rows.withColumns({"page": F.coalesce("page", "everywhere"), "hit": F.coalesce("hit", F.lit(False))})
    # Never together holds both ways: on the target's page, too.
    back = pages.withColumnsRenamed({"product_id": "similar_product_id", "page": "back_page"})
    there = targets.withColumnsRenamed({"similar_product_id": "product_id", "hit": "back_hit"})
    rows = rows.join(back, ["rule", "similar_product_id"], "left").join(there, ["rule", "product_id"], "left")
    backwards = F.coalesce("back_page", "everywhere") & F.coalesce("back_hit", F.lit(False))
    both = (F.col("page") & F.col("hit")) | ((F.col("action") == "never_together") & backwards)
    blocked = rows.where((F.col("action") != "only") & both)
    alone = rows.where((F.col("action") == "only") & F.col("page"))
    allowed = alone.where("hit").select(_PAIR).distinct()
    left_out = alone.join(allowed, _PAIR, "left_anti")
    return blocked.select("rule", *_LIST).unionByName(left_out.select("rule", *_LIST))
