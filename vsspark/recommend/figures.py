"""The figures that the gate judges: of a run's lists, and of a run's lists beside the published ones."""

from __future__ import annotations

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

_KS_CRITICAL = 1.63  # of the two-sample Kolmogorov-Smirnov test at the 1 % level
_BINS = 200  # of similarity, between its least and largest possible value: the drift is known to a bin


def measure_lists(lists: DataFrame, counts: dict[str, int], k: int) -> tuple[dict[str, float], dict[str, int]]:
    """(figure by name, broken promise by name -> how often) of rows of `similar_products`.

    counts, k: see `gate.judge`. One pass over the rows by product, one by similar product, one over those of rank 1.
    """
    per_product = lists.groupBy("product_id").agg(
        F.count("*").alias("rows"),
        F.size(F.collect_set("similar_product_id")).alias("distinct"),  # at most k; a distinct count copies every row
        F.max("rank").alias("last"),
        F.size(F.collect_set("rank")).alias("ranks"),
        F.count(F.when(F.col("product_id") == F.col("similar_product_id"), 1)).alias("own"),
        F.avg(F.when(F.col("rank") == 1, F.col("similarity"))).alias("best"),
        F.avg(F.when(F.col("rank") == 1, _same_category())).alias("same"),
        F.count(F.when(F.col("source") == "backfill", 1)).alias("backfilled"),
    )
    full = full_list(counts, k)
    total = per_product.agg(
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
    products, rows, usable = total["products"], total["rows"] or 0, counts["usable_products"]
    explained = counts.get("explained_short_lists", 0)
    broken = counts["quarantined"] - counts.get("placeholders", 0)  # a shop without a photo is no fault of the night
    hubness, shown = _hubness(lists)
    figures = {
        "coverage": min(1.0, (total["full"] + explained) / usable if full else 1.0) if usable else 0.0,
        "quarantined_share": broken / counts["images"] if counts["images"] else 0.0,
        "products_with_recommendations": float(products),
        "recommendations": float(rows),
        "backfill_share": (total["backfilled"] or 0) / rows if rows else 0.0,
        "mean_rank1_similarity": float(total["best"] or 0.0),
        "rank1_same_category": float(total["same"] or 0.0),
        "hubness": hubness,
        "recommended_share": min(1.0, sum(shown.values()) / max(1, counts["recommendable_products"])),
    }
    figures |= exposure(shown, counts["recommendable_products"]) | _categories(lists)
    if explained:
        figures["short_by_rule_share"] = explained / usable
    return figures, {name: total[name] or 0 for name in ("repeated", "gaps", "own")}


def full_list(counts: dict[str, int], k: int) -> int:
    """Rows of a full list: k, or one for every other recommendable product where the catalogue has fewer."""
    return min(k, max(counts["recommendable_products"] - 1, 0))


def compare_lists(lists: DataFrame, published: DataFrame) -> tuple[dict[str, float], bool]:
    """(figures of the lists beside the published ones, whether one model version made all of both).

    products_lost, changed_share, published_rank1_same_category, published_hubness and published_products; with one
    model version also similarity_drift: cosines of two encoders are not comparable.
    """
    names = ["product_id", "similar_product_id", "rank", "similarity", "model_version"]
    new, old = lists.select(*names, F.lit(0).alias("old")), published.select(*names, F.lit(1).alias("old"))
    both = new.unionByName(old)
    by_pair = both.repartition("product_id").groupBy("product_id", "similar_product_id")
    pairs = by_pair.agg(F.max("old").alias("old"), F.min("old").alias("only_old"))
    is_new = F.col("only_old") == 0  # the pair is in the new lists
    per_product = pairs.groupBy("product_id").agg(
        (F.max("old") == 1).alias("published"),  # the product has a published list
        F.min("only_old").alias("lost"),
        F.count_if(is_new).alias("total"),
        F.count_if(is_new & (F.col("old") == 1)).alias("common"),
    )
    sums = [F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in ("lost", "total", "common")]
    totals = per_product.where("published").agg(F.count("*").alias("published"), *sums).first()
    figures = {
        "products_lost": totals["lost"] / max(1, totals["published"]),
        "published_products": float(totals["published"]),
        "published_hubness": _hubness(published)[0],
    }
    same_category = published.where("rank = 1").agg(F.avg(_same_category())).first()[0]
    figures["published_rank1_same_category"] = float(same_category or 0.0)
    if totals["total"]:
        figures["changed_share"] = 1 - totals["common"] / totals["total"]
    same_model = len(both.select("model_version").distinct().take(2)) < 2
    if same_model and totals["total"]:
        figures["similarity_drift"] = _drift(both)
    return figures, same_model


def _same_category() -> Column:
    return F.col("category").eqNullSafe(F.col("similar_category")).cast("int")


def _hubness(lists: DataFrame) -> tuple[float, dict[int, int]]:
    """(lists the most recommended product is in, as a multiple of rows per list; how many products are in so many lists,
    by that number).
    """
    uses = lists.groupBy("similar_product_id").count().groupBy("count").agg(F.count("*").alias("products")).collect()
    queries = lists.select("product_id").distinct().count()
    shown = {row["count"]: row["products"] for row in uses}
    rows = sum(number * products for number, products in shown.items())
    return (max(shown) * queries / rows if rows else 0.0), shown


def exposure(shown: dict[int, int], recommendable: int) -> dict[str, float]:
    """How unevenly lists show the products: exposure_gini (0: all equally often, 1: one alone) and exposure_skewness, the
    third standardised moment of how often each is shown (k-occurrence skewness: Radovanovic et al., Hubs in Space, 2010).

    shown: products by the number of lists that they are in. recommendable: products, those in no list among them.
    """
    missing = max(0, recommendable - sum(shown.values()))
    numbers = np.array(sorted([0, *shown]), np.float64)
    weights = np.array([missing if number == 0 else shown[int(number)] for number in numbers], np.float64)
    total, rows = weights.sum(), (numbers * weights).sum()
    if rows == 0:
        return {}
    below = np.cumsum(weights) - weights  # products shown less often
    ranks = (below + (weights + 1) / 2) * weights  # sum of the ranks of each number's products
    gini = 2 * (ranks * numbers).sum() / (total * rows) - (total + 1) / total
    centred = numbers - rows / total
    spread = np.sqrt((weights * centred**2).sum() / total)
    skewness = (weights * centred**3).sum() / total / spread**3 if spread > 0 else 0.0
    return {"exposure_gini": float(gini), "exposure_skewness": float(skewness)}


def _categories(lists: DataFrame) -> dict[str, float]:
    """The values by chance, of the rank-1 rows with two categories; empty without such rows.

    rank1_same_category_by_chance: expected agreement were the picks dealt out among the queries at random.
    commonest_category: share of the queries that are of the commonest category.
    """
    first = lists.where("rank = 1 AND category IS NOT NULL AND similar_category IS NOT NULL")
    queries = {row["category"]: row["count"] for row in first.groupBy("category").count().collect()}
    picks = {row["similar_category"]: row["count"] for row in first.groupBy("similar_category").count().collect()}
    total = sum(queries.values())
    if not total:
        return {}
    agreeing = sum(count * picks.get(name, 0) for name, count in queries.items())
    chance = {"rank1_same_category_by_chance": agreeing / total**2}
    return chance | {"commonest_category": max(queries.values()) / total}


def _drift(both: DataFrame) -> float:
    """Kolmogorov-Smirnov distance between the rank-1 similarities of both runs, beyond chance, in [0, 1].

    What two samples of these sizes show by chance once in a hundred times is subtracted.
    """
    bin_number = F.floor((F.col("similarity") + 1) / 2 * _BINS).cast("int")
    counts = np.zeros((2, _BINS + 1))
    for row in both.where("rank = 1").groupBy("old", bin_number.alias("bin")).count().collect():
        counts[row["old"], min(max(row["bin"], 0), _BINS)] += row["count"]
    sizes = np.maximum(1.0, counts.sum(axis=1, keepdims=True))
    shares = np.cumsum(counts, axis=1) / sizes
    chance = _KS_CRITICAL * np.sqrt(sizes.sum() / sizes.prod())
    return max(0.0, float(np.abs(shares[0] - shares[1]).max() - chance))
