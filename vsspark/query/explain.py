"""Why a product is on another one's page, or is not: the published run's own rules and vectors, step by step. No Spark.

| answer | |
|---|---|
| shown@R | at rank R of the published list |
| no_image | one of the two has no usable picture |
| out_of_stock | `recommend.in_stock_only` or `min_stock` |
| filtered by KEY | a rule of `recommend` that the pair does not pass, the first of them; a written rule by its id |
| filtered by page | an earlier list of the page shows it |
| not_probed | in none of the categories that the product's pictures search, and the list is full without it |
| variant_of P, duplicate_of P | `variants: one_per_group`, `twins: hide`: P, of the same group or with the same pictures, is nearer |
| capped | near enough, and `max_per` gave its place to another |
| displaced_by_pin, displaced_by_boost, displaced_by_kept | near enough; pinned, boosted or kept products have the places |
| rank N | the N-th nearest of the eligible products, behind the last place |

Cost: the vectors of the searched categories are read once, as for a query by picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vsspark.config import CatalogueConfig, Config, RecommendConfig, recorded_settings
from vsspark.config.recommend import SIMILAR
from vsspark.errors import DataQualityError, StorageError
from vsspark.knn.eligibility import Eligibility, Facts
from vsspark.query.medians import median_thresholds
from vsspark.query.products import read_products
from vsspark.query.rule_facts import RuleFacts, applied_rules
from vsspark.query.search import Space, nearest_products
from vsspark.query.vectors import read_vectors
from vsspark.recommend.terms import CURRENCY, GROUP, Surface, product_rules
from vsspark.storage.reader import PublishedTables


@dataclass(frozen=True)
class Explanation:
    """answer: one of the table above. detail: the figures behind it."""

    answer: str
    detail: str


def explain(
    config: Config, storage_options: Mapping[str, str], product: str, other: str, surface: str = SIMILAR
) -> tuple[str, Explanation]:
    """(id of the published run, why `other` is on a list of `product`, or is not).

    Raises DataQualityError for a product or list that the run does not know, StorageError where nothing is published.
    """
    tables = PublishedTables(config.output, storage_options)
    run = tables.published_run()
    return run["run_id"], _Trace(tables, run, surface).explain(product, other)


class _Trace:
    def __init__(self, tables: PublishedTables, run: Mapping[str, Any], surface: str):
        self._tables, self._run = tables, run
        recorded = run["config"]
        recommend = recorded_settings(RecommendConfig, recorded["recommend"])
        lists = recommend.lists()
        if surface not in lists:
            raise DataQualityError(f"list {surface!r}: the published run {run['run_id']} has {', '.join(lists)}")
        self._recommend, self._name = lists[surface], surface
        catalogue = recorded_settings(CatalogueConfig, recorded["catalogue"])
        self._rules = product_rules(recommend, catalogue, applied_rules(tables, run))
        own = () if self._rules is None else self._rules.surfaces
        self._surface: Surface | None = next((each for each in own if each.name == surface), None)
        self._products = read_products(tables, run, recorded["blocking"]["by"] == "catalogue_category", attributes=True)
        self._facts = RuleFacts(self._products, self._rules)
        self._names = {name: number for number, name in enumerate(self._products.product_names.to_pylist())}

    def explain(self, product: str, other: str) -> Explanation:
        for name in (product, other):
            if name not in self._names:
                raise DataQualityError(f"product {name!r}: the published run {self._run['run_id']} has no such product")
        query, item = self._names[product], self._names[other]
        shown = self._shown(product, self._name)
        if other in shown:
            rank, similarity, source, reason = shown[other]
            return Explanation(
                f"shown@{rank}", f"similarity {similarity:.4f}, {source}{', ' if reason else ''}{reason or ''}"
            )
        for name, number in ((product, query), (other, item)):
            if not self._images(number).size:
                return Explanation("no_image", f"{name} has no usable picture, see quarantine")
        if query == item:
            return Explanation("filtered by product", "no product is recommended on its own page")
        recommendable = self._products.recommendable(self._recommend.item_limits)
        if not recommendable[item]:
            return self._unavailable(other, item)
        facts = self._facts.numbers
        passing, failed = self._eligible(facts, query)
        if failed[item] is not None:
            return Explanation(f"filtered by {failed[item]}", self._values(failed[item], query, item))
        eligible = passing & recommendable
        eligible[query] = False
        for name in () if self._surface is None else self._surface.after:
            earlier = self._shown(product, name)
            if other in earlier:
                return Explanation(
                    "filtered by page", f"{name}, before it on the page, shows it at {earlier[other][0]}"
                )
            eligible[[self._names[each] for each in earlier if each in self._names]] = False
        return self._placed(query, item, eligible, facts, list(shown.values()))

    def _shown(self, product: str, surface: str) -> dict[str, tuple[int, float, str, str | None]]:
        """Rank, similarity, source and reason by product, of a list."""
        have = self._tables.columns("similar_products", self._run)
        names = ["similar_product_id", "rank", "similarity", "source", *({"surface", "reason"} & set(have))]
        rows = self._tables.read("similar_products", self._run, names, ("product_id", product)).to_pylist()
        rows = [row for row in rows if (row.get("surface") or SIMILAR) == surface]
        shown = {row["similar_product_id"]: (row["rank"], row["similarity"], row["source"]) for row in rows}
        return {name: (*shown[name], row.get("reason")) for name, row in zip(shown, rows, strict=True)}

    def _images(self, product: int) -> np.ndarray:
        """Places of the product's embedded images."""
        return np.flatnonzero((self._products.product == product) & self._products.embedded)

    def _unavailable(self, name: str, item: int) -> Explanation:
        if self._recommend.stocked_only and not self._products.in_stock()[item]:
            return Explanation("out_of_stock", f"{name} is not in stock, or its stock is not known")
        price, amount = self._recommend.price, self._products.prices()[item]
        key = "at_most" if price.at_most is not None and not amount <= price.at_most else "at_least"
        return Explanation(f"filtered by price.{key}", f"price {amount:g}, {key} {getattr(price, key):g}")

    def _eligible(self, facts: Facts, query: int) -> tuple[np.ndarray, list[str | None]]:
        """((products,) bool: pass every condition; by product, the key of the first that it fails)."""
        passing, failed = np.ones(len(self._names), bool), [None] * len(self._names)
        if self._surface is None:
            return passing, failed
        for key, condition in zip(self._surface.keys, self._surface.terms.conditions, strict=True):
            row = np.zeros((1, len(self._names)), np.float32)
            Eligibility((condition,), facts.rows(query, query + 1), facts).strike_out(row, 0, 0, row.shape)
            for product in np.flatnonzero(np.isnan(row[0]) & passing):
                failed[product] = key
            passing &= ~np.isnan(row[0])
        return passing, failed

    def _values(self, key: str, query: int, item: int) -> str:
        """What a rule compared."""
        if key in ("block", "never_together", "only"):
            return f"rule {', '.join(self._facts.written_rules(key, self._name, query, item))}"
        if key.startswith("price."):
            prices = self._products.prices()
            return f"prices {prices[query]:g} and {prices[item]:g}"
        if key == "twins":
            return "the same pictures, or pictures of a variant"
        field = CURRENCY if key.startswith("price:") else GROUP if key.startswith("variants") else key.split(" ", 1)[1]
        texts = self._facts.text(field)
        return f"{field} {texts[query]!r} and {texts[item]!r}"

    def _placed(self, query: int, item: int, eligible: np.ndarray, facts: Facts, shown: list) -> Explanation:
        """Where an eligible product stands."""
        products, k = self._products, self._recommend.k
        space, queries = self._space(eligible, query)
        probes = self._probes(query)
        found = self._merged(space, queries, probes)
        inside, detail = item in found, "in the searched categories"
        full = sum(source == "visual" for _, _, source, _ in shown) >= k
        if not inside and (full or not self._recommend.backfill):
            own = sorted({self._category(image) for image in self._images(item)})
            searched = sorted({name for names in probes.values() for name in names})
            return Explanation("not_probed", f"it is in {', '.join(own)}; searched are {', '.join(searched)}")
        if not full:
            found, detail = self._merged(space, queries, None), "in the whole catalogue"
        order = sorted(found, key=lambda number: (-found[number], str(products.product_names[number])))
        column = None if self._surface is None else self._surface.terms.group_column
        if column is not None:
            best: dict[int, int] = {}
            for number in order:
                best.setdefault(int(facts.codes[number, column]), number)
            nearer = best[int(facts.codes[item, column])]
            if nearer != item:
                name, same = products.product_names[nearer], self._facts.same_pictures()
                relation = "duplicate_of" if same[nearer] == same[item] else "variant_of"
                return Explanation(f"{relation} {name}", f"similarity {found[item]:.4f}, of {name} {found[nearer]:.4f}")
            order = [number for number in order if best[int(facts.codes[number, column])] == number]
        rank = order.index(item) + 1
        if rank <= k and shown:
            where = f"nearest but {rank - 1}, similarity {found[item]:.4f}"
            moved = {reason.split(" ")[0] for *_, reason in shown if reason}
            for cause, answer in (
                ("pin", "displaced_by_pin"),
                ("boost", "displaced_by_boost"),
                ("kept", "displaced_by_kept"),
            ):
                if cause in moved and "max_per" not in moved:
                    return Explanation(answer, f"{where}; others have its place")
            if self._surface is not None and self._surface.caps:
                return Explanation("capped", f"{where}; max_per gave its place to others")
        last = f", the last shown has {min(similarity for _, similarity, *_ in shown):.4f}" if shown else ""
        return Explanation(f"rank {rank}", f"{detail}, similarity {found[item]:.4f}{last}")

    def _space(self, eligible: np.ndarray, query: int) -> tuple[Space, dict[int, np.ndarray]]:
        """(the eligible products' images, the vectors of the query's own by place)."""
        products, metric = self._products, self._run["config"]["knn"]["metric"]
        wanted = eligible[products.product] & products.embedded
        own = (products.product == query) & products.embedded
        all_images = metric == "hamming"  # whose thresholds are medians of all
        parts = read_vectors(self._tables, self._run, products, products.embedded if all_images else wanted | own)
        thresholds = median_thresholds(parts, products.image_ids) if all_images else None
        queries = {
            int(i): part.vectors[row] for part in parts for row, i in zip(part.rows, part.images, strict=True) if own[i]
        }
        items = [part.only(wanted) for part in parts]
        return Space(items, products.image_ids, products.product, products.category, metric, thresholds), queries

    def _probes(self, query: int) -> dict[int, list[str]]:
        """The blocks that each of the product's images searched, by the image's place."""
        if not self._tables.exists("_searched"):
            raise StorageError("the published run has kept no record of its search: run jobs/recommend.py")
        rows = self._tables.read("_searched", self._run, ["image_id", "probes"])
        ids = self._products.image_ids[self._images(query)]
        chosen = rows.filter(pc.is_in(rows["image_id"], pa.array(ids))).to_pylist()
        return {self._products.place(row["image_id"]): row["probes"] or [] for row in chosen}

    def _category(self, image: int) -> str:
        code = int(self._products.category[image])
        return self._products.category_names[code] if code >= 0 else "no category"

    def _merged(
        self, space: Space, queries: dict[int, np.ndarray], probes: dict[int, list[str]] | None
    ) -> dict[int, float]:
        """product -> similarity of its best pair of images. probes: None = the whole catalogue."""
        codes = {name: code for code, name in enumerate(self._products.category_names)}
        one_block = self._run["config"]["blocking"]["by"] == "none"
        found: dict[int, float] = {}
        for image, vector in queries.items():
            names = None if probes is None or one_block else probes.get(image, [])
            categories = None if names is None else [codes[name] for name in names if name in codes]
            nearest = nearest_products(space, np.asarray(vector), categories, len(self._names))
            values = nearest.values if space.metric == "cosine" else 1 / (1 + nearest.values)
            for value, place in zip(values.tolist(), nearest.images.tolist(), strict=True):
                product = int(self._products.product[place])
                found[product] = max(found.get(product, -np.inf), value)
        return found
