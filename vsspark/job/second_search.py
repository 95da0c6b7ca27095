"""Searches of a few products after the main one: whole lists, exact, by one pass over the tiles that they probe.

The tiles are those of the kept index; where it does not fit, such as for hamming, they are packed for this search.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vsspark.blocks.spark import number_blocks
from vsspark.config import KnnConfig
from vsspark.job.embed import vectors_of, with_vectors
from vsspark.job.neighbours import fitting_index
from vsspark.knn.facts import Rules
from vsspark.knn.index import Index
from vsspark.knn.index_search import search_queries
from vsspark.knn.spark import search_neighbours
from vsspark.recommend.lists import merge_neighbours
from vsspark.storage.run_tables import RunTables


class SecondSearch:
    """The searches of one run, of embeddings of one model version."""

    def __init__(self, tables: RunTables, knn: KnnConfig, model_version: str):
        self._tables, self._knn, self.model_version = tables, knn, model_version
        self._index: tuple[Index | None] | None = None

    def everywhere(
        self, name: str, items: DataFrame, products: DataFrame, k: int, rules: Rules | None = None
    ) -> DataFrame:
        """The k nearest items of the whole catalogue, for the images of some products. items: of `searchable`."""
        index = self._fitting_index()
        if index is not None:
            queries = items.join(products, "product_id", "left_semi")
            queries = queries.withColumn("probes", F.array().cast("array<string>"))
            return self._search(index, name, queries, k, rules, everywhere=True)
        rows = items.join(products.withColumn("searches", F.lit(True)), "product_id", "left")
        block, none = F.lit(0), F.array().cast("array<int>")
        rows = rows.withColumns(
            {
                "block": F.when(F.col("recommendable"), block),
                "probes": F.when(F.col("searches"), F.array(block)).otherwise(none),
            }
        )
        return self._pack_and_search(name, rows, k, rules)

    def in_probed_blocks(self, name: str, products: DataFrame, k: int, rules: Rules | None = None) -> DataFrame:
        """The k nearest items of the blocks that the last search probed, for the images of some products."""
        images = self._tables.read("images").select("image_id", "product_id")
        searched = self._tables.read("_searched").withColumn("content", F.col("content_hash"))
        rows = searched.join(images, "image_id").join(
            products.withColumn("searches", F.lit(True)), "product_id", "left"
        )
        index = self._fitting_index()
        if index is not None:
            return self._search(index, name, rows.where("searches"), k, rules)
        none = F.array().cast("array<string>")
        rows = rows.withColumn("probes", F.when(F.col("searches"), F.col("probes")).otherwise(none))
        return self._pack_and_search(name, number_blocks(rows), k, rules)

    def similarities(self, name: str, items: DataFrame, pairs: DataFrame) -> DataFrame:
        """The pairs with similarity, query_image_id and item_image_id of their best two images. pairs: product_id,
        similar_product_id and further columns; both products with an image in `items`, of `searchable`.

        Cost: a block for each similar product, which the images of the products search that it is paired with.
        """
        probes = pairs.groupBy("product_id").agg(F.collect_set("similar_product_id").alias("probes"))
        targets = pairs.select(F.col("similar_product_id").alias("product_id"), F.lit(True).alias("found")).distinct()
        rows = items.join(probes, "product_id", "left").join(targets, "product_id", "left")
        rows = rows.where("found OR probes IS NOT NULL")
        none = F.array().cast("array<string>")
        rows = rows.withColumns(
            {"block": F.when(F.col("found"), F.col("product_id")), "probes": F.coalesce("probes", none)}
        )
        most = probes.agg(F.max(F.size("probes"))).first()[0] or 1
        lists = self._pack_and_search(name, number_blocks(rows), most, None)
        keys = ["product_id", "similar_product_id"]
        return pairs.join(merge_neighbours(lists, self._tables.read("images")), keys)

    def _search(
        self, index: Index, name: str, queries: DataFrame, k: int, rules: Rules | None, everywhere: bool = False
    ) -> DataFrame:
        queries = self._with_vectors(queries.select("image_id", "group_id", "content", "probes"))
        return search_queries(index, queries, self._folder(name), self._exact(k), everywhere, rules)

    def _pack_and_search(self, name: str, rows: DataFrame, k: int, rules: Rules | None) -> DataFrame:
        rows = self._with_vectors(rows.select("image_id", "group_id", "content", "block", "probes"))
        options = self._tables.storage_options
        return search_neighbours(rows, self._folder(name), self._exact(k), options, rules)

    def _with_vectors(self, rows: DataFrame) -> DataFrame:
        return with_vectors(rows, vectors_of(self._tables, self.model_version), rows.count())

    def _folder(self, name: str) -> str:
        """Not the folder of `tables.stage(name)`: writing there what was read here would delete it first."""
        return self._tables.staging(f"search-{name}")

    def _exact(self, k: int) -> KnnConfig:
        return self._knn.model_copy(update={"k": k, "mode": "exact"})

    def _fitting_index(self) -> Index | None:
        if self._index is None:
            self._index = (fitting_index(self._tables, self.model_version, self._knn.metric),)
        return self._index[0]
