"""The report's numbers and examples out of the published tables.

Every query is reduced on the executors to a bounded result: totals, the largest categories, a few rows per reason,
the examples to be shown.
"""

from __future__ import annotations

from typing import Protocol

from pyspark.sql import Column, DataFrame, Row, Window
from pyspark.sql import functions as F

from vsspark.config import Config
from vsspark.config.recommend import SIMILAR
from vsspark.report.contents import (
    CATEGORIES_SHOWN,
    Candidate,
    CategoryCoverage,
    Contents,
    Example,
    Product,
    QuarantinedImage,
    QuarantineReason,
    Recommendation,
    Totals,
    longest_list,
    pick_distinct,
)

EXAMPLES_PER_REASON = 3
UNUSABLE_SHOWN = 12
OVERFETCH = 5  # candidates per example shown: twins are skipped


class Tables(Protocol):
    def read(self, name: str) -> DataFrame: ...


def read_contents(tables: Tables, run: dict, config: Config) -> Contents:
    """Everything the report of `run` (a RUNS row as a dict) shows, except the pictures themselves."""
    images = tables.read("images")
    rows = tables.read("similar_products").where(F.col("run_id") == run["run_id"])
    rows = rows.withColumn("surface", F.coalesce("surface", F.lit(SIMILAR)))
    lists = rows.where(F.col("surface") == SIMILAR)  # what the figures are about
    set_aside = images_set_aside(images, tables.read("quarantine"), run["run_id"]).persist()
    products = per_product(images, set_aside, lists).persist()
    try:
        totals = _totals(products, config.recommend.k)
        best, worst = _pick_examples(products, config.report.examples)
        examples = _examples(rows, products, best + worst, config.report.neighbours)
        unusable = products.where("embedded = 0").orderBy("product_id").limit(UNUSABLE_SHOWN).select("product_id")
        return Contents(
            totals=totals,
            categories=_categories(products, longest_list(totals.usable_products, config.recommend.k)),
            quarantine=_quarantine(set_aside),
            without_images=tuple(row.product_id for row in unusable.collect())
            if totals.products > totals.usable_products
            else (),
            best=tuple(examples[candidate.product_id] for candidate in best),
            worst=tuple(examples[candidate.product_id] for candidate in worst),
        )
    finally:
        products.unpersist()
        set_aside.unpersist()


def images_set_aside(images: DataFrame, quarantine: DataFrame, run_id: str) -> DataFrame:
    """The quarantine row of every image without an embedding: that of this run, else of the last run that tried it
    (stages may run on their own).
    """
    latest = Window.partitionBy("image_id").orderBy(F.desc(F.col("run_id") == run_id), F.desc("run_id"))
    unusable = images.where("content_hash IS NULL").select("image_id")
    return (
        quarantine.join(unusable, "image_id", "left_semi")
        .withColumn("turn", F.row_number().over(latest))
        .where("turn = 1")
        .drop("turn")
    )


def per_product(images: DataFrame, set_aside: DataFrame, similar_products: DataFrame) -> DataFrame:
    """One row per product of the catalogue: name, category, images, embedded, quarantined, listed, backfilled,
    similarity and similar_product_id at rank 1.
    """
    quarantined = set_aside.select("image_id", F.lit(1).alias("set_aside"))
    counts = (
        images.join(quarantined, "image_id", "left")
        .groupBy("product_id")
        .agg(
            F.count("*").alias("images"),
            F.count("content_hash").alias("embedded"),
            F.count("set_aside").alias("quarantined"),
            F.min(F.coalesce("category", "predicted_category")).alias("own_category"),
            F.min_by("name", "position").alias("name"),
        )
    )
    best = F.col("rank") == 1
    lists = similar_products.groupBy("product_id").agg(
        F.count("*").alias("listed"),
        F.count(F.when(F.col("source") == "backfill", 1)).alias("backfilled"),
        F.max(F.when(best, F.col("similarity"))).alias("similarity"),
        F.max(F.when(best, F.col("similar_product_id"))).alias("similar_product_id"),
        F.min("category").alias("listed_category"),
    )
    return (
        counts.join(lists, "product_id", "left")
        .withColumn("category", F.coalesce("listed_category", "own_category"))
        .fillna(0, ["listed", "backfilled"])
        .drop("listed_category", "own_category")
    )


def _totals(products: DataFrame, k: int) -> Totals:
    # How long a full list is depends on how many products are usable: lists are counted by their length, at most 2 *
    # (k + 1) rows.
    usable = (F.col("embedded") > 0).alias("usable")
    sums = [F.sum(name).alias(name) for name in ("images", "embedded", "quarantined", "backfilled")]
    rows = products.groupBy(usable, "listed").agg(F.count("*").alias("products"), *sums).collect()
    usable_products = sum(row.products for row in rows if row.usable)
    longest = longest_list(usable_products, k)
    return Totals(
        products=sum(row.products for row in rows),
        images=sum(row.images for row in rows),
        embedded=sum(row.embedded for row in rows),
        quarantined=sum(row.quarantined for row in rows),
        usable_products=usable_products,
        full_lists=sum(row.products for row in rows if row.usable and row.listed >= longest),
        recommendations=sum(row.products * row.listed for row in rows),
        backfilled=sum(row.backfilled for row in rows),
    )


