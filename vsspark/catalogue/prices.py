"""A price as shops write it -> its number and its currency.

Own expressions, since price-parser (the kept library for this) reads any text: -5 becomes 5, `10-20` 10, `free` 0 and
1,299 always 1299, none of it said; and takes 0.1 ms a cell, longer than all the rest of a row.
"""

from __future__ import annotations

import re

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from vsspark.config import CatalogueConfig

_BLANKS = "\t\u00a0\u2007\u2009\u202f"
_CUT = "\x01"
_CODES = (  # ISO 4217
    """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY
    COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR
    ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK
    MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF
    SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU
    UZS VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWG BGN HRK
    """
)
_CODE = "[A-Z]{3}|[a-z]{3}"
_SYMBOL = (
    r"(?:[A-Z]{1,3})?\p{Sc}|zł|Kč|kr\.?|Ft|лв\.?|руб\.?|грн\.?|lei|Fr\.?|SFr\.?|Rs\.?|Rp\.?|RM|R|TL|din\.?|KM|Lt|Ls"
)
_CURRENCY = rf"{_CODE}|{_SYMBOL}"
_SCIENTIFIC = r"^[+-]?(?:\d+\.?\d*|\.\d+)[eE][+-]?\d{1,3}$"
_WHOLE = rf"^([+-]?)({_CURRENCY})? ?([+-]?)(\d[\d ., '’]*|[.,]\d+)(?:[.,]?[-–—]{{1,2}})? ?({_CURRENCY})?$"
_AMBIGUOUS = r"^[1-9]\d{0,2}[.,]\d{3}$"  # 1.299: thousands or thousandths
_LOOKED_AT = 5_000  # rows whose prices show the column's decimal separator


def price_parts(cell: Column) -> Column:
    """struct<sign, body, currency>: the digits with their separators, and what is around them; null for another text.

    One match a cell: the rest of this file works on its result, so let it be a column of its own.
    """
    text = _text(cell)
    piece = F.split(F.regexp_replace(text, _WHOLE, f"$1$3{_CUT}$4{_CUT}$2{_CUT}$5"), _CUT)
    before, after = F.get(piece, F.lit(2)), F.get(piece, F.lit(3))
    sign = F.upper(F.when(before != "", before).otherwise(after))
    twice = (before != "") & (after != "") & (before != after)
    known = ~sign.rlike("^[A-Z]{3}$") | sign.isin(*_CODES.split())
    parts = F.struct(
        F.get(piece, F.lit(0)).alias("sign"),
        F.rtrim(F.regexp_replace(F.rtrim(F.get(piece, F.lit(1))), r"[.,]$", "")).alias("body"),
        F.nullif(sign, F.lit("")).alias("currency"),
    )
    return F.when((F.size(piece) == 4) & ~twice & known, parts).when(
        text.rlike(_SCIENTIFIC), F.struct(F.lit("").alias("sign"), text.alias("body"), F.lit(None).alias("currency"))
    )


def price_style(table: DataFrame, cell: Column, config: CatalogueConfig) -> str | None:
    """The column's decimal separator: of the settings, or what its first prices show where all show the same."""
    if config.decimal:
        return config.decimal
    texts = [row[0] for row in table.select(cell).limit(_LOOKED_AT).collect() if row[0]]
    comma = any(re.search(r",\d{1,2}(?!\d)|\.\d{3},\d", text) for text in texts)
    point = any(re.search(r"\.\d{1,2}(?!\d)|,\d{3}\.\d", text) for text in texts)
    return None if comma == point else "," if comma else "."


def price_number(parts: Column, style: str | None) -> Column:
    """double; null for what is no price, and for 1.299 where the style is not known. parts: of `price_parts`."""
    body = parts["body"]
    plain = F.regexp_replace(body, "[ '’]", "")
    with_point = F.translate(plain, ",", ".")
    decimals = F.lit(style).cast("string")
    ambiguous = F.when(plain.contains(decimals), with_point).when(
        decimals.isNotNull(), F.regexp_replace(plain, "[.,]", "")
    )
    well_spaced = body.rlike(r"^\d{1,3}(?:[ '’]\d{3})+(?:[.,]\d+)?$")
    number = (  # the common forms first
        F.when(body.rlike(r"^(?:\d+|\d*[.,]\d{1,2})$"), F.translate(body, ",", "."))
        .when(body.rlike("[ '’]") & ~well_spaced, None)
        .when(plain.rlike(_AMBIGUOUS), ambiguous)
        .when(plain.rlike(r"^\d{1,3}(?:\.\d{3})+,\d+$|^\d{1,3}(?:\.\d{3}){2,}$"), _without(plain, "."))
        .when(plain.rlike(r"^\d{1,3}(?:,\d{2,3})*,\d{3}\.\d+$|^\d{1,3}(?:,\d{2,3})+,\d{3}$"), _without(plain, ","))
        .when(plain.rlike(r"^\d*[.,]\d+$") | plain.rlike(r"^\d+$"), with_point)
        .when(plain.rlike(_SCIENTIFIC), plain)
    )
    return F.concat(parts["sign"], number).try_cast("double")


def is_ambiguous(parts: Column) -> Column:
    return parts["body"].rlike(_AMBIGUOUS)


def _without(number: Column, group: str) -> Column:
    """The number without its group separators, with a point for the other one."""
    return F.translate(F.translate(number, group, ""), ",", ".")


def _text(cell: Column) -> Column:
    return F.trim(F.translate(cell, _BLANKS, " " * len(_BLANKS)))
