"""Several lists of a product in one run, and written rules: the rows are those of the definition, in order."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from random_shops import RandomShop, random_rules
from test_rules import DATE, _settings, _tables

from vsspark.config import BlockingConfig, Config, KnnConfig, OutputConfig
from vsspark.errors import ConfigError
from vsspark.job.dry_run import dry_run
from vsspark.job.eligible import rules_of
from vsspark.job.neighbours import neighbours_stage
from vsspark.job.products import products_stage
from vsspark.job.written import written_rules
from vsspark.recommend.written import WrittenRule
from vsspark.schemas import SIMILAR_PRODUCTS

RULES = {
    "k": 4,
    "match": ["gender"],
    "surfaces": {
        "cheaper": {"price": {"at_most_times": 0.9}, "k": 3},
        "elsewhere": {"differ": ["category"], "match": [], "in_stock_only": True},
        "colours": {"match": ["group"], "variants": "all", "backfill": False},
    },
    "page": ["cheaper", "similar"],
}


def _pages(spark, folder, shop, rules, grouped=True, written=()):
    """(the pages of a run, what they are by definition, the rows)."""
    tables = _tables(spark, folder)
    shop.write(tables)
    recommend, catalogue = _settings(rules, grouped)
    pages, rows = published_pages(tables, recommend, catalogue, KnnConfig(k=4, tile_rows=40), written)
    return (
        {name: pages.get(name, _no_rows(recommend)) for name in shop.products},
        shop.pages(recommend, catalogue, written),
        rows,
    )


def _no_rows(recommend):
    return {name: [] for name in recommend.lists()}


def published_pages(tables, recommend, catalogue, knn, written=()):
    """(product -> list -> [(similar product, source)], the rows) of the two stages."""
    made = rules_of(tables, recommend, catalogue, written)
    knn = knn.model_copy(update={"k": max(knn.k, recommend.k if made is None else made.depth)})
    neighbours_stage(tables, knn, BlockingConfig(), recommend)
    rows = products_stage(tables, recommend, made, knn, DATE).rows.orderBy("product_id", "surface", "rank").collect()
    pages: dict = {}
    for row in rows:
        pages.setdefault(row.product_id, _no_rows(recommend))
        pages[row.product_id][row.surface].append((row.similar_product_id, row.source))
        assert row["rank"] == len(pages[row.product_id][row.surface])
    return pages, rows


def _lines(*rules):
    """Rules of (action, when, target, surface), in this order."""
    made = []
    for line, (action, when, target, surface) in enumerate(rules, 1):
        name, _, place = action.partition("@")
        made.append(
            WrittenRule(f"r{line}", name, target, when, int(place) if place else None, None, None, surface, "", line)
        )
    return made


def test_lists_of_one_page_are_the_definition(spark, tmp_path):
    shop = RandomShop(5, products=50)
    shop.share_pictures(3)
    pages, wanted, _ = _pages(spark, tmp_path, shop, RULES | {"twins": "hide"})
    assert pages == wanted
    for page in pages.values():
        assert not {product for product, _ in page["cheaper"]} & {product for product, _ in page["similar"]}


def rules_of_every_kind(names):
    return _lines(
        ("pin@2", {"category": ("bag",)}, {"product": (names[3],)}, None),
        ("pin@1", {"product": tuple(names[:20])}, {"product": (names[4],)}, "similar"),
        ("block", {"gender": ("men",)}, {"brand": ("brand 1", "Brand 2 ")}, None),
        ("block", {"category": ("hat",)}, {"product": (names[3],)}, None),
        ("boost", {}, {"brand": ("brand 3",), "category": ("bag",)}, "similar"),
        ("bury", {}, {"brand": ("brand 4",)}, None),
        ("only", {"product": (names[7],)}, {"category": ("shoe",)}, "cheaper"),
        ("never_together", {"brand": ("brand 0",)}, {"brand": ("brand 5",)}, None),
    )


def test_written_rules_are_the_definition(spark, tmp_path):
    shop = RandomShop(6, products=50)
    names = sorted(shop.products)
    written = rules_of_every_kind(names)
    pages, wanted, rows = _pages(spark, tmp_path, shop, RULES, written=written)
    assert pages == wanted
    reasons = {row.reason for row in rows}
    assert {None, "pin r1", "pin r2", "boost r5", "bury r6"} <= reasons
    for row in rows:
        if row.reason and row.reason.startswith("pin"):
            assert row.similar_product_id == names[3 if row.reason == "pin r1" else 4]


def random_page(rng: np.random.Generator, products: list[str]):
    """(keys of `recommend`, whether the catalogue has groups, written rules)."""
    keys, grouped = random_rules(rng)
    for surface in ("one", "two")[: int(rng.integers(0, 3))]:
        own, _ = random_rules(rng)
        if "match" in own and "group" in own["match"]:
            continue
        own = {"match": [], "differ": [], "price": None, "in_stock_only": False} | own
        keys.setdefault("surfaces", {})[surface] = own
    names = ["similar", *keys.get("surfaces", {})]
    if rng.random() < 0.7:
        keys["page"] = [str(name) for name in rng.permutation(names)[: int(rng.integers(1, 4))]]

    def some(product):
        kind = rng.choice(["product", "brand", "gender", "category"] if product else ["brand", "gender", "category"])
        values = {"product": products, "brand": [f"Brand {b}" for b in range(6)], "gender": ["women", "men"]}
        values["category"] = ["bag", "hat", "shoe"]
        return {str(kind): tuple(map(str, rng.choice(values[str(kind)], 2, replace=False)))}

    rules, pinned = [], rng.permutation(products)
    for number in range(int(rng.integers(0, 7))):
        action = str(rng.choice(["block", "boost", "bury", "never_together", "only", "pin"]))
        when = {} if rng.random() < 0.3 else some(True)
        surface = None if rng.random() < 0.5 else str(rng.choice(names))
        if action == "pin":  # each of its own place and product
            rules.append((f"pin@{number + 1}", when, {"product": (str(pinned[number]),)}, surface))
        else:
            rules.append((action, when, some(True), surface))
    shortest = min([keys["k"], *(own["k"] for own in keys.get("surfaces", {}).values())])
    rules = [rule for rule in rules if not rule[0].startswith("pin") or int(rule[0][4:]) <= shortest]
    return keys, grouped, _lines(*rules)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_random_pages_are_the_definition(spark, tmp_path, seed):
    shop = RandomShop(3000 + seed, products=int(np.random.default_rng(seed).integers(10, 60)))
    shop.share_pictures(int(shop.rng.integers(0, 3)))
    keys, grouped, written = random_page(shop.rng, sorted(shop.products))
    recommend, catalogue = _settings(keys, grouped)
    if rules_of_nothing(spark, tmp_path, shop, recommend, catalogue, written):
        pytest.skip("one list without any rule: tests/jobs/test_rules.py")
    pages, wanted, _ = _pages(spark, tmp_path, shop, keys, grouped, written)
    assert pages == wanted, (keys, grouped, written)


def rules_of_nothing(spark, folder, shop, recommend, catalogue, written):
    tables = _tables(spark, folder, "look")
    shop.write(tables)
    return rules_of(tables, recommend, catalogue, written) is None


@pytest.mark.slow
def test_two_pins_of_one_place_are_refused_with_both_lines(spark, tmp_path):
    shop = RandomShop(7, products=12)
    names = sorted(shop.products)
    pins = _lines(
        ("pin@1", {"product": (names[0],)}, {"product": (names[1],)}, None),
        ("pin@1", {"product": (names[0], names[5])}, {"product": (names[2],)}, None),
    )
    with pytest.raises(ConfigError, match=rf"line 1 \(r1\) and line 2 \(r2\): both pin place 1 .* page of {names[0]}"):
        _pages(spark, tmp_path, shop, {"k": 3}, False, pins)
    pages, _, _ = _pages(spark, tmp_path, shop, {"k": 3, "lenient": True}, False, pins)
    assert pages[names[0]]["similar"][0][0] == names[1]
    assert pages[names[5]]["similar"][0][0] == names[2]


def test_what_a_file_says_that_cannot_hold_is_refused_by_line(spark, tmp_path):
    shop, tables = RandomShop(8, products=12), _tables(spark, tmp_path)
    shop.write(tables)
    names = sorted(shop.products)
    file = tmp_path / "rules.csv"
    lines = [
        "id,when,action,target,from,until,surface,note",
        f"good,,block,product={names[0]},,,,",
        "gone,,block,product=nobody,2026-01-01,2026-01-31,,over since long",
        "nobody,,block,product=nobody,,,,",
        "field,colour=red,boost,brand=brand 1,,,,",
        "list,,bury,brand=brand 1,,,sidebar,",
        f'today,brand=brand 1,pin@2,product={names[2]},{DATE},{DATE},similar,"two lines\nof text"',
        f"far,,pin@9,product={names[3]},,,,",
    ]
    file.write_text("\n".join(lines))
    recommend, _ = _settings({"k": 3, "rules": str(file)}, False)
    with pytest.raises(ConfigError) as refused:
        written_rules(tables, tables.read("images"), recommend, DATE)
    said = str(refused.value)
    assert "line 4: the catalogue has no product 'nobody'; line 5: when 'colour', expected one of" in said
    assert "line 6: surface 'sidebar' is no list, expected similar; line 9: pin@9: the list has 3 places" in said
    lenient = recommend.model_copy(update={"lenient": True})
    held = written_rules(tables, tables.read("images"), lenient, DATE)
    assert [rule.id for rule in held] == ["good", "today"]
    assert [rule.id for rule in written_rules(tables, tables.read("images"), lenient, DATE + dt.timedelta(1))] == [
        "good"
    ]


def test_a_dry_run_says_what_the_lists_become(spark, tmp_path):
    """Against the lists without and with the rules, by their definition."""
    shop, tables = RandomShop(9, products=40), _tables(spark, tmp_path)
    shop.write(tables)
    names = sorted(shop.products)
    file = tmp_path / "rules.yaml"
    file.write_text(
        f"""
