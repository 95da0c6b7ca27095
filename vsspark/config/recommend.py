"""The keys of `recommend`: how long a product's list is, and which products may be in it.

A field of a rule is category, brand, group, currency, or any further column of the catalogue (`images.attributes`).
Texts are compared without blanks around them and without regard to case.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from vsspark.config.section import Positive, Section

Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class PriceConfig(Section):
    """Limits of a recommended product's price; several hold together. A product without a price is not recommended."""

    at_most: Amount | None = None  # in the catalogue's currency
    at_least: Amount | None = None
    # As multiples of the price of the product on whose page it is shown; prices of other currencies are not compared.
    at_most_times: Amount | None = None
    between_times: tuple[Amount, Amount] | None = None

    @model_validator(mode="after")
    def _has_a_limit(self) -> PriceConfig:
        if all(getattr(self, name) is None for name in type(self).model_fields):
            raise ValueError(f"expected at least one of {', '.join(type(self).model_fields)}")
        pairs = [("between_times", self.between_times), ("at_least and at_most", (self.at_least, self.at_most))]
        for name, pair in pairs:
            if pair is not None and None not in pair and pair[0] > pair[1]:
                raise ValueError(f"{name}: got {pair[0]:g} and {pair[1]:g}, expected the smaller one first")
        return self


class RecommendConfig(Section):
    k: Positive = 20  # similar products per product
    in_stock_only: bool = False  # recommend only products whose in_stock is true (needs catalogue.columns.in_stock)
    # The same, and a stock that is a number must be this or more (needs catalogue.columns.in_stock).
    min_stock: Positive | None = None
    backfill: bool = True  # fill short lists with the nearest products of the whole catalogue, by the same rules
    match: tuple[str, ...] = ()  # fields in which both products have the same value
    differ: tuple[str, ...] = ()  # fields in which they have different values
    unknown: Literal["allow", "exclude"] = "allow"  # where one of the two products has no value in such a field
    price: PriceConfig | None = None
    # Where catalogue.columns.group names variants of one product (its colours and sizes): other_groups = no variant of
    # the product itself; one_per_group = nor more than the best one of any other; all = variants are products.
    variants: Literal["one_per_group", "other_groups", "all"] = "one_per_group"
    # Products all of whose pictures are the same files, one photo sold under several ids: hide = they are not
    # recommended on each other's pages, and any list has one of them; show = they are products like any other.
    twins: Literal["show", "hide"] = "show"
    # At most so many products with one value of a field among the first `window` places, while the nearest 3 * k
    # eligible products of the probed categories have others; products without a value are not counted.
    max_per: dict[str, Positive] = Field(default_factory=dict)
    window: Positive = 12  # places

    @model_validator(mode="after")
    def _fields_do_not_contradict(self) -> RecommendConfig:
        both = sorted(set(self.match) & set(self.differ))
        if both:
            raise ValueError(f"match and differ: got {both[0]!r} in both, expected each field in one of them")
        return self

    @property
    def stocked_only(self) -> bool:
        """Whether only products in stock may be recommended."""
        return self.in_stock_only or self.min_stock is not None
