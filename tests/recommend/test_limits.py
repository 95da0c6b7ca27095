from __future__ import annotations

import re

import pytest

from vsspark.config import GateConfig
from vsspark.recommend.limits import broken_comparisons, broken_limits

COUNTS = {"embedded": 5_000}
GOOD = {
    "quarantined_share": 0.0,
    "products_with_recommendations": 1_000.0,
    "rank1_same_category": 0.9,
    "rank1_same_category_by_chance": 0.1,
    "commonest_category": 0.2,
    "hubness": 3.0,
    "recommended_share": 0.95,
    "products_lost": 0.0,
    "published_products": 1_000.0,
    "published_rank1_same_category": 0.88,
    "published_hubness": 2.5,
}


def _refusals(target_recall: float | None = None, same_model: bool = True, published=(), limits=(), **found):
    figures, gate = GOOD | found, GateConfig(**dict(limits))
    alone = broken_limits(figures, COUNTS, gate, target_recall)
    return [*alone, *broken_comparisons(figures, dict(published), COUNTS, gate, same_model)]


def test_good_figures_pass():
    assert _refusals(0.99, head_accuracy=0.8, recall_at_k=0.985, published={"head_accuracy": 0.85}) == []


@pytest.mark.parametrize("same_model", [True, False])
@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            {"rank1_same_category": 0.25},
            "category of 25.0% of the products, 10.0% would by chance, gate.min_category_skill=0.2 asks for 25.8%",
        ),
        (
            {"head_accuracy": 0.3},
            "the category head is right for 30.0% of the images held out, naming the commonest category would be for"
            " 20.0%, gate.min_category_skill=0.2 asks for 33.1%",
        ),
        ({"hubness": 7.6}, "in 7.6 times as many lists .* 2.5 when published, gate.max_hubness_growth allows 3 times"),
        ({"hubness": 51.0}, "in 51.0 times as many lists as the average product, gate.max_hubness allows 50"),
        ({"recommended_share": 0.08}, "8.0% of the recommendable products .*, gate.min_recommended asks for 10.0%"),
        ({"rank1_same_category": 0.7}, "70.0% of the products, 88.0% in the published run, gate.max_category_loss"),
        ({"head_accuracy": 0.7}, "right for 70.0% .*, 90.0% in the published run, gate.max_category_loss"),
        ({"recall_at_k": 0.97}, "audited recall of the neighbour search is 0.9700, gate.min_recall asks for 0.9800"),
    ],
)
def test_each_limit_names_the_key_what_was_found_and_what_is_allowed(found, expected, same_model):
    sentences = _refusals(0.99, same_model, {"head_accuracy": 0.9}, **found)
    assert [sentence for sentence in sentences if re.search(expected, sentence)], sentences


def test_the_recall_limit_can_be_set():
    assert _refusals(0.99, recall_at_k=0.9, limits={"min_recall": 0.9}) == []
    assert len(_refusals(0.9, recall_at_k=0.94, limits={"min_recall": 0.95})) == 1
    assert _refusals(0.9, recall_at_k=0.895) == []
    assert _refusals(None, recall_at_k=0.1) == []  # nobody said what it should reach


def test_small_shops_are_allowed_what_chance_does():
    few = {"products_with_recommendations": 12.0, "published_products": 12.0}
    by_chance = {"rank1_same_category_by_chance": 0.3, "published_rank1_same_category": 0.6}
    assert _refusals(rank1_same_category=0.3, **by_chance, **few) == []
    all_right = {"published_rank1_same_category": 1.0, "rank1_same_category": 10 / 14}
    few = {"products_with_recommendations": 14.0, "published_products": 14.0}
    assert _refusals(**all_right, **few) == []
    assert _refusals(hubness=4.9, published_hubness=1.0, **few) == []


def test_another_model_has_a_limit_of_its_own_for_changed_lists():
    assert _refusals(changed_share=0.9, same_model=False) == []
    assert "gate.max_changed allows 70.0%" in _refusals(changed_share=0.9)[0]
    assert "gate.max_changed_model allows 95.0%" in _refusals(changed_share=0.97, same_model=False)[0]
    assert _refusals(changed_share=0.97, same_model=False, limits={"max_changed": 1.0}) == []
