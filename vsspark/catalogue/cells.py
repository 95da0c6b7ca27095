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

_SHORTENED = r"^\d([.,]\d+)?E\+\d{2}$"  # 1.23457E+12


@dataclass(frozen=True)
class Cells:
    """The cells of a table whose columns have been found. style: the decimal separator of its prices, where known."""

    table: DataFrame
    columns: ColumnsConfig
    config: CatalogueConfig
    style: str | None

    more_images: list[str] = field(default_factory=list)

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
        names = self._names(self.columns.image)
        if self.more_images:
            none = F.array().cast("array<string>")
            names = F.concat(*[F.coalesce(self._names(name), none) for name in (self.columns.image, *self.more_images)])
        return F.transform(names, lambda name: words.without_missing(name, self.config.missing_words))

    def _names(self, column: str) -> Column:
        image = F.col(identifier(column))
        if self._is_array(column):
            return image.cast("array<string>")
        cell = image.cast("string")
        names = F.split(cell, re.escape(self.config.image_separator)) if self.config.image_separator else F.array(cell)
        # ["a.jpg", "b.jpg"]: what a list becomes in a text column.
        listed = F.trim(cell).startswith('["') & F.trim(cell).endswith('"]')
        return F.when(listed, F.coalesce(F.from_json(cell, "array<string>"), names)).otherwise(names)

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
            stock = words.stock_flag(text(columns.in_stock), config.in_stock_words, config.out_of_stock_words)
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
        """map<string,string> of the columns that have no role, and the price's currency where it says one; null where
        there are none.
        """
        mapped = {name for name in self.columns.model_dump().values() if name} | set(self.more_images)
        mapped |= {name.partition(".")[0] for name in mapped} | set(EXTRA.names)
        further = [name for name in self.table.columns if name not in mapped]
        cells = F.lit(None).cast("map<string,string>")
        if further:
            cells = F.map_from_arrays(F.array(*[F.lit(n) for n in further]), F.array(*[text(n) for n in further]))
        if not self.columns.price or "currency" in further:
            return cells
        price = F.create_map(F.lit("currency"), F.col("__vsspark_currency"))
        both = F.map_concat(cells, price) if further else price
        return F.when(F.col("__vsspark_currency").isNotNull(), both).otherwise(cells)

    def fault(self, box_mismatch: Column) -> Column:
        """struct<line, file, column, text, reason> of a row that cannot be used, null for the others.

        reason BLANK: no fault; text is the number of blank rows that the row stands for. On `parsed`.
        """
        columns, own = self.columns, own_columns(self.table)
        identity = F.col("__vsspark_id")
        filled = F.coalesce(*[F.nullif(F.trim(text(name)), F.lit("")) for name in own])
        row = F.to_json(F.struct(*[F.col(identifier(name)) for name in own]))
        shortened = "a number that a spreadsheet has shortened: several products may have become one"
        checks = [
            F.when(F.col(REASON).isNotNull(), _fault(None, F.col(TEXT), F.col(REASON))),
            F.when(identity.isNull() & filled.isNull(), _fault(None, F.lit("1"), F.lit(BLANK))),
            F.when(identity.isNull(), _fault(columns.product_id, row, "null or blank; every row needs a product id")),
            F.when(identity.rlike(_SHORTENED), _fault(columns.product_id, identity, shortened)),
        ]
        if columns.price:
            what = "price cannot be read; allowed is a number such as 19.90 (or empty)"
            open_form = "price cannot be read; it may be thousands or decimals: allowed with catalogue.decimal"
            bad = self._unread(columns.price, F.col("__vsspark_price"))
            reason = F.when(prices.is_ambiguous(F.col("__vsspark_parts")), open_form).otherwise(what)
            checks.append(F.when(bad, _fault(columns.price, text(columns.price), reason)))
        if columns.in_stock:
            allowed = ", ".join((*self.config.in_stock_words, *self.config.out_of_stock_words))
            what = f"in_stock cannot be read; allowed is one of {allowed}, or a number (or empty)"
            bad = self._unread(columns.in_stock, F.col("__vsspark_stock"))
            checks.append(F.when(bad, _fault(columns.in_stock, text(columns.in_stock), what)))
        if columns.box:
            what = "box cannot be read; allowed is one box for each image of the row (or none at all)"
            cell = F.to_json(F.struct(F.col(identifier(columns.box))))
            checks.append(F.when(box_mismatch, _fault(columns.box, cell, what)))
        return F.coalesce(*checks)

    def _unread(self, name: str, parsed: Column) -> Column:
        """Whether there is a text and nothing could be made of it."""
        none = [word for word in self.config.missing_words if word.lower() != "nan"]  # no number is a price of none
        return words.without_missing(text(name), none).isNotNull() & parsed.isNull()


def _fault(column: str | None, shown: Column, reason: Column | str) -> Column:
    return F.struct(
        F.col(LINE).alias("line"),
        F.col(FILE).alias("file"),
        F.lit(column).cast("string").alias("column"),
        shown.cast("string").alias("text"),
        (F.lit(reason) if isinstance(reason, str) else reason).alias("reason"),
    )
