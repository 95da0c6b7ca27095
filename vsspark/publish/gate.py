"""Does a run's table keep its promises? Figures first, then a verdict against the limits in `gate`."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vsspark.config import GateConfig


@dataclass(frozen=True)
class Verdict:
    """metrics: figure by name; refusals: one sentence per limit that was not kept, empty when the run may be published."""

    metrics: dict[str, float]
    refusals: tuple[str, ...]


def judge(lists: DataFrame, counts: dict[str, int], k: int, limits: GateConfig) -> Verdict:
    """The verdict on staged rows of `similar_products`.

    counts: images, embedded, quarantined, products (of the catalogue), usable_products (with an embedded image), recommendable_products.
    A full list has k rows, or one for every other recommendable product where the catalogue has fewer.
    """
    per_product = lists.groupBy("product_id").agg(
        F.count("*").alias("rows"),
        F.countDistinct("similar_product_id").alias("distinct"),
        F.max("rank").alias("last"),
        F.countDistinct("rank").alias("ranks"),
        F.count(F.when(F.col("product_id") == F.col("similar_product_id"), 1)).alias("own"),
        F.avg(F.when(F.col("rank") == 1, F.col("similarity"))).alias("best"),
        F.avg(F.when(F.col("rank") == 1, F.col("category").eqNullSafe(F.col("similar_category")).cast("int"))).alias("same"),
        F.count(F.when(F.col("source") == "backfill", 1)).alias("backfilled"),
    )
    full = min(k, max(counts["recommendable_products"] - 1, 0))
    found = per_product.agg(
        F.count("*").alias("products"),
        F.sum("rows").alias("rows"),
        F.count(F.when(F.col("rows") >= full, 1)).alias("full"),
        F.sum(F.col("rows") - F.col("distinct")).alias("repeated"),
        F.count(F.when((F.col("last") != F.col("rows")) | (F.col("ranks") != F.col("rows")), 1)).alias("gaps"),
        F.sum("own").alias("own"),
        F.avg("best").alias("best"),
        F.avg("same").alias("same"),
        F.sum("backfilled").alias("backfilled"),
    ).first()
    products, rows = found["products"], found["rows"] or 0
    usable = counts["usable_products"]
    coverage = (found["full"] if full else usable) / usable if usable else 0.0
    quarantined = counts["quarantined"] / counts["images"] if counts["images"] else 0.0
    metrics = {
        "coverage": coverage,
        "quarantined_share": quarantined,
        "products_with_recommendations": float(products),
        "recommendations": float(rows),
        "backfill_share": (found["backfilled"] or 0) / rows if rows else 0.0,
        "mean_rank1_similarity": float(found["best"] or 0.0),
        "rank1_same_category": float(found["same"] or 0.0),
    }
    refusals = []
    if counts["embedded"] + counts["quarantined"] != counts["images"]:
        refusals.append(f"images are lost: {counts['images']} in, {counts['embedded']} embedded + {counts['quarantined']} quarantined")
    if quarantined > limits.max_quarantined:
        refusals.append(f"{quarantined:.1%} of the images are quarantined, gate.max_quarantined allows {limits.max_quarantined:.1%}")
    if coverage < limits.min_coverage:
        refusals.append(f"{coverage:.1%} of the products with a usable image have a full list of {full}, gate.min_coverage asks for {limits.min_coverage:.1%}")
    if products < limits.min_products:
        refusals.append(f"{products} products have recommendations, gate.min_products asks for {limits.min_products}")
    for name, what in (
        ("repeated", "rows repeat a (product, similar product)"),
        ("gaps", "products have gaps in their ranks"),
        ("own", "rows recommend the product itself"),
    ):
        if found[name]:
            refusals.append(f"{found[name]} {what}")
    return Verdict(metrics, tuple(refusals))
