"""The gate on staged rows of `similar_products`: what the run counts, and the verdict."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vsspark.config import Config, RecommendConfig
from vsspark.config.recommend import SIMILAR
from vsspark.errors import Reason
from vsspark.job.neighbours import searchable
from vsspark.job.result import StageResult
from vsspark.recommend.figures import full_list
from vsspark.recommend.gate import Verdict, judge
from vsspark.storage.run_tables import RunTables

log = logging.getLogger("vsspark")


@dataclass(frozen=True)
class Published:
    """What readers have now: rows of `similar_products`, and the metrics of the run that published them."""

    rows: DataFrame
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class GateResult(StageResult):
    verdict: Verdict


def gate_stage(
    tables: RunTables,
    rows: DataFrame,
    config: Config,
    embedding_run: str | None,
    run: tuple[Mapping[str, float], Published | None],
) -> GateResult:
    """Counts and judges. embedding_run: the run whose quarantine belongs to `images`. run: what its earlier stages
    measured, and what is published."""
    measured, published = run
    counts = _counts(tables, config.recommend, embedding_run)
    verdict = judge(
        rows.where(F.col("surface") == SIMILAR),
        counts,
        config.recommend.k,
        config.gate,
        published and published.rows,
        measured,
        published.metrics if published else {},
        config.knn.target_recall,
    )
    shown = ", ".join(f"{name.replace('_', ' ')} {value:,.4g}" for name, value in verdict.metrics.items())
    log.info("gate       %s", shown)
    unusable = counts["products"] - counts["usable_products"]
    if unusable:
        about = "products   %d of %d products have no usable image and get no list: see quarantine"
        log.warning(about, unusable, counts["products"])
    metrics, mistakes = _other_lists(rows, config.recommend, counts)
    verdict = Verdict(verdict.metrics | metrics, verdict.refusals, (*verdict.broken, *mistakes))
    return GateResult(verdict, counts=counts | {"unusable_products": unusable}, metrics=verdict.metrics)


def published_before(tables: RunTables, row: Mapping[str, Any] | None) -> Published | None:
    """What readers have; row: of `runs`, of the published run."""
    if tables.store.current_run("similar_products") is None:
        return None
    rows = tables.read("similar_products").where(F.coalesce("surface", F.lit(SIMILAR)) == SIMILAR)
    return Published(rows, (row or {}).get("metrics") or {})


def _other_lists(rows: DataFrame, recommend: RecommendConfig, counts: dict[str, int]) -> tuple[dict, list[str]]:
    """(coverage_NAME of each further list: the share of products with a usable picture that have k rows; the promises
    that one of them breaks). rows: of `similar_products`, staged."""
    lists = {name: keys.k for name, keys in recommend.lists().items() if name != SIMILAR}
    if not lists:
        return {}, []
    by_list = (
        rows.where(F.col("surface") != SIMILAR)
        .groupBy("surface", "product_id")
        .agg(
            F.count("*").alias("rows"),
            F.size(F.collect_set("similar_product_id")).alias("distinct"),
            F.size(F.collect_set("rank")).alias("ranks"),
            F.max("rank").alias("last"),
            F.count_if(F.col("product_id") == F.col("similar_product_id")).alias("own"),
        )
    )
    kept = (F.col("rows") == F.col("distinct")) & (F.col("rows") == F.col("ranks")) & (F.col("rows") == F.col("last"))
    sums = [F.count_if(~kept | (F.col("own") > 0)).alias("broken")]
    sums += [F.count_if((F.col("surface") == name) & (F.col("rows") == k)).alias(name) for name, k in lists.items()]
    found = by_list.agg(*sums).first().asDict()
    usable = max(1, counts["usable_products"])
    mistakes = [f"{found['broken']} further lists repeat products or ranks"] if found["broken"] else []
    return {f"coverage_{name}": found[name] / usable for name in lists}, mistakes


def _counts(tables: RunTables, recommend: RecommendConfig, embedding_run: str | None) -> dict[str, int]:
    quarantine = tables.read("quarantine").where(F.col("run_id") == embedding_run)
    usable = searchable(tables, [recommend]).select("image_id", F.lit(True).alias("good"), "recommendable")
    rows = (
        tables.read("images")
        .select("image_id", "product_id")
        .join(usable, "image_id", "left")
        .join(quarantine.select("image_id", F.lit(True).alias("bad"), "reason"), "image_id", "left")
    )
    short = tables.read_or_empty("short_lists")
    reasons = short.where((F.col("run_id") == tables.run_id) & (F.col("surface") == SIMILAR))
    totals = rows.agg(
        F.count("*").alias("images"),
        F.count("good").alias("embedded"),
        F.count("bad").alias("quarantined"),
        F.count_if(F.col("reason") == Reason.PLACEHOLDER.value).alias("placeholders"),
        F.countDistinct("product_id").alias("products"),
        F.countDistinct(F.when(F.col("good"), F.col("product_id"))).alias("usable_products"),
        F.countDistinct(F.when(F.col("recommendable"), F.col("product_id"))).alias("recommendable_products"),
    )
    counts = totals.first().asDict()
    explained = reasons.where(F.col("places") < full_list(counts, recommend.k)).count()
    return counts | {"explained_short_lists": explained}
