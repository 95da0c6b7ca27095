"""The rules of `recommend` on pairs and lists as numbers compare: conditions, fields and caps. No Spark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vsspark.config import CatalogueConfig, ListConfig, RecommendConfig
from vsspark.errors import ConfigError
from vsspark.knn.eligibility import (
    AMONG,
    APART,
    DIFFERENT,
    EQUAL,
    ITEM,
    RATIO,
    SAME_OR_UNKNOWN_BOTH,
    Condition,
    Terms,
)
from vsspark.recommend.written import WrittenRule

DEPTH = 3  # neighbours searched for each place of a list, and that caps and boosts choose among
BITS = 62  # written rules of one column of codes
GROUP, CURRENCY = "group", "currency"
TWINS = "twins"  # products of the same pictures
RELATED = "twins and variants"  # variants and what is a twin of any of them, and theirs
WHEN, TARGET = "when", "target"  # bits of the written rules that match a product, BITS to a column
AVAILABLE = "available"  # on one list: not 0 where it may be recommended, by the rules that look at the item alone


@dataclass(frozen=True)
class Surface:
    """The rules of one list. terms: on pairs; keys: of `recommend`, or `rules`, by condition. caps: (column, most) of
    `max_per`; window: of the caps. needed: rows it may need, its own k and what may stand in earlier lists of its page
    or is pinned. pool: rows that caps and boosts choose among, beside those. blocks: the first conditions, which bind
    pins, too. after: the lists before it on its page.
    """

    name: str
    k: int
    backfill: bool
    terms: Terms
    keys: tuple[str, ...]
    caps: tuple[tuple[int, int], ...]
    window: int
    needed: int
    pool: int
    blocks: int
    after: tuple[str, ...]
    items: tuple[bool, float | None, float | None]
    keep: float = 0.0  # `keep_unless`

    @property
    def is_arranged(self) -> bool:
        """Whether the list is more than the nearest eligible products in their order, written rules left out."""
        return bool(self.caps or self.after or self.keep)

    @property
    def places(self) -> int:
        """Rows that a list is chosen from."""
        return self.needed - self.k + self.pool


@dataclass(frozen=True)
class ProductRules:
    """surfaces: those of the page first, in its order. fields: whose codes the terms compare, by column. written: the
    rules of the file that are in force, rule n is bit n % BITS of column n // BITS of WHEN and TARGET. missing_words:
    the catalogue's words for "no value".
    """

    surfaces: tuple[Surface, ...]
    fields: tuple[str, ...]
    missing_words: tuple[str, ...]
    written: tuple[WrittenRule, ...] = ()

    @property
    def depth(self) -> int:
        """Neighbours of an image: enough to be sure of most lists."""
        longest = max(surface.k for surface in self.surfaces)
        most = max(surface.places for surface in self.surfaces)
        return max(DEPTH * longest, most + longest if most > longest else 0)

    def column(self, field: str) -> int:
        """The field's column of the codes."""
        return self.fields.index(field)

    def numbers(self, action: str, surface: str) -> list[int]:
        """The written rules of an action that are of a list."""
        rules = enumerate(self.written)
        return [number for number, rule in rules if rule.action == action and rule.is_of(surface)]

    def uses(self, *actions: str) -> bool:
        """Whether any rule in force has one of these actions."""
        return any(rule.action in actions for rule in self.written)


def product_rules(
    recommend: RecommendConfig, catalogue: CatalogueConfig, written: Sequence[WrittenRule] = ()
) -> ProductRules | None:
    """The rules on pairs and lists; None where there is one list and none of them.

    Raises ConfigError where one list has more rules of the action `only` than a column has bits.
    """
    written = sorted(written, key=lambda rule: rule.action != "only")  # the first column holds all of these
    if sum(rule.action == "only" for rule in written) > BITS:
        raise ConfigError(f"recommend.rules: expected at most {BITS} rules with action only on one day")
    made = _Maker(recommend, catalogue, written)
    surfaces = tuple(made.surface(name, keys) for name, keys in recommend.lists().items())
    plain = len(surfaces) == 1 and not surfaces[0].keys and not surfaces[0].is_arranged and not written
    return None if plain else ProductRules(surfaces, tuple(made.fields), catalogue.missing_words, tuple(written))


