"""What a row's cells say: image names, price, stock, further columns; and why a row says nothing that can be used."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, NumericType

from vsspark.catalogue import prices, words
from vsspark.catalogue.columns import identifier, own_columns, text
from vsspark.catalogue.text_feed import BLANK, EXTRA, FILE, LINE, REASON, TEXT
from vsspark.config import CatalogueConfig, ColumnsConfig

_KIND = "__vsspark_kind"
_KEPT_ROLES = ("brand", "group", "currency")  # whose cells go into `attributes`, by these names
_SHORTENED_REASON = "a number that a spreadsheet has shortened: several products may have become one"
_SHORTENED = r"(?i)^\d([.,]\d+)?E\+\d{2}$"  # 1.23457E+12


@dataclass(frozen=True)
class Cells:
    """The cells of a table whose columns have been found. style: the decimal separator of its prices, where known.
    min_stock: the least number that is in stock; None: any above 0.
    """

    table: DataFrame
    columns: ColumnsConfig
    config: CatalogueConfig
    style: str | None

    more_images: list[str] = field(default_factory=list)
    min_stock: int | None = None

    @property
    def images_are_listed(self) -> bool:
        """Whether a row may name several images."""
        return self._is_array(self.columns.image) or bool(self.config.image_separator) or bool(self.more_images)

    def _is_array(self, name: str) -> bool:
        return isinstance(self.table.schema[name].dataType, ArrayType)

    def product_id(self) -> Column:
        return words.without_missing(text(self.columns.product_id), self.config.missing_words)

    def images(self) -> Column:
        """array<string>: the image names of a row, null where a word says that there is none."""
        if not self.images_are_listed:
            cell = text(self.columns.image)
            one = F.array(words.without_missing(cell, self.config.missing_words))
            return F.when(_is_json_list(cell), self._without_missing(self._names(self.columns.image))).otherwise(one)
        names = self._names(self.columns.image)
        if self.more_images:
            none = F.array().cast("array<string>")
            names = F.concat(*[F.coalesce(self._names(name), none) for name in (self.columns.image, *self.more_images)])
        return self._without_missing(names)

    def _without_missing(self, names: Column) -> Column:
        return F.transform(names, lambda name: words.without_missing(name, self.config.missing_words))

    def _names(self, column: str) -> Column:
        image = F.col(identifier(column))
        if self._is_array(column):
            return image.cast("array<string>")
        cell = image.cast("string")
        names = F.split(cell, re.escape(self.config.image_separator)) if self.config.image_separator else F.array(cell)
        return F.when(_is_json_list(cell), F.coalesce(F.from_json(cell, "array<string>"), names)).otherwise(names)

    def word(self, role: str) -> Column:
        """The text of a name or category; null where there is none."""
        name = getattr(self.columns, role)
        return words.without_missing(text(name), self.config.missing_words) if name else F.lit(None).cast("string")

    def parsed(self) -> DataFrame:
        """The table with the id, images, price, its parts and currency, and stock: each is made once, and used
        for the row and for its fault."""
        columns, config = self.columns, self.config
        rows = self.table.withColumns({"__vsspark_id": self.product_id(), "__vsspark_images": self.images()})
        price, stock = F.lit(None).cast("double"), F.lit(None).cast("boolean")
        parts = prices.price_parts(F.lit(None).cast("string"))
        if columns.price and isinstance(self.table.schema[columns.price].dataType, NumericType):
            price = F.col(identifier(columns.price)).cast("double")
        elif columns.price:
            parts = prices.price_parts(text(columns.price))
            price = prices.price_number(F.col("__vsspark_parts"), self.style)
        if columns.in_stock:
            lists = config.in_stock_words, config.out_of_stock_words
            stock = words.stock_flag(text(columns.in_stock), *lists, self.min_stock)
        rows = rows.withColumn("__vsspark_parts", parts).withColumns(
            {"__vsspark_price": price, "__vsspark_stock": stock}
        )
        # NaN and Infinity are numbers, and no prices.
        real = ~F.isnan("__vsspark_price") & (F.abs(F.col("__vsspark_price")) != float("inf"))
        return rows.withColumns(
            {
                "__vsspark_price": F.when(real, F.col("__vsspark_price")),
                "__vsspark_currency": F.col("__vsspark_parts.currency"),
            }
        )

    def attributes(self) -> Column:
        """map<string,string>: brand, group and currency by these names, and the columns that have no role by their own;
        null where there are none.
        """
        mapped = {name for name in self.columns.model_dump().values() if name} | set(self.more_images)
        mapped |= {name.partition(".")[0] for name in mapped} | set(EXTRA.names)
        roles = {role: getattr(self.columns, role) for role in _KEPT_ROLES if getattr(self.columns, role)}
        cells = {role: text(name) for role, name in roles.items()}
        cells |= {name: text(name) for name in self.table.columns if name not in mapped and name not in cells}
        stated = F.col("__vsspark_currency")
        plain = F.map_from_arrays(F.array(*map(F.lit, cells)), F.array(*cells.values())) if cells else None
        if not self.columns.price or ("currency" in cells and "currency" not in roles):
            return F.lit(None).cast("map<string,string>") if plain is None else plain
        cells["currency"] = F.coalesce(stated, cells["currency"]) if "currency" in cells else stated
        full = F.map_from_arrays(F.array(*map(F.lit, cells)), F.array(*cells.values()))
        return F.when(stated.isNotNull(), full) if plain is None else F.when(stated.isNotNull(), full).otherwise(plain)

    def with_fault(self, box_mismatch: Column) -> DataFrame:
        """`parsed` with __vsspark_fault: struct<line, file, column, text, reason> of a row that cannot be used, null
        for the others.

        reason BLANK: no fault; text is the number of blank rows that the row stands for.
        """
        columns, own = self.columns, own_columns(self.table)
        identity, price, stock = (F.col(f"__vsspark_{name}") for name in ("id", "price", "stock"))
        filled = F.coalesce(*[F.nullif(F.trim(text(name)), F.lit("")) for name in own])
        row = F.to_json(F.struct(*[F.col(identifier(name)) for name in own]))
        words_of_stock = ", ".join((*self.config.in_stock_words[:3], *self.config.out_of_stock_words[:3]))
        none = F.lit(None).cast("string")
        faults = [  # (when, column, text, reason)
            (F.col(REASON).isNotNull(), none, F.col(TEXT), F.col(REASON)),
            (identity.isNull() & filled.isNull(), none, F.lit("1"), F.lit(BLANK)),
            (identity.isNull(), F.lit(columns.product_id), row, F.lit("null or blank; every row needs a product id")),
            (identity.rlike(_SHORTENED), F.lit(columns.product_id), identity, F.lit(_SHORTENED_REASON)),
        ]
        if columns.price:
            plain = F.lit("price cannot be read; allowed is a number such as 19.90 (or empty)")
            open_form = F.lit("price cannot be read; it may be thousands or decimals: allowed with catalogue.decimal")
            reason = F.when(prices.is_ambiguous(F.col("__vsspark_parts")), open_form).otherwise(plain)
            bad = price.isNull() & self._is_filled(columns.price)
            faults.append((bad, F.lit(columns.price), text(columns.price), reason))
        if columns.in_stock:
            keys = "catalogue.in_stock_words and out_of_stock_words"
            reason = F.lit(f"in_stock cannot be read; allowed is a number or a word of {keys}: {words_of_stock} ...")
            bad = stock.isNull() & self._is_filled(columns.in_stock)
            faults.append((bad, F.lit(columns.in_stock), text(columns.in_stock), reason))
        if columns.box:
            cell = F.to_json(F.struct(F.col(identifier(columns.box))))
            reason = F.lit("box cannot be read; allowed is one box for each image of the row (or none at all)")
            faults.append((box_mismatch, F.lit(columns.box), cell, reason))
        kind = none.cast("int")
        for number, fault in reversed(list(enumerate(faults))):
            kind = F.when(fault[0], F.lit(number)).otherwise(kind)
        rows = self.parsed().withColumn(_KIND, kind)

        def of_kind(place: int) -> Column:
            choice = none
            for number, fault in enumerate(faults):
                choice = F.when(F.col(_KIND) == number, fault[place]).otherwise(choice)
            return choice

        # Of the kind, a column of its own: hardly any row has a fault, and for the others no description is made.
        fault = F.struct(
            F.col(LINE).alias("line"),
            F.col(FILE).alias("file"),
            *[of_kind(place).alias(name) for place, name in enumerate(("column", "text", "reason"), 1)],
        )
        return rows.withColumn("__vsspark_fault", F.when(F.col(_KIND).isNotNull(), fault))

    def _is_filled(self, name: str) -> Column:
        """Whether there is a text that is no missing word."""
        none = [word for word in self.config.missing_words if word.lower() != "nan"]  # no number is a price of none
        return words.without_missing(text(name), none).isNotNull()


def _is_json_list(cell: Column) -> Column:
    """Whether it is like ["a.jpg", "b.jpg"]: what a list becomes in a text column."""
    return cell.startswith("[") & F.trim(cell).rlike(r'^\[\s*".*"\s*\]$')
