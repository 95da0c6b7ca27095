"""What cells say: prices, stock, missing words, image names, ids; through Spark, a table of all of them at once."""

from __future__ import annotations

import datetime as dt
import logging

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as F

from vsspark.catalogue.checks import check_images, rejected_rows
from vsspark.catalogue.prices import price_number, price_parts, price_style
from vsspark.catalogue.spark import images_from, named_images, read_catalogue
from vsspark.catalogue.uris import image_uri
from vsspark.catalogue.words import stock_flag, without_missing
from vsspark.config import CatalogueConfig, load_config
from vsspark.errors import ConfigError, SchemaError

PRICES = {
    "19.99 USD": (19.99, "USD"), "19,99 €": (19.99, "€"), "1.299,00": (1299, None), "$1,299.00": (1299, "$"),
    "1 299,00 zł": (1299, "ZŁ"), "1\u00a0299,00\u202f€": (1299, "€"), "1'299.00 CHF": (1299, "CHF"), "£0.50": (0.5, "£"),
    "EUR 12,5": (12.5, "EUR"), "US$ 5": (5, "US$"), "R$ 1.299,90": (1299.9, "R$"), "¥1200": (1200, "¥"), "12": (12, None),
    "19,-": (19, None), "19.– CHF": (19, "CHF"), "-5": (-5, None), "-$5.00": (-5, "$"), "$-5.00": (-5, "$"),
    "1.299.000": (1299000, None), "12,34,567.00 INR": (1234567, "INR"), "0.125": (0.125, None), "1234.567": (1234.567, None),
    ".5": (0.5, None), "5.": (5, None), "1e3": (1000, None), " 7 ": (7, None), "19.99usd": (19.99, "USD"), "+3": (3, None),
    "1.29.30": (None, None), "10-20": (None, None), "from 5": (None, None), "free": (None, None), "5%": (None, None),
    "2024-05-01": (None, None), "12abc": (None, None), "1 29,00": (None, None), "3 for 5": (None, None), "1,2,3": (None, None),
    "12d": (None, None), "$5 €": (None, None), "19.90 EUR/kg": (None, None), "NaN": (None, None), "1,299": (None, None),
    "1.299": (None, None),
}  # fmt: skip


def test_prices(spark):
    table = spark.createDataFrame([(text,) for text in PRICES], "cell string")
    parts = table.select("cell", price_parts(F.col("cell")).alias("parts"))
    both = parts.select("cell", price_number(F.col("parts"), None).alias("n"), F.col("parts.currency").alias("c"))
    found = {row.cell: (row.n, row.c if row.n is not None else None) for row in both.collect()}
    assert found == {text: (number and pytest.approx(number), sign) for text, (number, sign) in PRICES.items()}


@pytest.mark.parametrize(
    ("others", "setting", "style", "dot", "comma"),
    [(["19,99", "5"], None, ",", 1299, 1.299), (["19.99"], None, ".", 1.299, 1299), (["5"], None, None, None, None),
     (["19,99", "5.00"], None, None, None, None), (["5"], ",", ",", 1299, 1.299), (["19,99"], ".", ".", 1.299, 1299)],
)  # fmt: skip
def test_thousands_or_decimals_follow_the_column(spark, others, setting, style, dot, comma):
    table = spark.createDataFrame([(text,) for text in others], "cell string").coalesce(1)
    assert price_style(table, F.col("cell"), CatalogueConfig(decimal=setting)) == style
    both = [price_number(price_parts(F.lit(text)), style) for text in ("1.299", "1,299")]
    row = spark.range(1).select(*both).first()
    assert tuple(row) == (dot, comma)


STOCK = {
    "in_stock": True, "In Stock": True, "instock": True, "out of stock": False, "OUT_OF_STOCK": False, "outofstock": False,
    "preorder": True, "pre-order": True, "onbackorder": True, "12": True, "0": False, "1.0": True, "0,0": False, "-3": False,
    "1": True, "yes": True, "N": False, "https://schema.org/InStock": True, "http://schema.org/OutOfStock": False,
    "sold out": False, "maybe": None, "12 pieces": None, "": None,
}  # fmt: skip


