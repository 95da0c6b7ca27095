"""`neighbours` -> the rows of `similar_products`, staged: merged per product, filled, described."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vsspark.config import KnnConfig, RecommendConfig
from vsspark.errors import DataQualityError
from vsspark.job.embed import vectors_of, with_vectors
from vsspark.job.neighbours import current_model_version, fitting_index, searchable
from vsspark.job.result import StageResult
from vsspark.knn.index_search import search_queries
from vsspark.knn.spark import search_neighbours
from vsspark.recommend.lists import describe, merge_neighbours, short_products, top_products, with_backfill
from vsspark.storage.run_tables import RunTables


@dataclass(frozen=True)
class ProductsResult(StageResult):
    """rows: of `similar_products`, staged. model_version: of the embeddings behind them."""

    rows: DataFrame
    model_version: str


def products_stage(tables: RunTables, recommend: RecommendConfig, knn: KnnConfig, run_date: dt.date) -> ProductsResult:
    """Each product's similar products. Raises DataQualityError where `neighbours` is of another model version."""
    version, neighbours = current_model_version(tables), tables.read("neighbours")
    other = neighbours.where(F.col("model_version") != version).select("model_version").first()
    if other is not None:
        raise DataQualityError(
            f"neighbours holds those of {other.model_version}, embeddings those of {version}: "
            "run jobs/neighbours.py first"
        )
    images = tables.read("images")
    visual = tables.stage("visual", top_products(merge_neighbours(neighbours, images), recommend.k))
    backfill = _backfill(tables, visual, recommend, knn, version) if recommend.backfill else None
    rows = describe(with_backfill(visual, backfill, recommend.k), images)
    names = {"model_version": version, "run_id": tables.run_id, "run_date": run_date}
    rows = rows.withColumns({name: F.lit(value) for name, value in names.items()})
    rows = tables.stage("similar_products", rows)
    return ProductsResult(rows, version, counts={"recommendations": rows.count()})


def _backfill(
    tables: RunTables, visual: DataFrame, recommend: RecommendConfig, knn: KnnConfig, model_version: str
) -> DataFrame | None:
    """The nearest products of the whole catalogue, for the products whose own blocks did not fill their list; None
    where all are full.

    The few short products query, everything recommendable is an item: one pass over the tiles of the kept index, or,
    where it does not fit, over tiles packed for this.
    """
    items = searchable(tables, recommend.in_stock_only)
    short = short_products(items.select("product_id").distinct(), visual, recommend.k).select("product_id")
    short = tables.stage("short", short)
    if short.isEmpty():
        return None
    exact = knn.model_copy(update={"k": recommend.k, "mode": "exact"})
    index = fitting_index(tables, model_version, knn.metric)
    scratch = tables.staging("backfill")
    vectors, count = vectors_of(tables, model_version), items.count()
    if index is None:
        rows = with_vectors(_as_one_block(items, short), vectors, count)
        lists = search_neighbours(rows, scratch, exact, tables.storage_options)
    else:
        queries = items.join(short, "product_id", "left_semi").withColumn("probes", F.array().cast("array<string>"))
        queries = with_vectors(queries.select("image_id", "group_id", "content", "probes"), vectors, count)
        lists = search_queries(index, queries, scratch, exact, everywhere=True)
    merged = merge_neighbours(lists, tables.read("images"))
    return tables.stage("backfill", top_products(merged, recommend.k))


def _as_one_block(items: DataFrame, short: DataFrame) -> DataFrame:
    """The items as rows of one block, in which the images of short products search."""
    rows = items.join(short.withColumn("searches", F.lit(True)), "product_id", "left")
    return rows.select(
        "image_id",
        "group_id",
        "content",
        F.when(F.col("recommendable"), F.lit(0)).alias("block"),
        F.when(F.col("searches"), F.array(F.lit(0))).otherwise(F.array().cast("array<int>")).alias("probes"),
    )
