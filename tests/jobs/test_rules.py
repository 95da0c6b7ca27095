"""Lists under rules are those of the definition: filter first, then the nearest within the probed blocks, in order."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from random_shops import RandomShop, random_rules

from vsspark.config import BlockingConfig, CatalogueConfig, KnnConfig, OutputConfig, RecommendConfig
from vsspark.job.eligible import rules_of
from vsspark.job.neighbours import neighbours_stage
from vsspark.job.products import products_stage
from vsspark.recommend.rules import twin_groups
from vsspark.recommend.terms import product_rules
from vsspark.schemas import DUPLICATE_GROUPS
from vsspark.storage.run_tables import RunTables
from vsspark.storage.store import Store

DATE = dt.date(2026, 11, 21)


def published_lists(tables, recommend, catalogue, knn):
    """The lists of the two stages, as `RandomShop.lists` gives them, and their rows."""
    rules = rules_of(tables, recommend, catalogue)
    depth = recommend.k if rules is None else rules.depth
    knn = knn.model_copy(update={"k": max(knn.k, depth)})
    neighbours_stage(tables, knn, BlockingConfig(), recommend)
    rows = products_stage(tables, recommend, rules, knn, DATE).rows.orderBy("product_id", "rank").collect()
    lists: dict = {}
    for row in rows:
        lists.setdefault(row.product_id, []).append((row.similar_product_id, row.source))
        assert row["rank"] == len(lists[row.product_id])
    return lists, rows


def _settings(rules, grouped):
    columns = {"group": "group"} if grouped else {}
    return RecommendConfig.model_validate(rules), CatalogueConfig.model_validate({"columns": columns})


def _tables(spark, folder, run="night"):
    return RunTables(Store(spark, OutputConfig(path=f"{folder}/out", format="parquet")), run)


def _agrees(spark, folder, shop, rules, grouped, knn):
    tables = _tables(spark, folder)
    shop.write(tables)
    recommend, catalogue = _settings(rules, grouped)
    lists, _ = published_lists(tables, recommend, catalogue, knn)
    wanted = {product: rows for product, rows in shop.lists(recommend, catalogue).items() if rows}
    assert lists == wanted, (rules, grouped)
    if product_rules(recommend, catalogue) is not None:
        short = tables.read_or_empty("short_lists").where(f"run_id = '{tables.run_id}'").collect()
        assert {row.product_id: row.places for row in short} == {
            product: len(wanted.get(product, ()))
            for product in shop.products
            if len(wanted.get(product, ())) < recommend.k
        }


CASES = [
    (
        {"k": 4, "match": ["gender"], "price": {"at_most_times": 0.9}, "unknown": "exclude", "twins": "hide"},
        True,
        "cosine",
    ),
    pytest.param(
        {"k": 5, "differ": ["brand"], "variants": "other_groups", "backfill": False}, True, "l2", marks=pytest.mark.slow
    ),
    pytest.param(
        {"k": 4, "match": ["category"], "price": {"between_times": [0.5, 2]}, "in_stock_only": True}, False, "cosine",
        marks=pytest.mark.slow,
    ),
    pytest.param({"k": 6, "variants": "one_per_group", "twins": "hide"}, True, "cosine", marks=pytest.mark.slow),
    pytest.param({"k": 6, "twins": "hide"}, False, "cosine", marks=pytest.mark.slow),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "grouped", "metric"), CASES)
def test_lists_under_rules_are_the_definition(spark, tmp_path, rules, grouped, metric):
    shop = RandomShop(3)
    if rules.get("twins") == "hide":
        shop.share_pictures(6)
    if metric == "l2":  # of one length, so that both metrics have one order
        shop.x /= np.linalg.norm(shop.x, axis=1, keepdims=True)
    _agrees(spark, tmp_path, shop, rules, grouped, KnnConfig(k=4, metric=metric, tile_rows=40))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(200))
def test_random_shops_under_random_rules_are_the_definition(spark, tmp_path, seed):
    shop = RandomShop(1000 + seed, products=int(np.random.default_rng(seed).integers(8, 70)))
    shop.share_pictures(int(shop.rng.integers(0, 3)))
    _agrees(spark, tmp_path, shop, *random_rules(shop.rng), KnnConfig(k=4, tile_rows=40))


def test_a_group_column_that_the_feed_lacks_is_no_rule(spark, tmp_path):
    shop, tables = RandomShop(1, products=4), _tables(spark, tmp_path)
    for facts in shop.products.values():
        facts["group"] = None
    shop.write(tables)
    recommend, catalogue = _settings({"k": 2}, True)
    assert rules_of(tables, recommend, catalogue) is None
    assert product_rules(recommend, catalogue) is not None


def test_a_group_of_twins_keeps_its_name_while_its_first_member_stays(spark):
    columns = "product_id string, content_hash string, box string"
    before = spark.createDataFrame([], DUPLICATE_GROUPS)

    def night(day, *rows):
        nonlocal before
        images = spark.createDataFrame([(*row, None) for row in rows], columns)
        found = twin_groups(images, before, dt.date(2026, 11, day)).collect()
        before = spark.createDataFrame([(*row, "run") for row in found], DUPLICATE_GROUPS)
        return {row.product_id: (row.group_id, row.since.day) for row in found}

    pair = [("M", "1"), ("M", "2"), ("N", "2"), ("N", "1")]
    assert night(1, *pair, ("P", "1"), ("Q", None)) == {"M": ("M", 1), "N": ("M", 1)}
    assert night(2, *pair, ("A", "1"), ("A", "2")) == {"A": ("M", 2), "M": ("M", 1), "N": ("M", 1)}
    assert night(3, *pair[2:], ("A", "1"), ("A", "2")) == {"A": ("N", 2), "N": ("N", 1)}
    assert night(4, *pair[2:]) == {}


def test_a_cap_chooses_among_the_nearest_and_says_so(spark, tmp_path):
    """Against a second way to say it: each place takes the first product left that keeps the cap, of a pool of 3 k."""
    shop, k, window = RandomShop(9, products=40), 5, 4
    tables = _tables(spark, tmp_path)
    shop.write(tables)
    recommend, catalogue = _settings({"k": k, "max_per": {"brand": 1}, "window": window}, False)
    lists, rows = published_lists(tables, recommend, catalogue, KnnConfig(k=4))
    pool = {p: r for p, r in shop.lists(recommend.model_copy(update={"k": 3 * k}), catalogue).items()}
    for product, found in lists.items():
        left = [other for other, source in pool[product] if source == "visual"]
        few = [other for other, source in pool[product] if source == "backfill"] if len(left) < k else []
        wanted, brands = [], []
        for part in (left, few):
            while part and len(wanted) < k:
                brand = lambda other: shop.products[other]["brand"]  # noqa: E731
                free = [o for o in part if brand(o) is None or brand(o) not in brands]
                chosen = free[0] if free and len(wanted) < window else part[0]
                part.remove(chosen)
                wanted.append(chosen)
                brands += [brand(chosen)]
        assert [other for other, _ in found] == wanted, product
    plain, _ = published_lists(_tables(spark, tmp_path, "plain"), RecommendConfig(k=k), catalogue, KnnConfig(k=4))
    for row in rows:
        by_similarity = plain[row.product_id][row["rank"] - 1][0]
        assert (row.reason == "max_per") == (by_similarity != row.similar_product_id), row
    assert {row.reason for row in rows} == {None, "max_per"}
