"""Products by their nearest images on Spark: many images of one product, stock, ties, too few."""

from __future__ import annotations

import numpy as np
import pytest

from vsspark.query.candidates import Search
from vsspark.query.spark import nearest_products
from vsspark.schemas import IMAGES


@pytest.fixture(scope="module")
def shop(spark):
    """Product P00 has 30 images, all nearer to (1, 0) than any other; P01 to P06 have two each, at falling cosines,
    the first one not in stock.
    """
    angles = [("P00", 0.001 * i) for i in range(30)] + [
        (f"P0{p}", 0.1 * p + 0.05 * i) for p in range(1, 7) for i in range(2)
    ]
    images, items = [], []
    for number, (product, angle) in enumerate(angles):
        category = "odd" if int(product[1:]) % 2 else "even"
        facts = (None, category, 10.0 + number, product != "P01", None, None)
        content = ("0" * 64, None, "m", category, None, "encoder")
        images.append((number, product, f"{number}.jpg", number, *facts, *content))
        items.append((number, [float(np.cos(angle)), float(np.sin(angle))], category, category))
    return (
        spark.createDataFrame(
            items, "image_id long, embedding array<float>, category string, predicted_category string"
        ).repartition(3),
        spark.createDataFrame(images, IMAGES),
    )


def _ask(*categories, k=3):
    return Search(np.tile(np.array([[1, 0]], np.float32), (len(categories), 1)), categories, k, "cosine", None)


def _lists(table, queries):
    rows = table.to_pylist()
    return [[row["product_id"] for row in rows if row["query"] == q] for q in range(queries)]


def test_a_product_with_many_images_takes_one_place(shop):
    table = nearest_products(*shop, _ask(None, ("odd",), k=3), in_stock_only=False)
    assert _lists(table, 2) == [["P00", "P01", "P02"], ["P01", "P03", "P05"]]
    first = table.to_pylist()[1]
    assert (first["uri"], first["category"], first["price"]) == ("30.jpg", "odd", 40.0)
    assert first["value"] == pytest.approx(np.cos(0.1))


def test_what_is_not_in_stock_makes_room_for_the_next(shop):
    assert _lists(nearest_products(*shop, _ask(None, ("odd",)), in_stock_only=True), 2) == [
        ["P00", "P02", "P03"],
        ["P03", "P05"],
    ]


def test_more_than_there_are_gives_all_and_an_unknown_category_none(shop):
    assert _lists(nearest_products(*shop, _ask(None, ("new",), k=50), in_stock_only=False), 2) == [
        [f"P0{p}" for p in range(7)],
        [],
    ]
