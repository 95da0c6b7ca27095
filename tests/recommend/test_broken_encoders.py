"""The gate refuses what a broken encoder recommends, on the first night and later, whatever the model version."""

from __future__ import annotations

import pytest

from tests.recommend.broken_encoders import BROKEN, COUNTS, K, good_vectors, recommend
from vsspark.config import GateConfig
from vsspark.recommend.gate import judge

LIMITS = GateConfig(min_coverage=0.0)  # a broken head leaves blocks of a product or two, which backfill would fill


@pytest.fixture(scope="module")
def published(spark):
    """(lists, metrics) of a good night."""
    lists, measured = recommend(spark, good_vectors(noise=1.5), "m1")
    lists = lists.localCheckpoint()
    verdict = judge(lists, COUNTS, K, LIMITS, measured=measured)
    assert verdict.refusals == ()
    return lists, verdict.metrics | measured


@pytest.mark.parametrize("own_head", [False, True], ids=["fitted_head", "own_head"])
@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_encoder_is_refused_on_the_first_night(spark, broken, own_head):
    lists, measured = recommend(spark, BROKEN[broken](), "m1", own_head)
    verdict = judge(lists, COUNTS, K, LIMITS, measured=measured)
    sentences = "; ".join(verdict.refusals)
    assert "gate.min_category_skill=0.2 asks for" in sentences or "gate.min_recommended asks for 10.0%" in sentences
    assert verdict.broken == ()


@pytest.mark.parametrize("model", ["m1", "m2"])
@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_encoder_is_refused_after_a_good_night(spark, published, broken, model):
    lists, measured = recommend(spark, BROKEN[broken](), model)
    verdict = judge(lists, COUNTS, K, LIMITS, *published[:1], measured, published[1])
    assert any("gate.max_category_loss allows 10.0% less" in sentence for sentence in verdict.refusals)
    assert any("gate.min_category_skill=0.2" in sentence for sentence in verdict.refusals)


def test_a_better_encoder_and_a_slightly_worse_one_pass(spark, published):
    for noise in (0.5, 1.6):
        lists, measured = recommend(spark, good_vectors(noise, seed=9), "m2")
        assert judge(lists, COUNTS, K, GateConfig(), published[0], measured, published[1]).refusals == ()


def test_lists_that_have_nothing_to_do_with_the_published_ones_are_refused(spark, published):
    shifted = published[0].selectExpr(
        "product_id", "rank", "similarity", "source", "category", "similar_category", "'m2' AS model_version",
        "concat('Q', similar_product_id) AS similar_product_id",
    )  # fmt: skip
    verdict = judge(shifted, COUNTS, K, LIMITS, published[0])
    assert [sentence for sentence in verdict.refusals if "gate.max_changed_model allows 95.0%" in sentence]
    wide = GateConfig(min_coverage=0.0, max_changed_model=1.0)
    assert judge(shifted, COUNTS, K, wide, published[0]).refusals == ()
