"""The lists of one product's page from what may stand on them: pins, caps, boosts, and no product on two lists.

Precedence, the first wins: whether a product may be sold at all, a block, a pin, a filter, a cap, a boost. So a pin is
shown in spite of `match` and `max_per`, and of `only`, but not where a `block` forbids it or the product is sold out;
and a boosted product waits where a cap forbids it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vsspark.recommend.caps import capped_order
from vsspark.recommend.terms import BITS, TARGET, WHEN, ProductRules, Surface, bit_masks

MAX_PER, KEPT = "max_per", "kept"

Row = Mapping[str, Any]


class Page:
    """Arranges one product's page after the other, by the same rules."""

    def __init__(self, rules: ProductRules):
        self._lists = [_List(surface, rules) for surface in rules.surfaces]

    def arrange(self, rows: Iterable[Row]) -> list[dict[str, Any]]:
        """The rows that are shown, of all lists, with rank (1 = first) and reason.

        rows: of one product, with surface, similar_product_id, similarity, source, item_codes, own_codes, shown (whether
        readers see it now), and place and rule, a pin's place and the number of its rule, else None. A list has at most one row that is no pin for each
        product. reason: `pin ID`, `boost ID`, `bury ID` of a written rule, max_per, or kept (`keep_unless`); None: by
        similarity.
        """
        by_list: dict[str, list[Row]] = {each.surface.name: [] for each in self._lists}
        for row in rows:
            by_list[row["surface"]].append(row)
        shown: dict[str, set[str]] = {}
        page: list[dict[str, Any]] = []
        for each in self._lists:
            name = each.surface.name
            earlier = {product for before in each.surface.after for product in shown[before]}
            listed = each.arrange([row for row in by_list[name] if row["similar_product_id"] not in earlier])
            shown[name] = {row["similar_product_id"] for row in listed}
            page += listed
        return page


class _List:
    """One list of the page."""

    def __init__(self, surface: Surface, rules: ProductRules):
        self.surface, self._written = surface, rules.written
        self._levels = []  # (1 or -1, column of the pages' bits, of the targets' bits, bits, number of the first bit)
        for action, level in (("boost", 1), ("bury", -1)):
            for column, mask in bit_masks(rules.numbers(action, surface.name)).items():
                places = rules.column(f"{WHEN} {column}"), rules.column(f"{TARGET} {column}")
                self._levels.append((level, *places, mask, column * BITS))

    def arrange(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        candidates = sorted(
            (row for row in rows if row["place"] is None),
            key=lambda row: (row["source"] != "visual", -row["similarity"], row["similar_product_id"]),
        )
        pins = self._pins([row for row in rows if row["place"] is not None], candidates)
        taken = {row["similar_product_id"] for row in pins}
        groups = {self._group(row) for row in pins} - {None}
        rest = [row for row in candidates if row["similar_product_id"] not in taken and self._group(row) not in groups]
        return self._placed(pins, self._ordered(self._kept(rest[: self.surface.pool], len(pins)), pins))

    def _kept(self, rows: Sequence[Row], pins: int) -> Sequence[Row]:
        """The rows, first those that are shown now and not worse by more than `keep_unless` than what would stand in
        their place; among these, and behind them, by similarity.
        """
        keep, places = self.surface.keep, self.surface.k - pins
        if not keep:
            return rows

        def score(row: Row) -> tuple[bool, float, str]:
            return (row["source"] != "visual", -row["similarity"] - keep * row["shown"], row["similar_product_id"])

        chosen = {row["similar_product_id"] for row in sorted(rows, key=score)[:places]}
        nearest = {row["similar_product_id"] for row in rows[:places]}
        first = [row for row in rows if row["similar_product_id"] in chosen]
        first = [row if row["similar_product_id"] in nearest else {**row, "reason": KEPT} for row in first]
        return first + [row for row in rows if row["similar_product_id"] not in chosen]

    def _pins(self, rows: Sequence[Row], candidates: Sequence[Row]) -> list[dict[str, Any]]:
        """The pins, each product and each place once: of two the one that is first in the file."""
        near = {row["similar_product_id"] for row in candidates if row["source"] == "visual"}
        places: dict[int, dict[str, Any]] = {}
        for row in sorted(rows, key=lambda row: self._written[row["rule"]].line):
            product = row["similar_product_id"]
            if row["place"] not in places and all(product != pin["similar_product_id"] for pin in places.values()):
                source = "visual" if product in near else "backfill"
                places[row["place"]] = {**row, "source": source, "reason": f"pin {self._written[row['rule']].id}"}
        return [places[place] for place in sorted(places)]

    def _group(self, row: Row) -> int | None:
        column = self.surface.terms.group_column
        return None if column is None else row["item_codes"][column]

    def _ordered(self, rows: Sequence[Row], pins: Sequence[Row]) -> list[dict[str, Any]]:
        """The rows as boosts and caps order them, with reason."""
        levels = [self._level(row) for row in rows]
        by_level = sorted(range(len(rows)), key=lambda place: (rows[place]["source"] != "visual", -levels[place][0]))
        lifted = [{**rows[place], "reason": levels[place][1] or rows[place].get("reason")} for place in by_level]
        caps, window = self.surface.caps, self.surface.window
        if not caps or not lifted:
            return lifted
        codes = np.array([row["item_codes"] for row in lifted], np.int64)
        tiers = np.array([row["source"] != "visual" for row in lifted])
        first = [row["item_codes"] for row in pins if row["place"] <= window]
        counted = np.array(first, np.int64).reshape(len(first), codes.shape[1])
        order = capped_order(codes, tiers, caps, window - len(first), counted)
        capped = [lifted[place] for place in order]
        return [
            row if place == number else {**row, "reason": MAX_PER}
            for number, (place, row) in enumerate(zip(order, capped, strict=True))
        ]

    def _level(self, row: Row) -> tuple[int, str | None]:
        """(1 boosted, -1 buried, 0 neither; why)."""
        for level, own, item, mask, first in self._levels:
            bits = row["own_codes"][own] & row["item_codes"][item] & mask
            if bits:
                rule = self._written[first + (bits & -bits).bit_length() - 1]
                return level, f"{rule.action} {rule.id}"
        return 0, None

    def _placed(self, pins: Sequence[dict], rest: Sequence[dict]) -> list[dict[str, Any]]:
        """The first k, pins at their places; where the others end earlier, behind them."""
        waiting, left, placed = {row["place"]: row for row in pins}, list(rest), []
        while len(placed) < self.surface.k and (left or waiting):
            place = len(placed) + 1
            if not left and place not in waiting:
                place = min(waiting)
            placed.append(waiting.pop(place) if place in waiting else left.pop(0))
        return [{**row, "rank": rank} for rank, row in enumerate(placed, 1)]
