from __future__ import annotations

import datetime as dt

from vsspark.recommend.lists import (
    describe,
    merge_neighbours,
    product_facts,
    short_products,
    top_products,
    with_backfill,
)

IMAGES = "image_id long, product_id string, uri string, position int, category string, price double, in_stock boolean"
PAIRS = "product_id string, similar_product_id string, similarity float, query_image_id long, item_image_id long"


def _images(spark):
    return spark.createDataFrame(
        [
            (1, "A", "a0", 0, None, None, None),
            (2, "A", "a1", 1, "dress", 10.0, True),
            (3, "B", "b0", 0, "hat", 5.0, False),
            (4, "C", "c0", 0, None, None, None),
            (5, "C", "c1", 1, None, None, None),
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


def test_equal_similarities_rank_by_product_id(spark):
    pairs = spark.createDataFrame([("A", s, 0.5, 1, 1) for s in ("Z", "M", "C")] + [("A", "Q", 0.4, 1, 1)], PAIRS)
    assert sorted(r.similar_product_id for r in top_products(pairs, 2).collect()) == ["C", "M"]


def test_short_lists_are_filled_behind_the_visual_rows_without_repeating_them(spark):
    visual = spark.createDataFrame([("A", "B", 0.3, 1, 3)], PAIRS)
    fill = spark.createDataFrame([("A", "C", 0.9, 1, 4), ("A", "B", 0.3, 1, 3), ("A", "D", 0.8, 1, 6)], PAIRS)
    usable = spark.createDataFrame([("A",), ("B",)], "product_id string")
    assert {(r.product_id, r.have) for r in short_products(usable, visual, 2).collect()} == {("A", 1), ("B", 0)}
    rows = {r.rank: (r.similar_product_id, r.source) for r in with_backfill(visual, fill, 2).collect()}
    assert rows == {1: ("B", "visual"), 2: ("C", "backfill")}


def test_the_first_stated_fact_and_the_most_predicted_category_describe_a_product(spark):
    predicted = spark.createDataFrame(
        [(1, "x"), (2, "y"), (3, "hat"), (4, "bag"), (5, "bag")], "image_id long, predicted_category string"
    )
    facts = {
        r.product_id: (r.category, r.price, r.in_stock) for r in product_facts(_images(spark), predicted).collect()
    }
    assert facts == {"A": ("dress", 10.0, True), "B": ("hat", 5.0, False), "C": ("bag", None, None)}
    lists = with_backfill(spark.createDataFrame([("C", "A", 0.7, 5, 2)], PAIRS), None, 3)
    row = describe(lists, _images(spark), predicted, "m1", "run-1", dt.date(2026, 1, 2)).first()
    assert (row.image_uri, row.similar_image_uri, row.category, row.similar_category, row.price, row.similar_price) == (
        "c1",
        "a1",
        "bag",
        "dress",
        None,
        10.0,
    )
    assert (row.rank, row.source, row.model_version, row.run_id, row.run_date) == (
        1,
        "visual",
        "m1",
        "run-1",
        dt.date(2026, 1, 2),
    )
