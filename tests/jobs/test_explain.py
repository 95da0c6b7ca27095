"""`explain` says of any pair of products what a trace by the words of the settings says."""

from __future__ import annotations

import json

import numpy as np
import pytest
from random_shops import RandomShop
from test_rules import _settings, _tables
from test_surfaces import RULES as PAGE
from test_surfaces import published_pages, rules_of_every_kind

from jobs import explain as job
from vsspark.config import Config, KnnConfig, OutputConfig
from vsspark.errors import DataQualityError
from vsspark.job.written import record_rules
from vsspark.query.explain import explain
from vsspark.schemas import RUNS, SIMILAR_PRODUCTS

RULES = {
    "k": 4, "match": ["gender"], "differ": ["brand"], "unknown": "exclude", "in_stock_only": True,
    "price": {"at_most_times": 1.5, "at_least": 6}, "twins": "hide",
}  # fmt: skip


def _publish(spark, folder, shop, rules, grouped, written=()):
    """(config, lists) of a shop published under rules."""
    tables = _tables(spark, folder)
    shop.write(tables)
    recommend, catalogue = _settings(rules, grouped)
    record_rules(tables, tuple(written))
    lists = published_pages(tables, recommend, catalogue, KnnConfig(k=4, tile_rows=40), written)[0]
    lists = {product: page["similar"] for product, page in lists.items()} if not written else lists
    output = OutputConfig(path=f"{folder}/out", format="parquet")
    config = Config(recommend=recommend, catalogue=catalogue, output=output)
    tables.store.publish(
        "similar_products", tables.spark.read.parquet(tables.staging("similar_products")), SIMILAR_PRODUCTS, "night"
    )
    row = dict.fromkeys(RUNS.names) | {"run_id": "night", "status": "published", "config": json.dumps(config.public())}
    row |= {"model_version": "random:1", "counts": {}, "metrics": {}, "seconds": {}, "versions": {}, "owed": []}
    tables.store.write_run_row(row)
    return config, lists


def _trace(shop, recommend, catalogue, lists, product, other):
    """The answer by the words of the settings, and of `RandomShop`."""
    a, b = shop.products[product], shop.products[other]
    shown = [name for name, _ in lists.get(product, [])]
    if other in shown:
        return f"shown@{shown.index(other) + 1}"
    if product == other:
        return "filtered by product"
    if recommend.stocked_only and not b["in_stock"]:
        return "out_of_stock"
    if recommend.price and recommend.price.at_least and not (b["price"] or 0) >= recommend.price.at_least:
        return "filtered by price.at_least"
    steps = [(f"match {name}", {"match": (name,)}) for name in recommend.match]
    steps += [(f"differ {name}", {"differ": (name,)}) for name in recommend.differ]
    plain = {"match": (), "differ": (), "in_stock_only": False, "price": None, "variants": "all", "twins": "show"}
    for key, one in steps:
        if not shop._is_eligible(product, other, recommend.model_copy(update=plain | one), catalogue):
            return f"filtered by {key}"
    if recommend.price and not (a["price"] and b["price"] <= recommend.price.at_most_times * a["price"]):
        return "filtered by price.at_most_times"
    if recommend.price and a["currency"] != b["currency"]:
        return "filtered by price: another currency"
    if catalogue.columns.group and shop._group(product) == shop._group(other):
        return f"filtered by variants {recommend.variants}"
    if not shop._is_eligible(product, other, recommend, catalogue):
        return "filtered by twins"
    full = sum(source == "visual" for _, source in lists.get(product, [])) >= recommend.k
    if a["category"] != b["category"] and full:
        return "not_probed"
    owners = np.array([name for _, name, _ in shop.images])
    x = shop.x.astype(np.float64) / np.linalg.norm(shop.x.astype(np.float64), axis=1, keepdims=True)
    cosine = (x @ x.T)[owners == product].round(7)  # twins are equal
    every = [name for name in shop.products if shop._is_eligible(product, name, recommend, catalogue)]
    every = [name for name in every if not full or shop.products[name]["category"] == a["category"]]
    every.sort(key=lambda name: (-cosine[:, owners == name].max(), name))
    kept = shop._one_per_group(every, recommend, catalogue, ())
    if other not in kept:
        joined = [shop._joined(name, recommend, catalogue) for name in kept]
        nearer = kept[joined.index(shop._joined(other, recommend, catalogue))]
        same = shop._pictures(nearer) == shop._pictures(other)
        return f"{'duplicate' if same else 'variant'}_of {nearer}"
    return f"rank {kept.index(other) + 1}"


