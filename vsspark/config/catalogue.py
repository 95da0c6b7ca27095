"""The keys of `catalogue`: where the shop's table is, how it is written, which of its columns are what."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from vsspark.config.presets import with_preset
from vsspark.config.section import Section, Share
from vsspark.masking import has_user_info


def _without_credentials(uri: str) -> str:
    if has_user_info(uri):
        raise ValueError(
            "expected a URI without user name and password, which would stand in every row: "
            "give them as spark.hadoop.fs.s3a.* settings"
        )
    return uri


Root = Annotated[str, AfterValidator(_without_credentials)]


class ColumnsConfig(Section):
    """The catalogue table's own column names; null = the table has no such column."""

    product_id: str = "product_id"  # whole numbers or text; rows with the same id are images of one product
    image: str = "image"  # a path or URI, or a list of them (array column, or text split by catalogue.image_separator)
    name: str | None = None  # shown in the report
    category: str | None = None  # what the category head is fitted to; see blocking.by
    price: str | None = None  # a number, or a text such as 19,99 €; docs/catalogue.md has the forms
    currency: str | None = None  # of the price, where the price's own cell does not say
    in_stock: str | None = None  # a word of catalogue.in_stock_words or out_of_stock_words, or a quantity
    brand: str | None = None  # a field of the rules of `recommend`
    # What variants of one product, such as its colours and sizes, have in common; null = every product is its own.
    group: str | None = None
    # The product's box in the picture: left top right bottom, pixels of the picture as a viewer shows it, as text
    # ("12 30 200 400") or an array of four numbers; null = the whole picture. Where the image column is a list, a
    # list of boxes, one per image.
    box: str | None = None


def _character(given: Any) -> Any:
    """A separator, quote or escape: the character itself, `\\t` or its name; "" for none."""
    if given is False:  # YAML's own reading of off and no
        return ""
    names = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " ", "backslash": "\\"}
    names |= {"none": "", "off": "", "no": "", "quote": '"', "\\\\": "\\"}
    given = names.get(given.lower(), given) if isinstance(given, str) else given
    if isinstance(given, str) and len(given) > 1:
        raise ValueError("expected one character, or none")
    return given


Character = Annotated[str, BeforeValidator(_character)]


class CsvConfig(Section):
    """How a text feed is written; null = guessed from its beginning, and said."""

    separator: Annotated[Character, Field(min_length=1)] | None = None  # one character, or tab
    quote: Character | None = None  # around a field; none: quotes are part of the text, as in feeds for Google
    escape: Character | None = None  # before a quote inside a quoted field, beside a doubled quote; none
    encoding: str | None = None  # such as cp1252 or utf-16; null = UTF-8, or what a byte order mark says


class CatalogueConfig(Section):
    # A file or folder, jdbc:..., or a table of the session's metastore; null = the generated demo catalogue.
    table: Annotated[str, Field(min_length=1)] | None = None
    # The columns and words of a shop system's own export; keys given beside it win.
    preset: Literal["shopify", "magento", "woocommerce", "google_merchant"] | None = None
    # auto: by the name of the table, a Delta folder, else Parquet. table: of the session's metastore.
    format: Literal["auto", "csv", "json", "excel", "merchant_xml", "parquet", "delta", "jdbc", "table"] = "auto"
    sheet: str | None = None  # of a workbook; null = the first
    query: str | None = None  # what is read over JDBC: a table's name, or SELECT ...
    options: dict[str, str] = Field(
        default_factory=dict
    )  # of Spark's JDBC reader: user, password, driver, partitionColumn, ...
    images_root: Root | None = None  # what relative image paths are relative to; null = the folder that holds the table
    # Where absolute paths may lead; null = anywhere (the catalogue is trusted).
    allowed_roots: tuple[str, ...] | None = None
    # Splits a text cell that names several images, for example "|".
    image_separator: Annotated[str, Field(min_length=1)] | None = None
    columns: ColumnsConfig = ColumnsConfig()
    # Further columns with images of the product, after those of columns.image.
    more_images: tuple[str, ...] = ()
    csv: CsvConfig = CsvConfig()
    # Words of an image, category, name, price or stock cell that mean "none"; case does not count. Nor is a missing
    # word a product id.
    missing_words: tuple[str, ...] = (
        "null", "\\N", "n/a", "#n/a", "na", "nan", "none", "nil", "<na>", "no_selection", "-",
    )  # fmt: skip
    # Words of the stock column for "can be bought"; case, blanks, - and _ do not count. A number is in stock above 0.
    in_stock_words: tuple[str, ...] = (
        "true", "t", "yes", "y", "in stock", "available", "limited availability", "preorder", "backorder",
        "on backorder", "made to order", "active",
    )  # fmt: skip
    # Words of the stock column for "cannot be bought".
    out_of_stock_words: tuple[str, ...] = (
        "false", "f", "no", "n", "out of stock", "sold out", "unavailable", "not available", "discontinued", "inactive",
    )  # fmt: skip
    # The decimal separator of prices, where a text such as 1.299 or 1,299 leaves it open; null = what the other prices
    # of the column show.
    decimal: Literal[".", ","] | None = None
    # What an image name with a leading slash, such as Magento's /p/0/p00.jpg, is below: images_root or this machine's
    # disk (names below images_root stay as they are); null = images_root where it is given.
    leading_slash: Literal["images_root", "disk"] | None = None
    # Rows that cannot be read are set aside in `rejected_rows`. More than this share of the rows, and more than
    # max_rejected_rows of them, is an error; so is half of the rows or more.
    max_rejected: Share = 0.0005
    max_rejected_rows: Annotated[int, Field(ge=0)] = 10  # that many may be set aside, whatever their share

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        return with_preset(given)
