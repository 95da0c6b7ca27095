"""What the rules of a run compare, by product: texts, codes and prices from its tables. No Spark."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vsspark.knn.eligibility import UNKNOWN, Facts
from vsspark.query.products import Products
from vsspark.recommend.terms import CURRENCY, GROUP, TWINS, ProductRules


class RuleFacts:
    """What `recommend.rules.product_codes` makes of the same images, by the products' numbers."""

    def __init__(self, products: Products, rules: ProductRules | None):
        self._products, self._rules = products, rules

    @cached_property
    def numbers(self) -> Facts:
        """Codes and prices of all products; two codes are equal where the texts are."""
        count, columns = len(self._products.product_names), []
        for field in self._rules.fields if self._rules else ():
            if field == TWINS:
                columns.append(self._twins())
                continue
            texts = self.text(field)
            if field == GROUP:
                texts = [f"product {n}" if text is None else f"group {text}" for n, text in enumerate(texts)]
            known: dict[str, int] = {}
            columns.append([UNKNOWN if text is None else known.setdefault(text, len(known) + 1) for text in texts])
        codes = np.array(columns, np.int64).reshape(len(columns), count).T
        return Facts(np.ascontiguousarray(codes), self._products.prices())

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

    def _twins(self) -> list[int]:
        """Codes of TWINS: of the same pictures or, where variants count as one, connected with each other."""
        label = self.same_pictures()
        if not self._rules.twins_with_variants:
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
