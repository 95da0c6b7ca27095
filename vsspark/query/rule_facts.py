"""What the rules of a run compare, by product: texts, codes and prices from its tables. No Spark."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vsspark.knn.eligibility import UNKNOWN, Facts
from vsspark.query.products import Products
from vsspark.recommend.terms import AVAILABLE, BITS, CURRENCY, GROUP, RELATED, TARGET, TWINS, WHEN, ProductRules
from vsspark.recommend.written import PRODUCT, Selector, WrittenRule
from vsspark.storage.reader import PublishedTables


class RuleFacts:
    """What `recommend.rules.product_codes` makes of the same images, by the products' numbers."""

    def __init__(self, products: Products, rules: ProductRules | None):
        self._products, self._rules = products, rules

    @cached_property
    def numbers(self) -> Facts:
        """Codes and prices of all products; two codes are equal where the texts are."""
        count, columns = len(self._products.product_names), []
        for field in self._rules.fields if self._rules else ():
            made = self._made(field)
            if made is not None:
                columns.append(made)
                continue
            texts = self.text(field)
            if field == GROUP:
                texts = [f"product {n}" if text is None else f"group {text}" for n, text in enumerate(texts)]
            known: dict[str, int] = {}
            columns.append([UNKNOWN if text is None else known.setdefault(text, len(known) + 1) for text in texts])
        codes = np.array(columns, np.int64).reshape(len(columns), count).T
        return Facts(np.ascontiguousarray(codes), self._products.prices())

    def written_rules(self, action: str, surface: str, query: int, item: int) -> list[str]:
        """The ids of the written rules of an action that speak of a pair of products."""
        found = []
        for number in self._rules.numbers(action, surface):
            pages, targets = (self._bits(number)[part] for part in (WHEN, TARGET))
            there = pages[query] and targets[item]
            if action == "only":
                there = pages[query] and not targets[item]
            if there or (action == "never_together" and pages[item] and targets[query]):
                found.append(self._rules.written[number].id)
        return found

    def _made(self, field: str) -> list[int] | None:
        """Codes of the fields that are no texts; None for the others."""
        part, _, rest = field.partition(" ")
        if field in (TWINS, RELATED):
            return self._twins(field == RELATED)
        if part == AVAILABLE:
            (surface,) = (each for each in self._rules.surfaces if each.name == rest)
            return self._products.recommendable(surface.items).astype(np.int64).tolist()
        if part not in (WHEN, TARGET):
            return None
        bits = np.zeros(len(self._products.product_names), np.int64)
        first = int(rest) * BITS
        for number in range(first, min(first + BITS, len(self._rules.written))):
            bits |= self._bits(number)[part].astype(np.int64) << (number - first)
        return bits.tolist()

    def _bits(self, number: int) -> dict[str, np.ndarray]:
        """(products,) bool by part: those that a written rule matches."""
        rule = self._rules.written[number]
        return {WHEN: self._matching(rule.when), TARGET: self._matching(rule.target)}

    def _matching(self, selector: Selector) -> np.ndarray:
        matching = np.ones(len(self._products.product_names), bool)
        for field, values in selector.items():
            if field == PRODUCT:
                texts, wanted = self._products.product_names.to_pylist(), set(values)
            else:
                texts, wanted = self.text(field), {value.strip().lower() for value in values}
            matching &= np.array([text in wanted for text in texts])
        return matching

    def same_pictures(self) -> np.ndarray:
        """(products,) int64: equal where two products have the same pictures, all of them."""
        products = self._products
        pictures: list[set[str]] = [set() for _ in range(len(products.product_names))]
        for product, content in zip(products.product.tolist(), products.contents.to_pylist(), strict=True):
            if content is not None:
                pictures[product].add(content)
        known: dict[object, int] = {}
        keys = [frozenset(each) if each else number for number, each in enumerate(pictures)]
        return np.array([known.setdefault(key, len(known) + 1) for key in keys], np.int64)

    def _twins(self, with_variants: bool) -> list[int]:
        """Codes of products of the same pictures or, with variants, of those that are connected with each other."""
        label = self.same_pictures()
        if not with_variants:
            return label.tolist()
        groups = [f"product {n}" if text is None else f"group {text}" for n, text in enumerate(self.text(GROUP))]
        _, group = np.unique(groups, return_inverse=True)
        _, pictures = np.unique(label, return_inverse=True)
        while True:
            before = label
            for of in (group, pictures):
                least = np.full(of.max() + 1, np.iinfo(np.int64).max)
                np.minimum.at(least, of, label)
                label = least[of]
            if (label == before).all():
                return label.tolist()

    def text(self, field: str) -> list[str | None]:
        """A field's text by product, as the rules compare it."""
        products = self._products
        if field == "category":
            texts = [products.facts(number).category for number in range(len(products.product_names))]
        else:
            column = self._cells(field)
            texts = products.stated(pa.chunked_array([column])).to_pylist()
            if field == CURRENCY:  # of the price that counts, where its row has one
                priced = pc.is_valid(products.table["price"].combine_chunks())
                of_price = products.stated(pa.chunked_array([pc.if_else(priced, column, None)])).to_pylist()
                texts = [first or any_other for first, any_other in zip(of_price, texts, strict=True)]
        return [None if text is None else text.lower() for text in texts]

    def _cells(self, field: str) -> pa.Array:
        """A further column of the catalogue by image; null for blanks and the catalogue's words for "no value"."""
        missing = {word.strip().lower() for word in self._rules.missing_words}
        values = pc.map_lookup(self._products.table["attributes"], pa.scalar(field), "first").to_pylist()
        texts = [None if value is None else value.strip(" ") for value in values]
        return pa.array([None if not text or text.lower() in missing else text for text in texts], pa.string())


def applied_rules(tables: PublishedTables, run: Mapping[str, Any]) -> list[WrittenRule]:
    """The written rules that the run applied."""
    if not tables.exists("applied_rules"):
        return []
    names = ["id", "line", "action", "place", "when", "target", "surface", "run_id"]
    rules = []
    for row in tables.read("applied_rules", run, names).sort_by("line").to_pylist():
        if row["run_id"] == run["run_id"]:
            selectors = (
                {key: tuple(values) for key, values in json.loads(row[part]).items()} for part in ("target", "when")
            )
            rules.append(
                WrittenRule(
                    row["id"], row["action"], *selectors, row["place"], None, None, row["surface"], "", row["line"]
                )
            )
    return rules