def test_stock_words(spark):
    config = CatalogueConfig()
    flag = stock_flag(F.col("cell"), config.in_stock_words, config.out_of_stock_words)
    table = spark.createDataFrame([(text,) for text in STOCK], "cell string")
    assert {row.cell: row.flag for row in table.select("cell", flag.alias("flag")).collect()} == STOCK


MISSING = ["no_selection", "NULL", "null", "\\N", "N/A", "nan", "None", "", "  ", "-", "<NA>"]


def test_missing_words(spark):
    table = spark.createDataFrame([(word,) for word in [*MISSING, " x "]], "cell string")
    words = CatalogueConfig().missing_words
    found = [row[0] for row in table.select(without_missing(F.col("cell"), words)).collect()]
    assert found == [None] * len(MISSING) + ["x"]
    assert spark.range(1).select(without_missing(F.lit("NULL"), ())).first()[0] == "NULL"


def _config(table, *overrides):
    return load_config(None, [f"catalogue.table={table}", *[f"catalogue.{o}" for o in overrides]]).catalogue


def _ingest(spark, config):
    rows = images_from(read_catalogue(spark, config), config).cache()
    counts = check_images(rows, config)
    rejected = sorted((r.line or 0, r.column, r.text) for r in rejected_rows(rows).collect())
    images = {(r.product_id, r.uri.rsplit("/", 1)[-1]): r for r in named_images(rows).collect()}
    rows.unpersist()
    return counts, images, rejected


def test_a_feed_with_words_of_its_own(spark, tmp_path, caplog):
    feed = (
        "id;image;kind;price;stock\nA;1.jpg, no_selection;NULL;1.299,00 €;in stock\nB;N/A;nan;19,99 €;0\n"
        "C;3.jpg;\\N;N/A;vergriffen\nD;4.jpg,5.jpg;tops;5,00 USD;12\nE;6.jpg;tops;1.299 €;\n"
    )
    (tmp_path / "feed.csv").write_text(feed)
    names = ("product_id=id", "category=kind", "price=price", "in_stock=stock")
    words = "out_of_stock_words=[vergriffen]"
    config = _config(tmp_path / "feed.csv", *[f"columns.{n}" for n in names], "image_separator=,", words)
    with caplog.at_level(logging.INFO, "vsspark"):
        counts, images, rejected = _ingest(spark, config)
    assert counts == {"products": 5, "images": 5, "products_without_image": 1}
    assert {name: (r.category, r.price, r.in_stock) for (_, name), r in images.items()} == {
        "1.jpg": (None, 1299, True), "3.jpg": (None, None, False), "4.jpg": ("tops", 5, True), "5.jpg": ("tops", 5, True),
        "6.jpg": ("tops", 1299, None),
    }  # fmt: skip
    assert images["D", "4.jpg"].attributes == {"currency": "USD"}
    assert not rejected
    assert "prices are in € (3 products), USD (1 products); they are compared" in caplog.text
    assert "separator semicolon" in caplog.text


@pytest.mark.parametrize("separator", [",", "#", "~", ":", "%", "||", " ", "|", ">", "null"])
def test_a_separator_on_the_command_line_is_the_character(separator):
    config = _config("t.csv", f"image_separator={separator}", "columns.product_id=no", "columns.name=1")
    assert config.image_separator == (None if separator == "null" else separator)
    assert (config.columns.product_id, config.columns.name) == ("no", "1")


def test_text_keys_take_quoted_yaml_too():
    assert _config("t.csv", "image_separator='|'").image_separator == "|"
    with pytest.raises(ConfigError, match=r"catalogue\.csv\.separator: got 'ab'.*one character"):
        _config("t.csv", "csv.separator=ab")


@pytest.mark.parametrize(
    ("overrides", "name", "uri"),
    [(["images_root=/photos"], "/p/0/p00.jpg", "/photos/p/0/p00.jpg"), ([], "/p/0/p00.jpg", "/p/0/p00.jpg"),
     (["images_root=s3a://shop/media"], "/p/0/p00.jpg", "s3a://shop/media/p/0/p00.jpg"),
     (["images_root=/photos"], "/photos/a.jpg", "/photos/a.jpg"), (["images_root=/photos"], "b.jpg", "/photos/b.jpg"),
     (["images_root=/photos", "leading_slash=disk"], "/p/a.jpg", "/p/a.jpg"),
     (["leading_slash=images_root"], "/p/a.jpg", "/shop/p/a.jpg"), (["images_root=/photos"], "s3a://b/a.jpg", "s3a://b/a.jpg"),
     (["images_root=/photos"], "//cdn/a.jpg", "//cdn/a.jpg")],
)  # fmt: skip
def test_names_with_a_leading_slash(spark, overrides, name, uri):
    assert spark.range(1).select(image_uri(F.lit(name), _config("/shop/t.csv", *overrides))).first()[0] == uri


