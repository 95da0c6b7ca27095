"""Does a run's table keep its promises? Figures first, then a verdict against the limits in `gate`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vsspark.config import GateConfig


@dataclass(frozen=True)
class Verdict:
    """metrics: figure by name; refusals: one sentence per limit that was not kept; broken: one per promise of the table that does not hold.

    The run may be published when both are empty. Limits may be overruled by a person, promises may not.
    """

    metrics: dict[str, float]
    refusals: tuple[str, ...]
    broken: tuple[str, ...]


_KS_CRITICAL = 1.63  # of the two-sample Kolmogorov-Smirnov test at the 1 % level
_BINS = 200  # of similarity, between its least and largest possible value: the drift is known to a bin


def judge(lists: DataFrame, counts: dict[str, int], k: int, limits: GateConfig, published: DataFrame | None = None) -> Verdict:
    """The verdict on staged rows of `similar_products`.

    counts: images, embedded, quarantined, products (of the catalogue), usable_products (with an embedded image), recommendable_products.
    A full list has k rows, or one for every other recommendable product where the catalogue has fewer.
    published: the rows that readers have now; None where nothing is published yet. Lists and similarities are compared only with rows of the
    same model version: another network recommends other things, and is meant to.
    """
    per_product = lists.groupBy("product_id").agg(
        F.count("*").alias("rows"),
        F.size(F.collect_set("similar_product_id")).alias("distinct"),  # k at most, where a distinct count would copy every row
        F.max("rank").alias("last"),
        F.size(F.collect_set("rank")).alias("ranks"),
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
        "hubness": _hubness(lists, rows / products if products else 0.0),
    }
    refusals = []
    if published is not None:
        metrics |= _compared(lists, published)
        refusals += _broken_limits(metrics, limits)
    if metrics["hubness"] > limits.max_hubness:
        refusals.append(
            f"one product is in {metrics['hubness']:.1f} times as many lists as the average product, gate.max_hubness allows {limits.max_hubness:g}"
        )
    broken = []
    if counts["embedded"] + counts["quarantined"] != counts["images"]:
        broken.append(f"images are lost: {counts['images']} in, {counts['embedded']} embedded + {counts['quarantined']} quarantined")
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
            broken.append(f"{found[name]} {what}")
    if not products:
        broken.append("no product has any recommendation")
    return Verdict(metrics, tuple(refusals), tuple(broken))


def _hubness(lists: DataFrame, average: float) -> float:
    most = lists.groupBy("similar_product_id").count().agg(F.max("count")).first()[0]
    return float(most / average) if most and average else 0.0


def _compared(lists: DataFrame, published: DataFrame) -> dict[str, float]:
    """products_lost, and against the same model version changed_share and similarity_drift, each in [0, 1]."""
    names = ["product_id", "similar_product_id", "rank", "similarity", "model_version"]
    both = lists.select(*names, F.lit(0).alias("old")).unionByName(published.select(*names, F.lit(1).alias("old")))
    pairs = both.repartition("product_id").groupBy("product_id", "similar_product_id").agg(F.max("old").alias("old"), F.min("old").alias("gone"))
    new, listed = F.col("gone") == 0, F.max("old") == 1  # a pair that is in the new lists; a product that has a published one
    per_product = pairs.groupBy("product_id").agg(
        listed.alias("published"), F.min("gone").alias("gone"), F.count_if(new).alias("total"), F.count_if(new & (F.col("old") == 1)).alias("kept")
    )
    known = (
        per_product.where("published")
        .agg(F.count("*").alias("published"), *[F.coalesce(F.sum(n), F.lit(0)).alias(n) for n in ("gone", "total", "kept")])
        .first()
    )
    metrics = {"products_lost": known["gone"] / max(1, known["published"])}
    if len(both.select("model_version").distinct().take(2)) > 1:
        return metrics
    if known["total"]:
        metrics["changed_share"] = 1 - known["kept"] / known["total"]
        metrics["similarity_drift"] = _drift(both)
    return metrics


def _drift(both: DataFrame) -> float:
    """The Kolmogorov-Smirnov distance between the similarities at rank 1, less what two samples of these sizes show by chance once in a hundred times."""
    binned = F.floor((F.col("similarity") + 1) / 2 * _BINS).cast("int")
    counts = np.zeros((2, _BINS + 1))
    for row in both.where("rank = 1").groupBy("old", binned.alias("bin")).count().collect():
        counts[row["old"], min(max(row["bin"], 0), _BINS)] += row["count"]
    sizes = np.maximum(1.0, counts.sum(axis=1, keepdims=True))
    shares = np.cumsum(counts, axis=1) / sizes
    chance = _KS_CRITICAL * np.sqrt(sizes.sum() / sizes.prod())
    return max(0.0, float(np.abs(shares[0] - shares[1]).max() - chance))


def _broken_limits(metrics: dict[str, float], limits: GateConfig) -> list[str]:
    sentences = (
        ("products_lost", limits.max_products_lost, "of the published products have no list any more, gate.max_products_lost"),
        ("changed_share", limits.max_changed, "of the recommendations of known products are others than in the published run, gate.max_changed"),
        (
            "similarity_drift",
            limits.max_drift,
            "beyond chance is the distance between the similarities at rank 1 and those of the published run, gate.max_drift",
        ),
    )
    return [f"{metrics[name]:.1%} {what} allows {limit:.1%}" for name, limit, what in sentences if metrics.get(name, 0.0) > limit]