@pytest.mark.parametrize(
    ("rules", "grouped"), [(RULES, True), pytest.param({"k": 3, "backfill": False}, False, marks=pytest.mark.slow)]
)
def test_every_pair_has_the_answer_of_the_trace(spark, tmp_path, capsys, rules, grouped):
    shop = RandomShop(21, products=45)
    shop.share_pictures(4 if grouped else 0)
    config, lists = _publish(spark, tmp_path, shop, rules, grouped)
    rng, names = np.random.default_rng(0), list(shop.products)
    seen = set()
    for product, other in rng.choice(names, (100, 2)).tolist() + [
        (p, o) for p in names[:8] for o, _ in lists.get(p, [])
    ]:
        wanted = _trace(shop, config.recommend, config.catalogue, lists, product, other)
        run_id, found = explain(config, {}, product, other)
        assert (found.answer, run_id) == (wanted, "night"), (product, other, found)
        seen.add(wanted.split("@")[0].split(" P")[0].rstrip("0123456789 "))
    assert {"shown", "filtered by product"} <= seen
    if grouped:
        assert {
            "out_of_stock",
            "filtered by match gender",
            "filtered by differ brand",
            "filtered by price.at_most_times",
        } <= seen
    else:
        assert "rank" in seen
    with pytest.raises(DataQualityError, match="no such product"):
        explain(config, {}, names[0], "nobody")
    place = ["--set", f"output.path={config.output.path}", "--set", "output.format=parquet"]
    assert job.main([*place, names[0], names[0]]) == 0
    assert capsys.readouterr().out.startswith("filtered by product: ")


@pytest.mark.slow
def test_written_rules_and_lists_of_a_page_are_named(spark, tmp_path, capsys):
    shop = RandomShop(22, products=45)
    written = rules_of_every_kind(sorted(shop.products))
    config, pages = _publish(spark, tmp_path, shop, PAGE, True, written)
    recommend, catalogue, seen = config.recommend, config.catalogue, set()
    rng, names = np.random.default_rng(1), list(shop.products)
    for product, other in rng.choice(names, (150, 2)).tolist():
        for surface, keys in recommend.lists().items():
            rules = [rule for rule in written if rule.surface in (None, surface)]
            shown = [name for name, _ in pages[product][surface]]
            found = explain(config, {}, product, other, surface)[1]
            before = [name for name, _ in pages[product]["cheaper"]] if surface == "similar" else []
            if other in shown:
                wanted = f"shown@{shown.index(other) + 1}"
            elif product == other:
                wanted = "filtered by product"
            elif not shop._is_sold(shop.products[other], keys):
                wanted = "out_of_stock"
            elif shop._forbids(product, other, rules, only=True):
                wanted = next(rule.action for rule in rules if rule.id in found.detail.split("rule ")[-1].split(", "))
                assert wanted in ("block", "never_together", "only")
                wanted = f"filtered by {wanted}"
            elif not shop._is_eligible(product, other, keys, catalogue):
                assert found.answer.startswith("filtered by "), found
                continue
            elif other in before:
                wanted = "filtered by page"
            else:
                assert found.answer.split(" ")[0] in {
                    "rank", "not_probed", "variant_of", "displaced_by_pin", "displaced_by_boost",
                }, found  # fmt: skip
                seen.add(found.answer.split(" ")[0])
                continue
            assert found.answer == wanted, (product, other, surface, found)
            seen.add(wanted.split("@")[0])
    assert {"shown", "out_of_stock", "filtered by block", "filtered by never_together", "filtered by page"} <= seen
    with pytest.raises(
        DataQualityError, match="list 'sidebar': the published run night has cheaper, similar, elsewhere"
    ):
        explain(config, {}, names[0], names[1], "sidebar")