def _parquet(tmp_path, **columns):
    folder = tmp_path / "shop [new] {1} *"
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), folder / "part.parquet")
    return folder


def test_parquet_of_pandas(spark, tmp_path, caplog):
    """Ids that became doubles, a column in nanoseconds that nobody needs, in a folder whose name could be a pattern."""
    when = pa.array([dt.datetime(2026, 1, 1)] * 3, pa.timestamp("ns"))
    folder = _parquet(
        tmp_path, product_id=[12345678.0, 2.0, None], image=["1.jpg", "2.jpg", None], seen=when, n=[1, 2, None]
    )
    with caplog.at_level(logging.INFO, "vsspark"):
        counts, images, rejected = _ingest(spark, _config(folder, "max_rejected_rows=1"))
    assert sorted(images) == [("12345678", "1.jpg"), ("2", "2.jpg")]
    assert images["2", "2.jpg"].attributes == {"n": "2"}
    assert "'seen'" in caplog.text
    assert "nanoseconds" in caplog.text
    assert counts["blank_rows"] == 1
    assert not rejected


@pytest.mark.parametrize("wrong", [1.5, 2.0**53, 1e300])
def test_ids_that_no_longer_say_what_they_were(spark, tmp_path, wrong):
    config = _config(_parquet(tmp_path, product_id=[1.0, wrong], image=["1.jpg", "2.jpg"]))
    with pytest.raises(SchemaError, match=r"columns\.product_id=product_id is double, and 1 ids are no whole numbers"):
        images_from(read_catalogue(spark, config), config)


def test_images_in_structs(spark, tmp_path):
    pictures = [[{"url": "1.jpg", "alt": "x"}, {"url": "2.jpg", "alt": None}], None]
    folder = _parquet(tmp_path, product_id=["A", "B"], image=pictures, main=[{"path": "m.jpg", "w": 1}] * 2)
    for column, expected in (("image", ["1.jpg", "2.jpg"]), ("image.url", ["1.jpg", "2.jpg"]), ("image.alt", ["x"]),
                             ("main", ["m.jpg", "m.jpg"]), ("main.path", ["m.jpg", "m.jpg"])):  # fmt: skip
        _, images, _ = _ingest(spark, _config(folder, f"columns.image={column}"))
        assert sorted(name for _, name in images) == expected


def test_images_that_are_no_names(spark, tmp_path):
    folder = _parquet(
        tmp_path, product_id=["A"], image=[b"\xff\xd8"], pair=[{"a": "1", "b": "2"}], real=[1.5], listed=[[b"x"]]
    )
    for column, message in (
        ("image", "is binary: pictures inside a table"), ("listed", "is array<binary>: pictures inside"),
        ("pair", r"name the field that holds paths, for example catalogue\.columns\.image=pair\.a"),
        ("real", "is double, expected paths"), ("pair.c", r"no such column: catalogue\.columns\.image=pair\.c"),
        ("Image", r"meant 'image'\?"),
    ):  # fmt: skip
        config = _config(folder, f"columns.image={column}")
        with pytest.raises(SchemaError, match=message):
            images_from(read_catalogue(spark, config), config)


def test_ids_that_a_spreadsheet_has_shortened(spark, tmp_path):
    (tmp_path / "feed.csv").write_text("product_id,image\n1.23457E+12,1.jpg\nB,2.jpg\n\\N,3.jpg\nC,4.jpg\nD,5.jpg\n")
    _, images, rejected = _ingest(spark, _config(tmp_path / "feed.csv"))
    assert sorted(images) == [("B", "2.jpg"), ("C", "4.jpg"), ("D", "5.jpg")]
    assert [(line, column) for line, column, _ in rejected] == [(2, "product_id"), (4, "product_id")]
