"""Pins of the written rules as pairs of products."""

from __future__ import annotations

import logging

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vsspark.errors import ConfigError
from vsspark.recommend.marks import matches
from vsspark.recommend.rules import is_available, passing_pairs
from vsspark.recommend.terms import WHEN, ProductRules
from vsspark.recommend.written import PRODUCT

log = logging.getLogger("vsspark")


def pinned_pairs(images: DataFrame, items: DataFrame, codes: DataFrame, rules: ProductRules) -> DataFrame:
    """product_id, surface, similar_product_id, place int, rule int, own_codes, item_codes: what is pinned where, but for
    products without a picture, those that may not be sold and those that a block forbids.

    images: rows of `images`; items: of `searchable`; codes: of `product_codes`. Cost: a row for each page that a pin is
    on; a pin for every page has the catalogue's.
    """
    spark, written = images.sparkSession, rules.written
    cells = [
        (number, surface.name, rule.place, rule.target[PRODUCT][0], not rule.when)
        for surface in rules.surfaces
        for number, rule in enumerate(written)
        if rule.action == "pin" and rule.is_of(surface.name)
    ]
    types = {"rule": pa.int32(), "surface": pa.string(), "place": pa.int32(), "similar_product_id": pa.string()}
    types["everywhere"] = pa.bool_()
    columns = zip(types.items(), zip(*cells, strict=True), strict=True)
    pins = F.broadcast(
        spark.createDataFrame(pa.table({name: pa.array(values, kind) for (name, kind), values in columns}))
    )
    pages = items.select("product_id").distinct()
    on_some = matches(images, rules).where(F.col("part") == WHEN).select("product_id", "rule")
    on_some = on_some.join(pages, "product_id").join(pins.where("NOT everywhere"), "rule")
    pairs = on_some.unionByName(pages.crossJoin(pins.where("everywhere"))).drop("everywhere")
    pairs = pairs.where("product_id <> similar_product_id")
    shown = items.where("recommendable").select("product_id").distinct().join(codes, "product_id")
    lists = {surface.name: is_available(surface) for surface in rules.surfaces}
    sold = [F.when(test, F.lit(name)) for name, test in lists.items()]
    shown = shown.select(
        F.col("product_id").alias("similar_product_id"), F.explode(F.array_compact(F.array(*sold))).alias("surface")
    )
    pairs = pairs.join(shown, ["similar_product_id", "surface"])
    return passing_pairs(pairs, codes, {s.name: s.terms.conditions[: s.blocks] for s in rules.surfaces})


def check_pins(pairs: DataFrame, rules: ProductRules, lenient: bool) -> None:
    """Raises ConfigError where two pins want one place of a page, or one product two; lenient: logs a warning, the first
    of the file holds."""
    for about in ("place", "similar_product_id"):
        found = pairs.groupBy("product_id", "surface", about).agg(F.sort_array(F.collect_set("rule")).alias("rules"))
        first = found.where(F.size("rules") > 1).orderBy("rules", "product_id").first()
        if first is not None:
            lines = sorted((rules.written[number].line, rules.written[number].id) for number in first.rules)
            said = " and ".join(f"line {line} ({name})" for line, name in lines[:2])
            what = f"place {first.place}" if about == "place" else f"product {first.similar_product_id}"
            message = f"recommend.rules: {said}: both pin {what} of {first.surface} on the page of {first.product_id}"
            if not lenient:
                raise ConfigError(message)
            log.warning("rules      %s; the first one holds", message)
