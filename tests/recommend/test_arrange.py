"""One page at a time: what stands where, by numbers small enough to check by eye."""

from __future__ import annotations

import pytest

from vsspark.config import CatalogueConfig, RecommendConfig
from vsspark.recommend.arrange import Page
from vsspark.recommend.terms import product_rules


def _rows(*products, source="visual", surface="similar"):
    """Rows of (product, similarity, whether it is shown now)."""
    names = {"surface": surface, "source": source, "item_codes": [0], "own_codes": [0], "place": None, "rule": None}
    return [names | {"similar_product_id": p, "similarity": s, "shown": shown} for p, s, shown in products]


def _placed(settings, rows):
    recommend = RecommendConfig.model_validate(settings)
    page = Page(product_rules(recommend, CatalogueConfig())).arrange(rows)
    return [(row["similar_product_id"], row["rank"], row["reason"]) for row in page]


@pytest.mark.parametrize(
    ("margin", "wanted"),
    [
        (0.1, [("A", 1, None), ("C", 2, "kept")]),  # B is better than C by .05, D than C by less than nothing
        (0.04, [("A", 1, None), ("B", 2, None)]),
    ],
)
def test_a_shown_product_stays_while_no_other_is_much_better(margin, wanted):
    rows = _rows(("A", 0.9, False), ("B", 0.8, False), ("C", 0.75, True), ("D", 0.7, True), ("E", 0.1, True))
    assert _placed({"k": 2, "keep_unless": margin}, rows) == wanted


def test_a_list_that_was_kept_is_kept_again():
    rows = _rows(("A", 0.9, False), ("B", 0.8, False), ("C", 0.75, True), ("D", 0.74, True))
    once = _placed({"k": 2, "keep_unless": 0.1}, rows)
    names = [product for product, _, _ in once]
    assert names == ["A", "C"]
    again = [row | {"shown": row["similar_product_id"] in names} for row in rows]
    assert _placed({"k": 2, "keep_unless": 0.1}, again) == once


def test_what_fills_a_list_stays_behind_what_was_found():
    rows = _rows(("A", 0.3, False)) + _rows(("B", 0.9, True), ("C", 0.95, False), source="backfill")
    assert _placed({"k": 2, "keep_unless": 0.1}, rows) == [("A", 1, None), ("B", 2, "kept")]
