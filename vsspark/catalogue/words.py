"""Words for "none" and for stock: what a cell says, after the settings' lists."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F

_NUMBER = r"^[+-]?\d+([.,]\d+)?$"


def without_missing(cell: Column, words: Sequence[str]) -> Column:
    """The cell without blanks around it; null for a blank one and for a word that means none."""
    text = F.trim(cell)
    none = [word.strip().lower() for word in words]
    return F.when((text != "") & ~F.lower(text).isin(*none), text) if none else F.when(text != "", text)


def stock_flag(
    cell: Column, in_stock: Sequence[str], out_of_stock: Sequence[str], min_stock: int | None = None
) -> Column:
    """boolean; null for a word that is in neither list. A number, such as a quantity, is in stock above 0, or from
    min_stock on.
    """
    text = F.trim(cell)
    word = _word(F.regexp_replace(text, r"^https?://schema\.org/", ""))
    number = F.regexp_replace(text, ",", ".").try_cast("double")
    plain = {side: [_plain(w) for w in words] for side, words in (("in", in_stock), ("out", out_of_stock))}
    return (
        F.when(word.isin(*plain["in"]), True)
        .when(word.isin(*plain["out"]), False)
        .when(text.rlike(_NUMBER), number > 0 if min_stock is None else number >= min_stock)
    )


def _word(text: Column) -> Column:
    return F.regexp_replace(F.lower(text), r"[\s_\-]+", "")


def _plain(word: str) -> str:
    return "".join(c for c in word.lower() if not c.isspace() and c not in "_-")