def bit_masks(numbers: Sequence[int]) -> dict[int, int]:
    """Column of BITS -> the bits of the written rules of these numbers."""
    masks: dict[int, int] = {}
    for number in numbers:
        masks[number // BITS] = masks.get(number // BITS, 0) | 1 << number % BITS
    return masks


class _Maker:
    """Makes the surfaces of one configuration, whose conditions share the columns of codes."""

    def __init__(self, recommend: RecommendConfig, catalogue: CatalogueConfig, written: Sequence[WrittenRule]):
        self.fields: list[str] = []
        self._page, self._catalogue, self._written = recommend.page, catalogue, written
        lists = recommend.lists()
        self._k = {name: keys.k for name, keys in lists.items()}
        self._one_item_rule = len({keys.item_limits for keys in lists.values()}) == 1
        for number in range(-(-len(written) // BITS)):
            self._column(f"{WHEN} {number}"), self._column(f"{TARGET} {number}")

    def surface(self, name: str, keys: ListConfig) -> Surface:
        rules = self._blocks(name)
        blocks = len(rules)
        group_column, of_fields = self._of_fields(keys)
        rules += self._only(name) + of_fields
        if any(condition.kind == RATIO for _, condition in rules):
            rules.append(("price: another currency", Condition(SAME_OR_UNKNOWN_BOTH, self._column(CURRENCY))))
        caps = tuple((self._column(field), most) for field, most in sorted(keys.max_per.items()))
        after = self._page[: self._page.index(name)] if name in self._page else ()
        actions = [rule.action for rule in self._written if rule.is_of(name)]
        pins = min(keys.k, actions.count("pin"))
        needed = keys.k + sum(self._k[other] for other in after) + pins
        chosen = caps or keys.keep_unless or {"boost", "bury"} & set(actions)
        pool = DEPTH * keys.k if chosen else keys.k
        terms = Terms(tuple(condition for _, condition in rules), group_column)
        names = tuple(key for key, _ in rules)
        listed = (keys.k, keys.backfill, terms, names, caps, keys.window)
        return Surface(name, *listed, needed, pool, blocks, after, keys.item_limits, keys.keep_unless)

    def _column(self, field: str) -> int:
        if field not in self.fields:
            self.fields.append(field)
        return self.fields.index(field)

    def _blocks(self, name: str) -> list[tuple[str, Condition]]:
        """The conditions that bind pins, too: of the item alone, blocks and what is never together."""
        rules = []
        if not self._one_item_rule:
            rules.append((AVAILABLE, Condition(ITEM, item_column=self._column(f"{AVAILABLE} {name}"))))
        for action, sides in (("block", ((WHEN, TARGET),)), ("never_together", ((WHEN, TARGET), (TARGET, WHEN)))):
            for number, mask in bit_masks(self._numbers(action, name)).items():
                for own, others in sides:
                    columns = self._column(f"{own} {number}"), self._column(f"{others} {number}")
                    rules.append((action, Condition(APART, columns[0], item_column=columns[1], mask=mask)))
        return rules

    def _only(self, name: str) -> list[tuple[str, Condition]]:
        rules = []
        for number, mask in bit_masks(self._numbers("only", name)).items():
            columns = self._column(f"{WHEN} {number}"), self._column(f"{TARGET} {number}")
            rules.append(("only", Condition(AMONG, columns[0], item_column=columns[1], mask=mask)))
        return rules

    def _numbers(self, action: str, name: str) -> list[int]:
        return [n for n, rule in enumerate(self._written) if rule.action == action and rule.is_of(name)]

    def _of_fields(self, keys: ListConfig) -> tuple[int | None, list[tuple[str, Condition]]]:
        """(the column of which a list has one of each value, the conditions on fields and prices)."""
        allowed, price, column = keys.unknown == "allow", keys.price, self._column
        rules = [(f"match {field}", Condition(EQUAL, column(field), allowed)) for field in keys.match]
        rules += [(f"differ {field}", Condition(DIFFERENT, column(field), allowed)) for field in keys.differ]
        if price is not None and price.at_most_times is not None:
            rules.append(("price.at_most_times", Condition(RATIO, high=price.at_most_times)))
        if price is not None and price.between_times is not None:
            low, high = price.between_times
            rules.append(("price.between_times", Condition(RATIO, low=low, high=high)))
        group_column = None
        grouped = self._catalogue.columns.group is not None and keys.variants != "all"
        one_per_group = grouped and keys.variants == "one_per_group"
        if grouped:
            group_column = column(GROUP) if one_per_group else None
            rules.append((f"variants {keys.variants}", Condition(DIFFERENT, column(GROUP))))
        if keys.twins == "hide":
            if one_per_group:
                column(TWINS)  # what RELATED is made of
            group_column = column(RELATED if one_per_group else TWINS)
            rules.append(("twins", Condition(DIFFERENT, group_column)))
        return group_column, rules
