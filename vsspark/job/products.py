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
    made = _Lists(tables, recommend, rules, knn, version)
    lists, counts = made.lists(neighbours), {}
    if made.eligible is not None:
        counts["short_lists"] = made.eligible.write_short_lists(made.items, lists)
        counts["duplicate_groups"] = made.eligible.write_duplicate_groups(run_date)
    rows = describe(lists, tables.read("images"))
    names = {"model_version": version, "run_id": tables.run_id, "run_date": run_date}
    rows = rows.withColumns({name: F.lit(value) for name, value in names.items()})
    rows = tables.stage("similar_products", rows)
    return ProductsResult(rows, version, counts={"recommendations": rows.count(), **counts})


def product_lists(
    tables: RunTables, recommend: RecommendConfig, rules: ProductRules | None, knn: KnnConfig
) -> DataFrame:
    """The lists of the last search, staged: product_id, surface, similar_product_id, rank, reason and the images. Writes
    no table."""
    made = _Lists(tables, recommend, rules, knn, current_model_version(tables))
    return tables.stage("lists", made.lists(tables.read("neighbours")))


class _Lists:
    """Makes the lists of a search. eligible: what keeps the rules; None where there are none. items: of `searchable`."""

    def __init__(
        self, tables: RunTables, recommend: RecommendConfig, rules: ProductRules | None, knn: KnnConfig, version: str
    ):
        self._tables, self._recommend = tables, recommend
        self._search = SecondSearch(tables, knn, version)
        self.items = searchable(tables, list(recommend.lists().values()))
        self.eligible = None if rules is None else EligibleLists(tables, rules, self._search, recommend.lenient)

    def lists(self, neighbours: DataFrame) -> DataFrame:
        if self.eligible is not None:
            visual = self.eligible.visual(neighbours)
            return self.eligible.arranged(self.items, visual, self.eligible.backfill(self.items, visual))
        tables, places = self._tables, {SIMILAR: self._recommend.k}
        merged = merge_neighbours(neighbours, tables.read("images")).withColumn("surface", F.lit(SIMILAR))
        visual = tables.stage("visual", nearest(merged, places))
        backfill = self._backfill(visual) if self._recommend.backfill else None
        return ranked(with_backfill(visual, backfill), places).withColumn("reason", F.lit(None).cast("string"))

    def _backfill(self, visual: DataFrame) -> DataFrame | None:
        """The nearest products of the whole catalogue, for the products whose own blocks did not fill their list; None
        where all are full.

        The few short products query, everything recommendable is an item.
        """
        tables, k = self._tables, self._recommend.k
        short = short_products(self.items.select("product_id").distinct(), visual, k).select("product_id")
        short = tables.stage("short", short)
        if short.isEmpty():
            return None
        lists = self._search.everywhere("backfill", self.items, short, k)
        merged = merge_neighbours(lists, tables.read("images")).withColumn("surface", F.lit(SIMILAR))
        return tables.stage("backfill", nearest(merged, {SIMILAR: k}))
