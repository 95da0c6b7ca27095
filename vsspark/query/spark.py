"""Single images against the embeddings table: an exact search that reads the table once and brings back candidates,
never embeddings.

Cost: one pass over the model's embeddings, or over the probed categories' share of them: n * d * 4 bytes through
Arrow, q * n * d multiplications; no shuffle of embeddings. A task holds one Arrow batch; the driver gets q * k' rows
of 16 bytes per task.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vsspark.query.candidates import CANDIDATES, Search, best_rows, nearest_images
from vsspark.recommend.lists import product_facts
from vsspark.spark.workers import map_in_arrow

_CANDIDATES = "query int, image_id long, value float"
# How many images are fetched per product, and the factor of the next attempt where they were too few.
_IMAGES_PER_PRODUCT = 4


def nearest_products(items: DataFrame, images: DataFrame, search: Search, in_stock_only: bool) -> pa.Table:
    """query, product_id, value, uri, category, price: each query's search.k nearest products, each by its nearest
    image, best first.

    items: image_id, embedding, category (in which a query finds it), predicted_category. images: rows of `images`.
    Equal values order by image id. in_stock_only: products that the catalogue does not say are in stock are left out.
    Exact: more images are fetched until they make up enough products or none is left.
    """
    k = search.k * _IMAGES_PER_PRODUCT
    while True:
        task = partial(nearest_images, search=replace(search, k=k))
        rows = map_in_arrow(items.select("image_id", "embedding", "category"), task, _CANDIDATES)
        best = best_rows([rows.toArrow().cast(CANDIDATES)], k)
        products = _products(best, items, images, in_stock_only)
        image_counts, product_counts = (
            np.bincount(table["query"].to_numpy(), minlength=len(search.categories)) for table in (best, products)
        )
        if ((product_counts >= search.k) | (image_counts < k)).all():
            return best_rows([products], search.k)
        k *= _IMAGES_PER_PRODUCT


def _products(best: pa.Table, items: DataFrame, images: DataFrame, in_stock_only: bool) -> pa.Table:
    """The nearest image of each product among the candidates, with what the catalogue says of the product."""
    spark = images.sparkSession
    candidates = F.broadcast(spark.createDataFrame(best))
    pairs = candidates.join(images.select("image_id", "product_id", "uri"), "image_id")
    products = F.broadcast(pairs.select("product_id").distinct())
    product_images = images.join(products, "product_id", "left_semi")
    facts = product_facts(product_images)
    if in_stock_only:
        facts = facts.where("in_stock")
    first = F.min_by(F.struct("value", "image_id", "uri"), F.struct(-F.col("value"), "image_id")).alias("first")
    nearest = pairs.groupBy("query", "product_id").agg(first).join(facts, "product_id")
    return nearest.select(
        "query", "first.image_id", "first.value", "product_id", "first.uri", "category", "price"
    ).toArrow()
