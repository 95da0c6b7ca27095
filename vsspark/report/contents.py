"""The contents of a report as plain values: from `spark`, for `render`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CATEGORIES_SHOWN = 60


@dataclass(frozen=True)
class Totals:
    products: int
    images: int
    embedded: int  # images with an embedding of the run's model version
    quarantined: int
    usable_products: int  # products with at least one embedded image
    full_lists: int  # usable products whose list is as long as the catalogue allows, at most recommend.k
    recommendations: int
    backfilled: int  # recommendations whose source is `backfill`


@dataclass(frozen=True)
class CategoryCoverage:
    category: str | None  # None: neither the catalogue nor the model gives one
    products: int
    usable_products: int
    images: int
    full_lists: int
    backfill_share: float | None  # of the category's recommendations; None where there are none
    mean_similarity: float | None  # of the best recommendation, over the products that have one


@dataclass(frozen=True)
class QuarantinedImage:
    product_id: str
    uri: str
    detail: str | None


@dataclass(frozen=True)
class QuarantineReason:
    reason: str
    images: int
    examples: tuple[QuarantinedImage, ...]


@dataclass(frozen=True)
class Candidate:
    """A product that may be shown, with its best recommendation."""

    product_id: str
    similar_product_id: str
    similarity: float
    category: str | None


@dataclass(frozen=True)
class Product:
    product_id: str
    name: str | None
    category: str | None
    price: float | None
    image_uri: str


@dataclass(frozen=True)
class Recommendation:
    product: Product
    rank: int
    similarity: float
    source: str  # visual or backfill
    reason: str | None = None  # why it stands at this place, where not by similarity


@dataclass(frozen=True)
class Example:
    query: Product
    recommendations: tuple[Recommendation, ...]  # by rank
    further: tuple[tuple[str, tuple[Recommendation, ...]], ...] = ()  # the shop's other lists by name, where not empty


@dataclass(frozen=True)
class Contents:
    totals: Totals
    categories: tuple[CategoryCoverage, ...]  # most products first; one more than CATEGORIES_SHOWN when there are more
    quarantine: tuple[QuarantineReason, ...]  # most images first
    without_images: tuple[str, ...]  # a few ids of products with no usable image
    best: tuple[Example, ...]  # highest similarity of the best recommendation first
    worst: tuple[Example, ...]  # lowest first


def longest_list(usable_products: int, k: int) -> int:
    """How many recommendations a full list has: k, or every other usable product where there are fewer."""
    return max(1, min(k, usable_products - 1))


def pick_distinct(candidates: Sequence[Candidate], n: int, taken: frozenset[str] = frozenset()) -> list[Candidate]:
    """At most n candidates, in the order given, none of them in `taken`.

    A pair of near-identical products would fill two rows with the same two pictures: a candidate whose product or
    best recommendation is already shown waits until nothing else is left.
    """
    first, later, products = [], [], set(taken)
    for candidate in candidates:
        if candidate.product_id in taken:
            continue
        pair = {candidate.product_id, candidate.similar_product_id}
        if pair & products:
            later.append(candidate)
        else:
            first.append(candidate)
            products |= pair
    ids = {candidate.product_id for candidate in (first + later)[:n]}
    return [candidate for candidate in candidates if candidate.product_id in ids]
