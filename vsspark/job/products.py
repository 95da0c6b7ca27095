"""`neighbours` -> the rows of `similar_products`, staged: merged per product, filled, described."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vsspark.config import KnnConfig, RecommendConfig
from vsspark.config.recommend import SIMILAR
from vsspark.errors import DataQualityError
from vsspark.job.eligible import EligibleLists
from vsspark.job.neighbours import current_model_version, searchable
from vsspark.job.result import StageResult
from vsspark.job.second_search import SecondSearch
from vsspark.recommend.lists import (
    describe,
    merge_neighbours,
    nearest,
    ranked,
    short_products,
    with_backfill,
)
from vsspark.recommend.terms import ProductRules
from vsspark.storage.run_tables import RunTables


@dataclass(frozen=True)
class ProductsResult(StageResult):
    """rows: of `similar_products`, staged. model_version: of the embeddings behind them."""

    rows: DataFrame
    model_version: str


def products_stage(
    tables: RunTables, recommend: RecommendConfig, rules: ProductRules | None, knn: KnnConfig, run_date: dt.date
) -> ProductsResult:
    """Each product's similar products; writes `short_lists` where rules decide who may be in a list.

    Raises DataQualityError where `neighbours` is of another model version.
    """
    version, neighbours = current_model_version(tables), tables.read("neighbours")
    other = neighbours.where(F.col("model_version") != version).select("model_version").first()
    if other is not None:
        raise DataQualityError(
            f"neighbours holds those of {other.model_version}, embeddings those of {version}: "
            "run jobs/neighbours.py first"
        )
    images = tables.read("images")
    items = searchable(tables, list(recommend.lists().values()))
    search = SecondSearch(tables, knn, version)
    counts: dict[str, int] = {}
    if rules is None:
        places = {SIMILAR: recommend.k}
        merged = merge_neighbours(neighbours, images).withColumn("surface", F.lit(SIMILAR))
        visual = tables.stage("visual", nearest(merged, places))
        backfill = _backfill(tables, items, visual, recommend, search)
        lists = ranked(with_backfill(visual, backfill), places).withColumn("reason", F.lit(None).cast("string"))
    else:
        eligible = EligibleLists(tables, rules, search, recommend.lenient)
        visual = eligible.visual(neighbours)
        lists = eligible.arranged(items, visual, eligible.backfill(items, visual))
        counts["short_lists"] = eligible.write_short_lists(items, lists)
        counts["duplicate_groups"] = eligible.write_duplicate_groups(run_date)
    rows = describe(lists, images)
    names = {"model_version": version, "run_id": tables.run_id, "run_date": run_date}
    rows = rows.withColumns({name: F.lit(value) for name, value in names.items()})
    rows = tables.stage("similar_products", rows)
    return ProductsResult(rows, version, counts={"recommendations": rows.count(), **counts})


def _backfill(
    tables: RunTables, items: DataFrame, visual: DataFrame, recommend: RecommendConfig, search: SecondSearch
) -> DataFrame | None:
    """The nearest products of the whole catalogue, for the products whose own blocks did not fill their list; None
    where all are full, or none is to be filled.

    The few short products query, everything recommendable is an item.
    """
    if not recommend.backfill:
        return None
    short = short_products(items.select("product_id").distinct(), visual, recommend.k).select("product_id")
    short = tables.stage("short", short)
    if short.isEmpty():
        return None
    lists = search.everywhere("backfill", items, short, recommend.k)
    merged = merge_neighbours(lists, tables.read("images")).withColumn("surface", F.lit(SIMILAR))
    return tables.stage("backfill", nearest(merged, {SIMILAR: recommend.k}))