def _categories(products: DataFrame, longest: int) -> tuple[CategoryCoverage, ...]:
    usable = F.col("embedded") > 0
    rows = (
        products.groupBy("category")
        .agg(
            F.count("*").alias("products"),
            F.count(F.when(usable, 1)).alias("usable_products"),
            F.sum("images").alias("images"),
            F.count(F.when(usable & (F.col("listed") >= longest), 1)).alias("full_lists"),
            (F.sum("backfilled") / F.nullif(F.sum("listed"), F.lit(0))).alias("backfill_share"),
            F.avg("similarity").alias("mean_similarity"),
        )
        .orderBy(F.desc("products"), "category")
        .limit(CATEGORIES_SHOWN + 1)
        .collect()
    )
    return tuple(CategoryCoverage(**row.asDict()) for row in rows)


def _pick_examples(products: DataFrame, examples: int) -> tuple[list[Candidate], list[Candidate]]:
    """(best, worst) candidates, in the order shown: the best of every category, then the second best of every
    category, ... until there are enough.
    """
    candidates = products.where("similarity IS NOT NULL").select(
        "product_id", "similar_product_id", "similarity", "category"
    )
    limit = examples * OVERFETCH
    rows = (
        _best_per_category(candidates, "best", -F.col("similarity"), limit)
        .unionAll(_best_per_category(candidates, "worst", F.col("similarity"), limit))
        .collect()
    )
    sides: dict[str, list[Candidate]] = {"best": [], "worst": []}
    for row in sorted(rows, key=lambda row: (row.turn, row.order, row.product_id)):
        sides[row.side].append(Candidate(row.product_id, row.similar_product_id, row.similarity, row.category))
    # A catalogue too small for both sections shares its products between them.
    half = min(examples, (len(sides["best"]) + 1) // 2)
    best = pick_distinct(sides["best"], half)
    worst = pick_distinct(sides["worst"], examples, frozenset(candidate.product_id for candidate in best))
    return sorted(best, key=lambda c: (-c.similarity, c.product_id)), sorted(
        worst, key=lambda c: (c.similarity, c.product_id)
    )


def _best_per_category(candidates: DataFrame, side: str, order: Column, limit: int) -> DataFrame:
    window = Window.partitionBy("category").orderBy("order", "product_id")
    rows = candidates.withColumns({"side": F.lit(side), "order": order}).withColumn("turn", F.row_number().over(window))
    return rows.where(F.col("turn") <= limit).orderBy("turn", "order", "product_id").limit(limit)


def _examples(
    similar_products: DataFrame, products: DataFrame, candidates: list[Candidate], neighbours: int
) -> dict[str, Example]:
    if not candidates:
        return {}
    ids = [candidate.product_id for candidate in candidates]
    rows = (
        similar_products.where(F.col("product_id").isin(ids) & (F.col("rank") <= neighbours))
        .orderBy("product_id", F.col("surface") != SIMILAR, "surface", "rank")
        .collect()
    )
    shown_ids = sorted({row.product_id for row in rows} | {row.similar_product_id for row in rows})
    names = {
        row.product_id: row.name
        for row in products.where(F.col("product_id").isin(shown_ids)).select("product_id", "name").collect()
    }
    lists: dict[str, list[Row]] = {}
    for row in rows:
        lists.setdefault(row.product_id, []).append(row)
    return {product_id: _example(product_rows, names) for product_id, product_rows in lists.items()}


def _example(rows: list[Row], names: dict[str, str | None]) -> Example:
    first = rows[0]
    query = Product(first.product_id, names.get(first.product_id), first.category, first.price, first.image_uri)
    lists: dict[str, list[Recommendation]] = {SIMILAR: []}
    for row in rows:
        shown = Recommendation(
            Product(
                row.similar_product_id,
                names.get(row.similar_product_id),
                row.similar_category,
                row.similar_price,
                row.similar_image_uri,
            ),
            row["rank"],
            row.similarity,
            row.source,
            row.reason,
        )
        lists.setdefault(row.surface, []).append(shown)
    similar = tuple(lists.pop(SIMILAR))
    return Example(query, similar, tuple((name, tuple(shown)) for name, shown in lists.items()))


def _quarantine(set_aside: DataFrame) -> tuple[QuarantineReason, ...]:
    # An example per part and reason keeps this one plain aggregation, however many images are set aside.
    part = F.pmod("image_id", F.lit(EXAMPLES_PER_REASON)).alias("part")
    example = F.min(F.struct("product_id", "uri", "detail")).alias("example")
    reasons: dict[str, list[Row]] = {}
    for row in set_aside.groupBy("reason", part).agg(F.count("*").alias("images"), example).collect():
        reasons.setdefault(row.reason, []).append(row)
    summaries = [
        QuarantineReason(
            reason,
            sum(row.images for row in rows),
            tuple(QuarantinedImage(**e.asDict()) for e in sorted(row.example for row in rows)),
        )
        for reason, rows in reasons.items()
    ]
    return tuple(sorted(summaries, key=lambda reason: (-reason.images, reason.reason)))
