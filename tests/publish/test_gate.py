from __future__ import annotations

import pytest

from vsspark.config import GateConfig
from vsspark.publish.gate import judge

ROW = "product_id string, rank int, similar_product_id string, similarity float, source string, category string, similar_category string"
CATEGORY = {"A": "hat", "B": "hat", "C": "bag"}
GOOD = [
    ("A", 1, "B", 0.9, "visual"),
    ("A", 2, "C", 0.8, "backfill"),
    ("B", 1, "A", 0.9, "visual"),
    ("B", 2, "C", 0.7, "visual"),
    ("C", 1, "A", 0.8, "visual"),
    ("C", 2, "B", 0.7, "visual"),
]
COUNTS = {"images": 10, "embedded": 9, "quarantined": 1, "products": 3, "usable_products": 3, "recommendable_products": 3}


def _judge(spark, rows=GOOD, counts=COUNTS, k=20, **limits):
    rows = [(*row, CATEGORY[row[0]], CATEGORY[row[2]]) for row in rows]
    return judge(spark.createDataFrame(rows, ROW), counts, k, GateConfig(**limits))


def test_a_good_run_passes_with_its_figures(spark):
    verdict = _judge(spark)
    assert verdict.refusals == ()
    assert verdict.metrics == {
        "coverage": 1.0,
        "quarantined_share": 0.1,
        "products_with_recommendations": 3.0,
        "recommendations": 6.0,
        "backfill_share": pytest.approx(1 / 6),
        "mean_rank1_similarity": pytest.approx((0.9 + 0.9 + 0.8) / 3),
        "rank1_same_category": pytest.approx(2 / 3),
    }


@pytest.mark.parametrize(
    ("rows", "counts", "limits", "expected"),
    [
        (GOOD, {"embedded": 8}, {}, "images are lost: 10 in, 8 embedded"),
        (GOOD, {"embedded": 5, "quarantined": 5}, {}, r"50\.0% of the images are quarantined, gate\.max_quarantined allows 20\.0%"),
        (GOOD[:-1], {}, {}, r"66\.7% of the products .* full list of 2, gate\.min_coverage asks for 90\.0%"),
        ([*GOOD[:-1], ("C", 2, "A", 0.7, "visual")], {}, {}, r"1 rows repeat"),
        ([*GOOD[:-1], ("C", 3, "B", 0.7, "visual")], {}, {}, r"1 products have gaps"),
        ([*GOOD[:-1], ("C", 2, "C", 0.7, "visual")], {}, {}, r"1 rows recommend the product itself"),
        (
            GOOD,
            {"usable_products": 200, "recommendable_products": 200, "products": 200},
            {"min_products": 5, "min_coverage": 0.0},
            r"3 products have recommendations",
        ),
        ([], {}, {}, r"0\.0% of the products"),
    ],
)
def test_each_broken_promise_is_named(spark, rows, counts, limits, expected):
    refusals = "; ".join(_judge(spark, rows, COUNTS | counts, **limits).refusals)
    import re

    assert re.search(expected, refusals), refusals


def test_a_catalogue_of_one_product_has_nothing_to_publish(spark):
    counts = {"images": 1, "embedded": 1, "quarantined": 0, "products": 1, "usable_products": 1, "recommendable_products": 1}
    assert _judge(spark, [], counts).refusals == ("0 products have recommendations, gate.min_products asks for 2",)
