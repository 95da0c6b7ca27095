"""The products like a picture: plain values, a table for people, JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

_COLUMNS = ("rank", "product", "similarity", "category", "price", "source", "uri")


@dataclass(frozen=True)
class Similar:
    """A product like the picture; the columns of `similar_products`, and what else the catalogue says."""

    rank: int
    product_id: str
    similarity: float
    image_uri: str
    category: str | None
    price: float | None
    source: str  # visual: of a probed category; backfill: nearest in the whole catalogue
    image_id: int = 0  # of image_uri
    name: str | None = None
    in_stock: bool | None = None
    link: str | None = None  # the product's page, see live.link


@dataclass(frozen=True)
class Answer:
    """The products like one picture, or why it could not be used."""

    image: str  # as the caller names it
    reason: str | None = None
    detail: str | None = None
    categories: tuple[tuple[str, float], ...] = ()  # probed, with their probabilities
    similar: tuple[Similar, ...] = ()


def to_json(run_id: str, answers: Sequence[Answer]) -> str:
    """{"run_id", "answers": [{"image", "reason", "detail", "categories", "similar"}]}; reason is null for a picture
    that could be used.
    """
    return json.dumps(
        {"run_id": run_id, "answers": [asdict(answer) for answer in answers]}, ensure_ascii=False, indent=1
    )


def to_text(answers: Sequence[Answer]) -> str:
    """Per picture a line on it, then its products in aligned columns."""
    return "\n\n".join("\n".join(_lines(answer)) for answer in answers)


def _lines(answer: Answer) -> list[str]:
    if answer.reason is not None:
        return [f"{answer.image}: not used, {answer.reason}: {answer.detail}"]
    probes = ", ".join(f"{name} {probability:.2f}" for name, probability in answer.categories)
    rows = [_COLUMNS] + [
        (
            str(s.rank),
            s.product_id,
            f"{s.similarity:.4f}",
            s.category or "",
            "" if s.price is None else f"{s.price:,.2f}",
            s.source,
            s.image_uri,
        )
        for s in answer.similar
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [f"{answer.image}: {probes or 'searched everywhere'}", *table]
