"""The report's numbers and examples, against figures counted by hand in the small shop."""

from __future__ import annotations

import pytest
from small_shop import BOLD, MODEL, QUOTED, RUN_ID, PublishedTables, run_row

from vsspark.report.contents import Totals


def test_totals(shop_contents):
    assert shop_contents.totals == Totals(
        products=9,
        images=19,
        embedded=16,
        quarantined=3,
        usable_products=8,
        full_lists=7,
        recommendations=23,
        backfilled=5,
    )


def test_categories_largest_first(shop_contents):
    assert [row.category for row in shop_contents.categories] == ["Bags", "Tees", "Hats"]
    bags, tees, hats = shop_contents.categories
    assert (bags.products, bags.usable_products, bags.images, bags.full_lists) == (4, 3, 8, 2)
    assert bags.backfill_share == pytest.approx(2 / 8)
    assert bags.mean_similarity == pytest.approx((0.80 + 0.80 + 0.75) / 3)
    assert (tees.products, tees.images, tees.full_lists, tees.backfill_share) == (4, 9, 4, 0.0)
    assert (hats.products, hats.full_lists, hats.backfill_share) == (1, 1, 1.0)


def test_best_and_worst_take_turns_among_the_categories_and_share_no_product(shop_contents):
    best = [example.query.product_id for example in shop_contents.best]
    worst = [example.query.product_id for example in shop_contents.worst]
    # The best of every category: T1 0.95 (the quoted tee comes second by id), B1 0.80, H1 0.35.
    assert set(best) == {min("T1", QUOTED), "B1", "H1"}
    assert [example.recommendations[0].similarity for example in shop_contents.best] == pytest.approx(
        [0.95, 0.80, 0.35]
    )
    # The worst that are left: T4 0.70 and B3 0.75, then the next tee.
    assert worst[:2] == ["T4", "B3"]
    assert not set(best) & set(worst)
    assert len(worst) == 3


def test_an_example_carries_names_prices_categories_and_sources(shop_contents):
    bag = next(example for example in shop_contents.best if example.query.product_id == "B1")
    assert (bag.query.name, bag.query.category, bag.query.price) == ("Bag one", "Bags", 18.0)
    assert [(shown.rank, shown.product.product_id, shown.source) for shown in bag.recommendations] == [
        (1, "B2", "visual"),
        (2, "B3", "visual"),
        (3, "T1", "backfill"),
    ]
    assert (bag.recommendations[2].product.name, bag.recommendations[2].product.category) == (BOLD, "Tees")
    assert bag.recommendations[2].product.price == 10.0
    ((name, (hat,)),) = bag.further
    assert (name, hat.product.product_id, hat.rank, hat.reason) == ("cheaper", "H1", 1, "pin hat")
    assert not any(example.further for example in shop_contents.worst)


def test_quarantine_counts_each_unusable_image_once_by_its_latest_reason(shop_contents):
    assert [(row.reason, row.images) for row in shop_contents.quarantine] == [("truncated", 2), ("missing", 1)]
    assert {image.detail for image in shop_contents.quarantine[0].examples} <= {
        "512 bytes: <cut> off",
        "100 bytes: <cut> off",
    }
    assert shop_contents.quarantine[1].examples[0].product_id == "T1"
    assert shop_contents.without_images == ("X1",)


def test_quarantine_of_an_embed_job_before_the_publish_job_is_found(spark, shop_rows, shop_config):
    from vsspark import schemas
    from vsspark.report.spark import images_set_aside

    images = spark.createDataFrame(shop_rows["images"], schemas.IMAGES)
    quarantine = spark.createDataFrame(shop_rows["quarantine"], schemas.QUARANTINE)
    rows = images_set_aside(images, quarantine, "20261122-a-later-publish").collect()
    assert sorted((row.image_id, row.reason, row.run_id) for row in rows) == [
        (17, "truncated", RUN_ID),
        (18, "truncated", RUN_ID),
        (19, "missing", RUN_ID),
    ]


def test_a_run_that_published_nothing_still_has_a_report(spark, shop_rows, shop_config):
    from vsspark.report.build import build_report

    without_contents = [(*row[:10], *[None] * 6) for row in shop_rows["images"]]
    tables = PublishedTables(spark, shop_rows | {"similar_products": [], "images": without_contents, "quarantine": []})
    html = build_report(
        spark,
        tables,
        run_row() | {"status": "refused", "message": "coverage 0 is below 0.9", "model_version": MODEL},
        shop_config,
        {},
    )
    assert "This run published no recommendations." in html
    assert "coverage 0 is below 0.9" in html
    assert "do not add up" in html
