"""The rules of `recommend` on pairs and lists as numbers compare: conditions, fields and caps. No Spark."""

from __future__ import annotations

from dataclasses import dataclass

from vsspark.config import CatalogueConfig, RecommendConfig
from vsspark.knn.eligibility import DIFFERENT, EQUAL, RATIO, SAME_OR_UNKNOWN_BOTH, Condition, Terms

DEPTH = 3  # neighbours searched for each place of a list
GROUP, CURRENCY = "group", "currency"
TWINS = "twins"  # products of the same pictures; with `one_per_group`, variants and what is a twin of any of them, too


@dataclass(frozen=True)
class ProductRules:
    """fields: whose codes the terms compare, by column. keys: of `recommend`, by condition. caps: (column, most) of
    `max_per`. window: of the caps. missing_words: the catalogue's words for "no value". twins_with_variants: whether
    TWINS takes in the variants.
    """

    terms: Terms
    fields: tuple[str, ...]
    keys: tuple[str, ...]
    caps: tuple[tuple[int, int], ...]
    window: int
    missing_words: tuple[str, ...]
    twins_with_variants: bool = False


def product_rules(recommend: RecommendConfig, catalogue: CatalogueConfig) -> ProductRules | None:
    """The rules on pairs and lists; None where there are none."""
    fields: list[str] = []

    def column(field: str) -> int:
        if field not in fields:
            fields.append(field)
        return fields.index(field)

    allowed, price = recommend.unknown == "allow", recommend.price
    rules = [(f"match {field}", Condition(EQUAL, column(field), allowed)) for field in recommend.match]
    rules += [(f"differ {field}", Condition(DIFFERENT, column(field), allowed)) for field in recommend.differ]
    if price is not None and price.at_most_times is not None:
        rules.append(("price.at_most_times", Condition(RATIO, high=price.at_most_times)))
    if price is not None and price.between_times is not None:
        low, high = price.between_times
        rules.append(("price.between_times", Condition(RATIO, low=low, high=high)))
    if any(condition.kind == RATIO for _, condition in rules):
        rules.append(("price: another currency", Condition(SAME_OR_UNKNOWN_BOTH, column(CURRENCY))))
    group_column = None
    grouped = catalogue.columns.group is not None and recommend.variants != "all"
    one_per_group = grouped and recommend.variants == "one_per_group"
    if grouped:
        group_column = column(GROUP) if one_per_group else None
        rules.append((f"variants {recommend.variants}", Condition(DIFFERENT, column(GROUP))))
    if recommend.twins == "hide":
        group_column = column(TWINS)
        rules.append(("twins", Condition(DIFFERENT, column(TWINS))))
    caps = tuple((column(field), most) for field, most in sorted(recommend.max_per.items()))
    if not rules and not caps:
        return None
    terms = Terms(tuple(condition for _, condition in rules), group_column)
    keys = tuple(key for key, _ in rules)
    joined = one_per_group and recommend.twins == "hide"
    return ProductRules(terms, tuple(fields), keys, caps, recommend.window, catalogue.missing_words, joined)
