"""The keys of `recommend`: how long a product's lists are, and which products may be in them.

A field of a rule is category, brand, group, currency, or any further column of the catalogue (`images.attributes`).
Texts are compared without blanks around them and without regard to case.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from vsspark.config.section import Positive, Section

Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]
SIMILAR = "similar"  # the list that the keys of `recommend` themselves make
Surface = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class PriceConfig(Section):
    """Limits of a recommended product's price; several hold together. A product without a price is not recommended."""

    at_most: Amount | None = None  # in the catalogue's currency
    at_least: Amount | None = None  # the same
    # As multiples of the price of the product on whose page it is shown; prices of other currencies are not compared.
    at_most_times: Amount | None = None
    between_times: tuple[Amount, Amount] | None = None  # the least and the most

    @model_validator(mode="after")
    def _has_a_limit(self) -> PriceConfig:
        if all(getattr(self, name) is None for name in type(self).model_fields):
            raise ValueError(f"expected at least one of {', '.join(type(self).model_fields)}")
        pairs = [("between_times", self.between_times), ("at_least and at_most", (self.at_least, self.at_most))]
        for name, pair in pairs:
            if pair is not None and None not in pair and pair[0] > pair[1]:
                raise ValueError(f"{name}: got {pair[0]:g} and {pair[1]:g}, expected the smaller one first")
        return self


class ListConfig(Section):
    """One list of a product's page."""

    k: Positive = 20  # similar products per product
    in_stock_only: bool = False  # recommend only products whose in_stock is true (needs catalogue.columns.in_stock)
    # The same, and a stock that is a number must be this or more (needs catalogue.columns.in_stock).
    min_stock: Positive | None = None
    backfill: bool = True  # fill short lists with the nearest products of the whole catalogue, by the same rules
    match: tuple[str, ...] = ()  # fields in which both products have the same value
    differ: tuple[str, ...] = ()  # fields in which they have different values
    unknown: Literal["allow", "exclude"] = "allow"  # where one of the two products has no value in such a field
    price: PriceConfig | None = None  # limits of what is recommended
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
    # A product that the list shows now stays while no other eligible one is more similar by more than this, of the
    # nearest 3 * k and by one model version; 0 = the nearest are shown.
    keep_unless: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0

    @model_validator(mode="after")
    def _fields_do_not_contradict(self) -> ListConfig:
        both = sorted(set(self.match) & set(self.differ))
        if both:
            raise ValueError(f"match and differ: got {both[0]!r} in both, expected each field in one of them")
        if "group" in self.match and self.variants != "all":
            raise ValueError(f"match: got group with variants={self.variants}, which shows none of them; expected all")
        return self

    @property
    def stocked_only(self) -> bool:
        """Whether only products in stock may be recommended."""
        return self.in_stock_only or self.min_stock is not None

    @property
    def item_limits(self) -> tuple[bool, float | None, float | None]:
        """What of the rules looks at the recommended product alone: (in stock only, least price, highest price)."""
        return (self.stocked_only, self.price and self.price.at_least, self.price and self.price.at_most)


class RecommendConfig(ListConfig):
    # Further lists of every product, by name, made in the same run: a name, and those keys of the list above that differ
    # from `recommend`'s own. Rows of similar_products say in `surface` whose they are; `recommend`'s own: similar.
    surfaces: dict[Surface, dict[str, Any]] = Field(default_factory=dict)
    # Lists that stand on one page, the first first: a product that one of them shows is not in a later one.
    page: tuple[str, ...] = ()
    # What merchandisers have written: a YAML or CSV file of pins, blocks, boosts, see docs/rules.md; null = none.
    rules: str | None = None
    # Whether a written rule that cannot hold (an unknown field or product, a contradiction) is left out with a warning;
    # else it ends the run before anything is embedded.
    lenient: bool = False

    @model_validator(mode="after")
    def _surfaces_are_lists(self) -> RecommendConfig:
        for name, keys in self.surfaces.items():
            if name == SIMILAR:
                raise ValueError(
                    f"surfaces: got {SIMILAR}, which is the list of recommend's own keys; expected another name"
                )
            try:
                self._surface(keys)
            except ValidationError as error:
                raise ValueError(_first_mistake(f"surfaces.{name}", error)) from None
            if keys.get("min_stock", self.min_stock) not in (None, self.min_stock):
                raise ValueError(f"surfaces.{name}.min_stock: expected recommend.min_stock, one number for all lists")
        known = [SIMILAR, *self.surfaces]
        unknown = [name for name in self.page if name not in known]
        if unknown or len(set(self.page)) < len(self.page):
            raise ValueError(f"page: got {', '.join(self.page)}, expected different names of {', '.join(known)}")
        return self

    def lists(self) -> dict[str, ListConfig]:
        """Every list by its name: those of the page in its order, then the others."""
        names = [*self.page, *(name for name in (SIMILAR, *self.surfaces) if name not in self.page)]
        own = ListConfig(**{name: getattr(self, name) for name in ListConfig.model_fields})
        return {name: own if name == SIMILAR else self._surface(self.surfaces[name]) for name in names}

    def _surface(self, keys: dict[str, Any]) -> ListConfig:
        own = {name: getattr(self, name) for name in ListConfig.model_fields}
        return ListConfig.model_validate({**own, **keys})


def _first_mistake(key: str, error: ValidationError) -> str:
    problem = error.errors()[0]
    where = ".".join([key, *(str(part) for part in problem["loc"])])
    if problem["type"] == "extra_forbidden":
        return f"{where}: unknown key, allowed are {', '.join(sorted(ListConfig.model_fields))}"
    return f"{where}: got {problem['input']!r}, {problem['msg'][0].lower()}{problem['msg'][1:]}"
