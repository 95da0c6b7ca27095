from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from pyspark.sql import functions as F

from vsspark.recommend.lists import (
    describe,
    in_product_ranges,
    merge_neighbours,
    nearest,
    product_facts,
    ranked,
    short_products,
    with_backfill,
)

IMAGES = "image_id long, product_id string, uri string, position int, category string, price double, in_stock boolean, "
IMAGES += "predicted_category string"
PAIRS = "product_id string, similar_product_id string, similarity float, query_image_id long, item_image_id long"


def _images(spark):
    return spark.createDataFrame(
        [
            (1, "A", "a0", 0, None, None, None, "x"),
            (2, "A", "a1", 1, "dress", 10.0, True, "y"),
            (3, "B", "b0", 0, "hat", 5.0, False, "hat"),
            (4, "C", "c0", 0, None, None, None, "bag"),
            (5, "C", "c1", 1, None, None, None, "bag"),
        ],
        IMAGES,
    )


def test_a_product_pair_is_as_similar_as_its_best_images(spark):
    neighbours = spark.createDataFrame(
        [(1, 1, 3, 0.5), (1, 2, 4, 0.4), (2, 1, 3, 0.9), (2, 2, 5, 0.4), (1, 3, 2, 0.99), (4, 1, 3, 0.1)],
        "query_image_id long, rank int, item_image_id long, similarity float",
    )
    found = {
        (r.product_id, r.similar_product_id): (round(r.similarity, 3), r.query_image_id, r.item_image_id)
        for r in merge_neighbours(neighbours, _images(spark)).collect()
    }
    # No A -> A; ties by lower ids.
    assert found == {("A", "B"): (0.9, 2, 3), ("A", "C"): (0.4, 1, 4), ("C", "B"): (0.1, 4, 3)}


def _similar(pairs):
    return pairs.withColumn("surface", F.lit("similar"))


def _listed(visual, fill, k):
    return ranked(with_backfill(_similar(visual), None if fill is None else _similar(fill)), {"similar": k})


def test_equal_similarities_rank_by_product_id(spark):
    pairs = spark.createDataFrame([("A", s, 0.5, 1, 1) for s in ("Z", "M", "C")] + [("A", "Q", 0.4, 1, 1)], PAIRS)
    assert sorted(r.similar_product_id for r in nearest(_similar(pairs), {"similar": 2}).collect()) == ["C", "M"]


def test_short_lists_are_filled_behind_the_visual_rows_without_repeating_them(spark):
    visual = spark.createDataFrame([("A", "B", 0.3, 1, 3)], PAIRS)
    fill = spark.createDataFrame([("A", "C", 0.9, 1, 4), ("A", "B", 0.3, 1, 3), ("A", "D", 0.8, 1, 6)], PAIRS)
    usable = spark.createDataFrame([("A",), ("B",)], "product_id string")
    assert {(r.product_id, r.have) for r in short_products(usable, visual, 2).collect()} == {("A", 1), ("B", 0)}
    rows = {r.rank: (r.similar_product_id, r.source) for r in _listed(visual, fill, 2).collect()}
    assert rows == {1: ("B", "visual"), 2: ("C", "backfill")}


def test_the_first_stated_fact_and_the_most_predicted_category_describe_a_product(spark):
    facts = {r.product_id: (r.category, r.price, r.in_stock) for r in product_facts(_images(spark)).collect()}
    assert facts == {"A": ("dress", 10.0, True), "B": ("hat", 5.0, False), "C": ("bag", None, None)}
    lists = _listed(spark.createDataFrame([("C", "A", 0.7, 5, 2)], PAIRS), None, 3)
    row = describe(lists, _images(spark)).first()
    assert (row.image_uri, row.similar_image_uri, row.category, row.similar_category, row.price, row.similar_price) == (
        "c1",
        "a1",
        "bag",
        "dress",
        None,
        10.0,
    )
    assert (row.rank, row.source) == (1, "visual")


def test_who_looks_up_one_product_opens_one_file(spark, tmp_path, monkeypatch):
    """By the files' own statistics, in Delta and in Parquet."""
    monkeypatch.setattr("vsspark.recommend.lists.ROWS_PER_FILE", 700)
    rows = (
        spark.range(5000)
        .select(
            F.concat(F.lit("P"), F.col("id") % 250).alias("product_id"), (F.col("id") / 250).cast("int").alias("rank")
        )
        .withColumn("surface", F.lit("similar"))
    )
    written = in_product_ranges(rows.repartition(5), 5000)
    written.write.format("delta").save(f"{tmp_path}/lists")
    ranges = []
    for file in Path(f"{tmp_path}/lists").glob("*.parquet"):
        metadata = pq.ParquetFile(file).metadata
        column = metadata.row_group(0).column(0).statistics
        ranges.append((column.min, column.max))
    ranges.sort()
    assert len(ranges) >= 6
    assert all(before[1] < after[0] for before, after in pairwise(ranges))
    table = DeltaTable(f"{tmp_path}/lists")
    stats = pa.table(table.get_add_actions(flatten=True))
    low, high = (stats[f"{bound}.product_id"].to_pylist() for bound in ("min", "max"))
    assert sorted(zip(low, high, strict=True)) == ranges