- {{id: first, when: category=bag, action: pin@1, target: {{product: {names[3]}}}}}
- id: no-brand
  action: block
  target: brand=brand 1|brand 2|brand 3
- {{id: apart, when: gender=women, action: never_together, target: gender=men}}
- {{id: bags, when: category=shoe, action: only, target: category=shoe}}
- {{id: nothing, when: category=scarf, action: boost, target: category=bag}}
- {{id: front, action: boost, target: brand=brand 4}}
"""
    )
    recommend, catalogue = _settings({"k": 4, "rules": str(file), "backfill": False}, False)
    config = Config(
        recommend=recommend, catalogue=catalogue, output=OutputConfig(path=f"{tmp_path}/out", format="parquet")
    )
    held = written_rules(tables, tables.read("images"), recommend, DATE)
    neighbours_stage(tables, KnnConfig(k=16), BlockingConfig(), recommend)
    said: list[str] = []
    effects = {effect.rule.id: effect for effect in dry_run(spark, config, "look", DATE, said.append)}
    plain, ruled = (shop.pages(recommend, catalogue, rules) for rules in ((), held))
    old, new = ({p: [o for o, _ in page["similar"]] for p, page in pages.items()} for pages in (plain, ruled))
    rules = {rule.id: rule for rule in held}

    def pairs(name, product, other):
        rule = rules[name]
        there = shop._matches(rule.when, product) and shop._matches(rule.target, other)
        back = shop._matches(rule.when, other) and shop._matches(rule.target, product)
        return there or (rule.action == "never_together" and back)

    touched = {name: {p for p in old if any(pairs(name, p, o) for o in old[p])} for name in ("no-brand", "apart")}
    shoes = [p for p in old if shop._matches(rules["bags"].when, p)]
    touched["bags"] = {p for p in shoes if any(not pairs("bags", p, o) for o in old[p])}
    touched["first"] = {p for p in new if names[3] in new[p] and shop._matches(rules["first"].when, p)}
    touched["front"] = {p for p in new if any(shop._matches(rules["front"].target, o) for o in new[p])}
    still = {other for others in new.values() for other in others}
    for name, lists in touched.items():
        lost = {o for p in lists for o in old[p] if o not in new[p] and o not in still}
        short = sum(len(new[p]) < len(old[p]) for p in lists)
        assert effects[name][1:] == (len(lists), len(lost), short), name
    assert effects["nothing"][1:] == (0, 0, 0)
    assert said[0].split() == ["rule", "action", "lists", "lost", "short"]
    assert [line.split()[0] for line in said[1:]] == [rule.id for rule in sorted(held, key=lambda rule: rule.line)]
    assert said[5].endswith("touches nothing")
    assert not (tmp_path / "out" / "_preview").exists()
    assert not tables.exists("applied_rules")


@pytest.mark.slow
def test_shown_products_stay_until_others_are_better_by_the_margin(spark, tmp_path):
    shop, k, margin = RandomShop(11, products=30), 4, 0.1
    for facts in shop.products.values():
        facts["category"] = "bag"
    recommend, catalogue = _settings({"k": k, "keep_unless": margin, "twins": "show", "variants": "all"}, False)
    tables, knn = _tables(spark, tmp_path), KnnConfig(k=4, tile_rows=40)
    shop.write(tables)
    before, _ = published_pages(tables, recommend, catalogue, knn)
    rows = tables.spark.read.parquet(tables.staging("similar_products"))
    tables.store.publish("similar_products", rows, SIMILAR_PRODUCTS, "night")
    shop.x += 0.25 * shop.rng.standard_normal(shop.x.shape).astype(np.float32)  # all pictures have changed a little
    shop.images = [(image, product, f"1{content[1:]}") for image, product, content in shop.images]
    tables = _tables(spark, tmp_path, "next")
    shop.write(tables)
    after, shown = published_pages(tables, recommend, catalogue, knn)
    near = shop.nearest()
    kept = 0
    for product in shop.products:
        old = {other for other, _ in before[product]["similar"]}
        others = [other for other in shop.products if other != product]
        chosen = sorted(others, key=lambda o: (-near[product][o] - margin * (o in old), o))[:k]
        plain = sorted(others, key=lambda o: (-near[product][o], o))
        assert [other for other, _ in after[product]["similar"]] == [other for other in plain if other in chosen]
        kept += len(set(chosen) - set(plain[:k]))
    assert kept == sum(row.reason == "kept" for row in shown) > 5
