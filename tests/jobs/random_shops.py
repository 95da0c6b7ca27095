"""Shops of random vectors and facts as a run's tables, and their lists by definition: filter first, then the nearest."""

from __future__ import annotations

import numpy as np

from vsspark.config import CatalogueConfig, RecommendConfig
from vsspark.schemas import EMBEDDINGS, IMAGES, complete

MODEL = "random:1"


class RandomShop:
    """Products of one to three images, with gender, brand, colour group, price, currency and stock, some unknown."""

    def __init__(self, seed: int, products: int = 60):
        rng = self.rng = np.random.default_rng(seed)
        unknown = rng.uniform(0, 0.3)

        def some(values):
            return None if rng.random() < unknown else str(rng.choice(values))

        self.products = {}
        for number in range(products):
            self.products[f"P{number:03d}"] = {
                "gender": some(["Women", "men ", "MEN"]),
                "brand": some([f"brand {b}" for b in range(6)]),
                "group": some([f"g{g}" for g in range(products // 3)]),
                "currency": str(rng.choice(["EUR", "USD"], p=[0.85, 0.15])),
                "price": None if rng.random() < unknown else float(np.round(rng.lognormal(3, 0.7), 2)),
                "in_stock": bool(rng.random() < 0.8),
                "category": str(rng.choice(["bag", "hat", "shoe"], p=[0.6, 0.3, 0.1])),
            }
        self._labels: dict = {}  # of `_joined`
        self.images = []  # (image id, product, content)
        for product in self.products:
            for _ in range(int(rng.integers(1, 4))):
                number = len(self.images)
                self.images.append((int(rng.integers(1, 2**62)), product, f"{number:064d}"))
        self.x = rng.standard_normal((len(self.images), 8)).astype(np.float32)

    def share_pictures(self, sets: int) -> None:
        """Give products the pictures of others: as many twins of each as there are sets."""
        owners = list(self.products)
        for first in range(0, 3 * sets, 3):
            shared = [(content, self.x[i]) for i, (_, name, content) in enumerate(self.images) if name == owners[first]]
            for other in owners[first + 1 : first + 3]:
                rows = [i for i, (_, name, _) in enumerate(self.images) if name != other]
                self.x = np.concatenate([self.x[rows], [vector for _, vector in shared]]).astype(np.float32)
                new = [(int(self.rng.integers(1, 2**62)), other, content) for content, _ in shared]
                self.images = [self.images[i] for i in rows] + new

    def write(self, tables) -> None:
        """Writes `images` and `embeddings`."""
        images, seen = [], {}
        for image_id, product, content in self.images:
            facts = self.products[product]
            position = seen[product] = seen.get(product, -1) + 1
            attributes = {name: facts[name] for name in ("gender", "brand", "group", "currency")}
            category = facts["category"]
            images.append({
                "image_id": image_id, "product_id": product, "uri": f"/{content}.jpg", "position": position,
                "category": category, "price": facts["price"], "in_stock": facts["in_stock"], "attributes": attributes,
                "content_hash": content, "model_version": MODEL, "predicted_category": category,
                "category_probabilities": {category: 1.0}, "head": "encoder",
            })  # fmt: skip
        names = ["content_hash", "model_version", "embedding"]
        by_content = {content: self.x[i].tolist() for i, (_, _, content) in enumerate(self.images)}
        vectors = [dict(zip(names, (content, MODEL, x), strict=True)) for content, x in by_content.items()]
        for table, rows, schema in (("images", images, IMAGES), ("embeddings", vectors, EMBEDDINGS)):
            given = [field for field in schema.fields if field.name in rows[0]]
            frame = tables.spark.createDataFrame(
                [tuple(row[f.name] for f in given) for row in rows], type(schema)(given)
            )
            tables.overwrite(table, complete(frame, schema))

    def lists(self, recommend: RecommendConfig, catalogue: CatalogueConfig) -> dict[str, list[tuple[str, str]]]:
        """product -> [(similar product, source)] of the list `similar`, without caps, by the words of the settings."""
        return {product: page["similar"] for product, page in self.pages(recommend, catalogue).items()}

    def pages(self, recommend: RecommendConfig, catalogue: CatalogueConfig, written=()) -> dict[str, dict[str, list]]:
        """product -> list -> [(similar product, source)], written rules kept."""
        nearest, lists, found = self.nearest(), recommend.lists(), {}
        for product, near in nearest.items():
            found[product], before = {}, []
            for name, keys in lists.items():
                earlier = {p for other in before for p, _ in found[product][other]} if name in recommend.page else set()
                rules = [rule for rule in written if rule.surface in (None, name)]
                found[product][name] = self._list(product, near, keys, catalogue, rules, earlier)
                before.append(name)
        return found

    def nearest(self) -> dict[str, dict[str, float]]:
        """product -> product -> cosine of their best pair of images."""
        owners = np.array([product for _, product, _ in self.images])
        x = self.x.astype(np.float64) / np.linalg.norm(self.x.astype(np.float64), axis=1, keepdims=True)
        cosine = (x @ x.T).round(7)  # twins are equal
        found = {}
        for product in self.products:
            own = cosine[owners == product]
            found[product] = {other: float(own[:, owners == other].max()) for other in self.products}
        return found

    def _list(self, product, near, keys, catalogue, rules, earlier):
        eligible = [other for other in self.products if self._is_eligible(product, other, keys, catalogue)]
        eligible = [other for other in eligible if not self._forbids(product, other, rules, only=True)]
        ordered = sorted(eligible, key=lambda other: (-near[other], other))
        category = self.products[product]["category"]
        inside = [other for other in ordered if self.products[other]["category"] == category]
        visual = self._one_per_group(inside, keys, catalogue, ())
        fill = self._one_per_group([o for o in ordered if o not in visual], keys, catalogue, visual)
        pins = self._pins(product, keys, rules, earlier)
        taken = (
            set() if not self._groups(keys, catalogue) else {self._joined(p, keys, catalogue) for p in pins.values()}
        )

        def left(products):
            free = [other for other in products if other not in earlier and other not in pins.values()]
            return [other for other in free if not taken or self._joined(other, keys, catalogue) not in taken]

        lifts = any(rule.action in ("boost", "bury") for rule in rules)
        pool = (3 if lifts else 1) * keys.k
        rows = [(other, "visual") for other in self._lifted(product, left(visual)[:pool], rules)]
        if keys.backfill and len(rows) < keys.k:
            rows += [(other, "backfill") for other in self._lifted(product, left(fill)[: pool - len(rows)], rules)]
        placed = []
        while len(placed) < keys.k and (rows or pins):
            place = len(placed) + 1
            place = place if rows or place in pins else min(pins)
            if place in pins:
                pinned = pins.pop(place)
                placed.append((pinned, "visual" if pinned in visual else "backfill"))
            else:
                placed.append(rows.pop(0))
        return placed

    def _pins(self, product, keys, rules, earlier):
        pins: dict[int, str] = {}
        for rule in rules:
            if rule.action != "pin" or not self._matches(rule.when, product):
                continue
            target = rule.target["product"][0]
            sold = self._is_sold(self.products[target], keys) and any(owner == target for _, owner, _ in self.images)
            allowed = sold and target != product and target not in earlier
            free = rule.place not in pins and target not in pins.values()
            if allowed and free and not self._forbids(product, target, rules, only=False):
                pins[rule.place] = target
        return pins

    def _lifted(self, product, others, rules):
        def level(other):
            for action, value in (("boost", -1), ("bury", 1)):
                for rule in rules:
                    if (
                        rule.action == action
                        and self._matches(rule.when, product)
                        and self._matches(rule.target, other)
                    ):
                        return value
            return 0

        return sorted(others, key=level)

    def _forbids(self, product, other, rules, only):
        allowed = []
        for rule in rules:
            pair = self._matches(rule.when, product) and self._matches(rule.target, other)
            back = self._matches(rule.when, other) and self._matches(rule.target, product)
            if (rule.action == "block" and pair) or (rule.action == "never_together" and (pair or back)):
                return True
            if only and rule.action == "only" and self._matches(rule.when, product):
                allowed.append(pair)
        return bool(allowed) and not any(allowed)

    def _matches(self, selector, product):
        for name, values in selector.items():
            own = product if name == "product" else self.products[product][name]
            if name != "product":
                own = own and own.strip().lower()
                values = [value.strip().lower() for value in values]
            if own is None or own not in values:
                return False
        return True

    def _groups(self, keys, catalogue):
        return self._one_of_each(keys, catalogue) or keys.twins == "hide"

    def _one_per_group(self, products, recommend, catalogue, shown):
        if not self._one_of_each(recommend, catalogue) and recommend.twins == "show":
            return list(products)
        seen, kept = {self._joined(product, recommend, catalogue) for product in shown}, []
        for product in products:
            if self._joined(product, recommend, catalogue) not in seen:
                seen.add(self._joined(product, recommend, catalogue))
                kept.append(product)
        return kept

    @staticmethod
    def _one_of_each(recommend, catalogue):
        return catalogue.columns.group is not None and recommend.variants == "one_per_group"

    def _joined(self, product, recommend, catalogue):
        """What a list holds one of: the variants of a product, its twins, or all that these connect."""
        kinds = (recommend.twins == "hide", self._one_of_each(recommend, catalogue))
        if kinds not in self._labels:
            label = {name: name for name in self.products}
            keys = [{name: self._pictures(name) for name in label}, {name: self._group(name) for name in label}]
            for _ in label:
                for key in (key for key, used in zip(keys, kinds, strict=True) if used):
                    least: dict = {}
                    for name in label:
                        least[key[name]] = min(least.get(key[name], label[name]), label[name])
                    label = {name: least[key[name]] for name in label}
            self._labels[kinds] = label
        return self._labels[kinds][product]

    def _pictures(self, product):
        return frozenset(content for _, name, content in self.images if name == product)

    def _group(self, product):
        return self.products[product]["group"] or product

    def _is_eligible(self, query, item, recommend, catalogue):
        a, b = self.products[query], self.products[item]
        if query == item or (recommend.stocked_only and not b["in_stock"]):
            return False
        for names, wanted in ((recommend.match, True), (recommend.differ, False)):
            for name in names:
                values = [None if facts[name] is None else facts[name].strip().lower() for facts in (a, b)]
                if name == "group":  # a product without one is its own
                    values = [self._group(query), self._group(item)]
                if None in values:
                    if recommend.unknown == "exclude":
                        return False
                elif (values[0] == values[1]) != wanted:
                    return False
        if (
            catalogue.columns.group is not None
            and recommend.variants != "all"
            and self._group(query) == self._group(item)
        ):
            return False
        if recommend.twins == "hide" and self._joined(query, recommend, catalogue) == self._joined(
            item, recommend, catalogue
        ):
            return False
        return recommend.price is None or self._is_affordable(a, b, recommend.price)

    def _is_sold(self, facts, keys):
        """The rules that look at nothing but the item."""
        price = keys.price
        if keys.stocked_only and not facts["in_stock"]:
            return False
        for limit, sign in () if price is None else ((price.at_most, 1), (price.at_least, -1)):
            if limit is not None and (facts["price"] is None or sign * facts["price"] > sign * limit):
                return False
        return True

    @staticmethod
    def _is_affordable(a, b, price):
        if b["price"] is None:
            return False
        if price.at_most is not None and b["price"] > price.at_most:
            return False
        if price.at_least is not None and b["price"] < price.at_least:
            return False
        for low, high in ((0.0, price.at_most_times), price.between_times or (0.0, None)):
            if high is not None and (
                a["price"] is None
                or a["currency"] != b["currency"]
                or not low * a["price"] <= b["price"] <= high * a["price"]
            ):
                return False
        return True


def random_rules(rng: np.random.Generator) -> tuple[dict, bool]:
    """(keys of `recommend`, whether the catalogue has a group column)."""
    rules: dict = {"k": int(rng.choice([2, 4, 7])), "backfill": bool(rng.random() < 0.7)}
    fields = ["gender", "brand", "category", "currency"]
    rng.shuffle(fields)
    if rng.random() < 0.6:
        rules["match"] = fields[: int(rng.integers(1, 3))]
    if rng.random() < 0.4:
        rules["differ"] = fields[2:3]
    rules["unknown"] = str(rng.choice(["allow", "exclude"]))
    prices = [
        {"at_most_times": 0.9},
        {"between_times": [0.5, 2.0]},
        {"at_most": 25.0},
        {"at_least": 8, "at_most_times": 1.1},
    ]
    if rng.random() < 0.6:
        rules["price"] = prices[int(rng.integers(len(prices)))]
    if rng.random() < 0.3:
        rules["in_stock_only"] = True
    rules["twins"] = str(rng.choice(["show", "hide"]))
    rules["variants"] = str(rng.choice(["one_per_group", "other_groups", "all"]))
    return rules, bool(rng.random() < 0.6)
