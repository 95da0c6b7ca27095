"""A search under conditions is the search of the eligible items alone: against the definition, one query at a time."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from naive_neighbours import naive

from vsspark.blocks.spark import number_blocks
from vsspark.config import KnnConfig
from vsspark.knn import engine, topk
from vsspark.knn.eligibility import DIFFERENT, EQUAL, RATIO, SAME_OR_UNKNOWN_BOTH, UNKNOWN, Condition, Facts, Terms
from vsspark.knn.exact import Rows
from vsspark.knn.facts import Rules
from vsspark.knn.index import Settings, new_index
from vsspark.knn.index_search import search_queries
from vsspark.knn.index_update import update_index
from vsspark.knn.spark import search_neighbours

K = 5
GENDER, BRAND, GROUP = range(3)


class Shop:
    """Rows of which a third are copies of others, and what is known of them."""

    def __init__(self, n, seed, d=7):
        rng = np.random.default_rng(seed)
        self.x = rng.standard_normal((n, d)).astype(np.float32)
        self.x[n // 2 : n // 2 + n // 3] = self.x[: n // 3]
        self.ids = np.sort(rng.integers(1, 2**62, n))
        self.groups = rng.integers(0, n // 2, n)
        self.codes = np.stack([rng.integers(0, 4, n), rng.integers(0, 9, n), rng.integers(1, n // 4, n)], axis=1)
        self.amounts = np.where(rng.random(n) < 0.1, np.nan, np.round(rng.uniform(1, 90, n), 1))
        self.names = rng.choice(["bag", "hat"], n, p=[0.7, 0.3])

    @property
    def facts(self):
        return Facts(self.codes, self.amounts)


def passes(condition, shop, i):
    """(n,) bool, by the words of `Condition`."""
    if condition.kind == RATIO:
        with np.errstate(invalid="ignore"):
            return (condition.low * shop.amounts[i] <= shop.amounts) & (
                shop.amounts <= condition.high * shop.amounts[i]
            )
    own, other = shop.codes[i, condition.column], shop.codes[:, condition.column]
    if condition.kind == SAME_OR_UNKNOWN_BOTH:
        return own == other
    same = (own == other) if condition.kind == EQUAL else (own != other)
    return np.where((own == UNKNOWN) | (other == UNKNOWN), condition.unknown, same)


def expected(shop, i, conditions, metric, groups, k=K, among=None):
    """The k nearest of the rows that every condition lets through: ids."""
    there = np.ones(len(shop.ids), bool) if among is None else among.copy()
    for condition in conditions:
        there &= passes(condition, shop, i)
    one = slice(i, i + 1)
    x = shop.x - (np.median(shop.x, axis=0) if metric == "hamming" else 0)
    _, ids = naive(x[one], x[there], k, metric, shop.ids[one], shop.ids[there], groups[one], groups[there])
    return ids[0][ids[0] >= 0].tolist()


def rule_sets(rng):
    """A few conditions in any combination."""
    ratios = [(0.0, 0.9), (0.5, 2.0), (0.9, 1.1)]
    low, high = ratios[rng.integers(3)]
    choice = [
        Condition(EQUAL, GENDER, unknown=bool(rng.integers(2))),
        Condition(DIFFERENT, BRAND, unknown=bool(rng.integers(2))),
        Condition(SAME_OR_UNKNOWN_BOTH, GENDER),
        Condition(RATIO, low=low, high=high),
    ]
    return tuple(c for c in choice if rng.random() < 0.6) or (choice[0],)


@pytest.mark.parametrize("metric", ["cosine", "l2", "l1"])
@pytest.mark.parametrize("seed", range(6))
def test_a_list_under_conditions_is_the_list_of_the_eligible_items(metric, seed):
    rng = np.random.default_rng(seed)
    shop, conditions = Shop(int(rng.integers(8, 300)), seed), rule_sets(rng)
    top = topk.empty(len(shop.ids), K)
    rows = Rows(shop.x, shop.ids, shop.groups, top, shop.facts)
    engine.offer(rows, rows, metric, True, tile_rows=int(rng.integers(3, 90)), conditions=conditions)
    for i in range(len(shop.ids)):
        found = top.ids[i][top.ids[i] != topk.NO_ID].tolist()
        assert found == expected(shop, i, conditions, metric, shop.groups), i


def test_two_sides_may_find_each_other_in_one_direction_alone():
    shop = Shop(120, 3)
    dearer = (Condition(RATIO, low=1.2),)
    half = np.arange(120) < 60
    sides = []
    for part in (half, ~half):
        facts = Facts(shop.codes[part], shop.amounts[part])
        sides.append(Rows(shop.x[part], shop.ids[part], shop.groups[part], topk.empty(60, K), facts))
    engine.offer(*sides, "cosine", True, conditions=dearer)
    for side, items in zip(sides, (~half, half), strict=True):
        for row, i in enumerate(np.searchsorted(shop.ids, side.ids)):
            found = side.top.ids[row][side.top.ids[row] != topk.NO_ID].tolist()
            assert found == expected(shop, i, dearer, "cosine", shop.groups, among=items)


# No index is kept for hamming.
@pytest.mark.parametrize(("metric", "kept_index"), [("cosine", True), ("cosine", False), ("hamming", False)])
def test_the_stage_under_rules_is_the_definition(spark, tmp_path, metric, kept_index):
    shop, config = Shop(160, 11), KnnConfig(k=K, metric=metric, tile_rows=24)
    conditions = (Condition(EQUAL, GENDER, unknown=True), Condition(RATIO, low=0.3, high=1.5))
    facts = {"image_id": shop.ids, "amount": pa.array(shop.amounts, from_pandas=True), "codes": shop.codes.tolist()}
    rules = Rules(Terms(conditions, GROUP), spark.createDataFrame(pa.table(facts)).repartition(3))
    own = [[name] for name in shop.names]
    table = {"image_id": shop.ids, "group_id": shop.groups, "content": shop.ids.astype(str), "block": shop.names}
    rows = spark.createDataFrame(pa.table(table | {"embedding": shop.x.tolist(), "probes": own})).repartition(2)
    if kept_index:
        index = update_index(
            new_index(str(tmp_path / "index"), Settings(metric, "m")), rows, str(tmp_path / "s"), config
        )
        found = search_queries(index, rows, str(tmp_path / "scratch"), config, rules=rules)
    else:
        found = search_neighbours(number_blocks(rows), str(tmp_path / "scratch"), config, rules=rules)
    lists = {}
    for row in found.orderBy("query_image_id", "rank").collect():
        lists.setdefault(row.query_image_id, []).append(row.item_image_id)
    for i, name in enumerate(shop.names):
        # One of a variant group, none of the own.
        wanted = expected(shop, i, conditions, metric, shop.codes[:, GROUP], among=shop.names == name)
        assert lists.get(shop.ids[i], []) == wanted, i
