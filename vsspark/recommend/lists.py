"""Image neighbours -> product lists.

A product pair is as similar as its best pair of images. Every query image brings its k nearest *products* (the engine
keeps one image per product), so the k best of the merged lists are exactly the k nearest products of the probed
blocks.

Cost: two joins of the neighbours (n * k rows of 24 bytes) with the images' product ids, one shuffle of the pairs by
product and two windows on it; the largest group is a product's images times k rows.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window

ROWS_PER_FILE = 1_000_000  # of `similar_products`, some 60 MB: 50,000 products of 20 rows


def merge_neighbours(neighbours: DataFrame, images: DataFrame) -> DataFrame:
    """product_id, similar_product_id, similarity, query_image_id, item_image_id: one row per product pair, its best
    pair of images.

    neighbours: query_image_id, item_image_id, similarity. images: image_id, product_id. Equal similarities: lower ids.
    """
    owner = images.select("image_id", "product_id")
    pairs = neighbours.join(
        owner.select(F.col("image_id").alias("query_image_id"), "product_id"), "query_image_id"
    ).join(
        owner.select(F.col("image_id").alias("item_image_id"), F.col("product_id").alias("similar_product_id")),
        "item_image_id",
    )
    best = Window.partitionBy("product_id", "similar_product_id").orderBy(
        F.col("similarity").desc(), "query_image_id", "item_image_id"
    )
    return (
        pairs.where("product_id <> similar_product_id")
        .select("product_id", "similar_product_id", "similarity", "query_image_id", "item_image_id")
        .repartition("product_id")  # one shuffle for this window and for those of the lists
        .withColumn("place", F.row_number().over(best))
        .where("place = 1")
        .drop("place")
    )


def nearest(rows: DataFrame, places: Mapping[str, int]) -> DataFrame:
    """The most similar products of each list; equal similarities by similar_product_id. rows: with surface; places: how
    many, by surface.
    """
    order = Window.partitionBy("product_id", "surface").orderBy(F.col("similarity").desc(), "similar_product_id")
    return rows.withColumn("rank", F.row_number().over(order)).where(F.col("rank") <= of_surface(places)).drop("rank")


def of_surface(values: Mapping[str, int]) -> Column:
    """The value of a row's surface."""
    names = iter(values.items())
    column = F.lit(next(names)[1])
    for name, value in names:
        column = F.when(F.col("surface") == name, value).otherwise(column)
    return column


def short_products(usable: DataFrame, visual: DataFrame, k: int) -> DataFrame:
    """product_id and have (int) of the products with an embedded image whose list is shorter than k. usable:
    product_id, distinct.
    """
    have = visual.groupBy("product_id").agg(F.count("*").cast("int").alias("have"))
    return (
        usable.join(have, "product_id", "left")
        .select("product_id", F.coalesce("have", F.lit(0)).alias("have"))
        .where(F.col("have") < k)
    )


def with_backfill(visual: DataFrame, backfill: DataFrame | None) -> DataFrame:
    """The visual rows and, where they are not among them, the nearest products of the whole catalogue; with source."""
    rows = visual.withColumn("source", F.lit("visual"))
    if backfill is None:
        return rows
    pair = ["product_id", "surface", "similar_product_id"]
    fresh = backfill.join(visual.select(pair), pair, "left_anti")
    return rows.unionByName(fresh.withColumn("source", F.lit("backfill")))


def list_order() -> tuple[Column, ...]:
    """The order of a list before any cap: of rows with source, similarity and similar_product_id."""
    return F.col("source").desc(), F.col("similarity").desc(), F.col("similar_product_id")


def ranked(rows: DataFrame, places: Mapping[str, int]) -> DataFrame:
    """The first of each list, with rank: visual rows first, nearer ones first, equal ones by similar_product_id."""
    order = Window.partitionBy("product_id", "surface").orderBy(*list_order())
    return rows.withColumn("rank", F.row_number().over(order)).where(F.col("rank") <= of_surface(places))


def describe(lists: DataFrame, images: DataFrame) -> DataFrame:
    """Rows of `similar_products`, but for model_version, run_id and run_date. images: rows of `images`."""
    uris = images.select("image_id", "uri")
    products = product_facts(images)
    similar = products.select(
        F.col("product_id").alias("similar_product_id"),
        F.col("category").alias("similar_category"),
        F.col("price").alias("similar_price"),
    )
    return (
        lists.join(
            uris.select(F.col("image_id").alias("query_image_id"), F.col("uri").alias("image_uri")), "query_image_id"
        )
        .join(
            uris.select(F.col("image_id").alias("item_image_id"), F.col("uri").alias("similar_image_uri")),
            "item_image_id",
        )
        .join(products.select("product_id", "category", "price"), "product_id")
        .join(similar, "similar_product_id")
        .withColumn("rank", F.col("rank").cast("int"))
    )


def product_facts(images: DataFrame) -> DataFrame:
    """One row per product: category (the catalogue's, else the predicted one of most of its images), price, in_stock;
    the first stated wins. images: rows of `images`.
    """
    return images.groupBy("product_id").agg(
        F.coalesce(first_value(F.col("category")), F.expr("mode(predicted_category, true)")).alias("category"),
        first_value(F.col("price")).alias("price"),
        first_value(F.col("in_stock")).alias("in_stock"),
    )


def in_product_ranges(rows: DataFrame, count: int) -> DataFrame:
    """The rows sorted by product, in files of about ROWS_PER_FILE whose ranges of product_id do not overlap: who looks
    up one product opens one file, by the files' statistics. count: rows.
    """
    files = max(1, -(-count // ROWS_PER_FILE))
    return rows.repartitionByRange(files, "product_id").sortWithinPartitions("product_id", "surface", "rank")


def first_value(value: Column) -> Column:
    """Of a product, the value of the first of its images that has one."""
    return F.min_by(value, F.when(value.isNotNull(), F.col("position")))
