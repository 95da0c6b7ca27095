from __future__ import annotations

import re

import numpy as np
import pytest

from vsspark.config import GateConfig
from vsspark.recommend.figures import exposure
from vsspark.recommend.gate import judge

ROW = (
    "product_id string, rank int, similar_product_id string, similarity float, source string, "
    "category string, similar_category string"
)
CATEGORY = {"A": "hat", "B": "hat", "C": "bag"}
GOOD = [
    ("A", 1, "B", 0.9, "visual"),
    ("A", 2, "C", 0.8, "backfill"),
    ("B", 1, "A", 0.9, "visual"),
    ("B", 2, "C", 0.7, "visual"),
    ("C", 1, "A", 0.8, "visual"),
    ("C", 2, "B", 0.7, "visual"),
]
COUNTS = {
    "images": 10,
    "embedded": 9,
    "quarantined": 1,
    "products": 3,
    "usable_products": 3,
    "recommendable_products": 3,
}


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
        "rank1_same_category_by_chance": pytest.approx(2 / 3),  # every pick is a hat
        "commonest_category": pytest.approx(2 / 3),
        "hubness": 1.0,
        "recommended_share": 1.0,
        "exposure_gini": pytest.approx(0),
        "exposure_skewness": 0.0,
    }
    assert verdict.broken == ()


@pytest.mark.parametrize("seed", range(5))
def test_exposure_is_the_definition(seed):
    rng = np.random.default_rng(seed)
    lists = rng.poisson(rng.exponential(3, 200))  # that each product is in, some in none
    shown = {int(number): int((lists == number).sum()) for number in np.unique(lists) if number > 0}
    found = exposure(shown, 200)
    differences = np.abs(lists[:, None] - lists[None]).sum()
    assert found["exposure_gini"] == pytest.approx(differences / (2 * 200**2 * lists.mean()))
    assert found["exposure_skewness"] == pytest.approx(((lists - lists.mean()) ** 3).mean() / lists.std() ** 3)


@pytest.mark.parametrize(
    ("rows", "counts", "limits", "expected"),
    [
        (GOOD, {"embedded": 8}, {}, "images are lost: 10 in, 8 embedded"),
        (
            GOOD,
            {"embedded": 5, "quarantined": 5},
            {},
            r"50\.0% of the images are quarantined, gate\.max_quarantined allows 20\.0%",
        ),
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
    verdict = _judge(spark, rows, COUNTS | counts, **limits)
    sentences = "; ".join(verdict.refusals + verdict.broken)
    assert re.search(expected, sentences), sentences


def test_a_catalogue_of_one_product_has_nothing_to_publish(spark):
    counts = {
        "images": 1,
        "embedded": 1,
        "quarantined": 0,
        "products": 1,
        "usable_products": 1,
        "recommendable_products": 1,
    }
    verdict = _judge(spark, [], counts)
    assert verdict.refusals == ("0 products have recommendations, gate.min_products asks for 2",)
    assert verdict.broken == ("no product has any recommendation",)


def _lists(spark, rows, model="m1"):
    rows = [(*row, CATEGORY.get(row[0]), CATEGORY.get(row[2]), model) for row in rows]
    return spark.createDataFrame(rows, f"{ROW}, model_version string")


def test_the_published_run_is_what_a_run_is_compared_with(spark):
    published = _lists(spark, [*GOOD, ("D", 1, "A", 0.5, "visual"), ("D", 2, "B", 0.4, "visual")])
    tonight = [
        row if row[0] != "C" else (row[0], row[1], {"A": "B", "B": "D"}[row[2]], row[3] - 0.5, row[4]) for row in GOOD
    ]
    limits = GateConfig(max_products_lost=0.2, max_changed=0.1, max_drift=0.1)
    verdict = judge(_lists(spark, tonight), COUNTS, 2, limits, published)
    # D is lost; of six recommendations of known products C -> D is new; three similarities against four say nothing
    # about a drift.
    assert verdict.metrics["products_lost"] == pytest.approx(1 / 4)
    assert verdict.metrics["changed_share"] == pytest.approx(1 / 6)
    assert verdict.metrics["similarity_drift"] == 0.0
    assert [re.search(r"gate\.(\w+)", sentence).group(1) for sentence in verdict.refusals] == [
        "max_products_lost",
        "max_changed",
    ]
    other_network = judge(_lists(spark, tonight, "m2"), COUNTS, 2, limits, published)
    assert [re.search(r"gate\.(\w+)", sentence).group(1) for sentence in other_network.refusals] == [
        "max_products_lost"
    ]


def test_similarities_that_fall_are_a_drift(spark):
    shop = [(f"P{i}", 1, f"P{(i + 1) % 200}", 0.9, "visual") for i in range(200)]
    tonight = [(a, rank, b, 0.3 if i < 150 else value, source) for i, (a, rank, b, value, source) in enumerate(shop)]
    counts = COUNTS | {"products": 200, "usable_products": 200, "recommendable_products": 200}
    verdict = judge(_lists(spark, tonight), counts, 1, GateConfig(), _lists(spark, shop))
    assert verdict.metrics["similarity_drift"] == pytest.approx(0.75 - 1.63 * (2 / 200) ** 0.5)
    assert [re.search(r"gate\.(\w+)", sentence).group(1) for sentence in verdict.refusals] == ["max_drift"]


def test_a_hub_is_refused(spark):
    rows = [(f"P{i}", 1, "A", 0.5, "visual") for i in range(10)] + [("A", 1, "P0", 0.5, "visual")]
    counts = COUNTS | {"products": 11, "usable_products": 11, "recommendable_products": 11}
    verdict = judge(_lists(spark, rows), counts, 1, GateConfig(max_hubness=9.0))
    assert verdict.metrics["hubness"] == pytest.approx(10.0)
    assert verdict.refusals == (
        "one product is in 10.0 times as many lists as the average product, gate.max_hubness allows 9",
    )
