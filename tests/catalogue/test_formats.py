"""Feeds as shops hand them over: small ones made by hand after each format's public documentation."""

from __future__ import annotations

import json
import logging
import zipfile

import pytest

from vsspark.catalogue.checks import check_images, rejected_rows
from vsspark.catalogue.preview import preview
from vsspark.catalogue.sheet_feed import cell_text
from vsspark.catalogue.spark import images_from, named_images, read_catalogue
from vsspark.config import load_config
from vsspark.errors import ConfigError, DataQualityError, SchemaError

# help.shopify.com "Using CSV files": product columns on a product's first row alone; a variant a row.
SHOPIFY = """\
Handle,Title,Body (HTML),Vendor,Type,Tags,Published,Option1 Name,Option1 Value,Variant SKU,Variant Inventory Qty,\
Variant Price,Image Src,Image Position,Variant Image,Status
linen-shirt,Linen shirt,"<p>Soft, ""washed"" linen.</p>
<p>Two lines.</p>",Acme,Shirts,"summer, linen",TRUE,Size,S,LS-S,0,59.00,https://cdn.example/s1.jpg,1,,active
linen-shirt,,,,,,,,M,LS-M,4,59.00,https://cdn.example/s2.jpg,2,https://cdn.example/s1.jpg,
linen-shirt,,,,,,,,,,,,https://cdn.example/s3.jpg,3,,
wool-hat,Wool hat,,Acme,Hats,,TRUE,Title,Default Title,WH,0,19.50,https://cdn.example/h1.jpg,1,,active
gift-card,Gift card,,Acme,,,TRUE,,,GC,,10.00,,,,active
"""
# Adobe Commerce "Product attributes" export: paths below pub/media/catalog/product, a row per store view.
MAGENTO = """\
sku,store_view_code,product_type,categories,name,price,qty,is_in_stock,base_image,additional_images
MH01,,simple,"Default Category/Men/Tops,Default Category/Sale",Hoodie,52.0000,100,1,/m/h/mh01-main.jpg,"/m/h/mh01-main.jpg,/m/h/mh01-back.jpg"
MH01,de,,,Kapuzenpulli,,,,,
MH02,,simple,Default Category/Men/Tops,Tee,29.0000,0,0,no_selection,
"""
# WooCommerce "Product CSV Import Schema": image URLs separated by commas.
WOOCOMMERCE = """\
ID,Type,SKU,Name,Published,In stock?,Stock,Sale price,Regular price,Categories,Images,Parent
44,simple,woo-vneck,V-Neck Tee,1,1,,,"20","Clothing > Tshirts","https://shop.example/v1.jpg, https://shop.example/v2.jpg",
45,simple,woo-hoodie,Hoodie,1,backorder,,42,45,Clothing > Hoodies,https://shop.example/h.jpg,
46,simple,woo-cap,Cap,1,0,,,16,"Clothing > Accessories",,
"""
# Google Merchant Center "Product data specification": TSV without quoting, and RSS 2.0 with the g: namespace.
GOOGLE_TSV = (
    "id\ttitle\tdescription\tavailability\tprice\timage link\tadditional image link\tproduct type\n"
    'A1\t"Big Bang T-shirt\t12" print\tin_stock\t19.99 USD\thttps://x.example/a.jpg\thttps://x.example/b.jpg,https://x.example/c.jpg\tTops\n'
    'A2\t"C" line\tx\tpreorder\t1,299.00 USD\thttps://x.example/d.jpg\t\tDresses > Long\n'
    "A3\tHat\t\tout of stock\t5.00 USD\thttps://x.example/e.jpg\t\t\n"
)
GOOGLE_XML = """<?xml version="1.0"?>
<rss xmlns:g="http://base.google.com/ns/1.0" version="2.0"><channel><title>Shop</title><link>https://x.example</link>
<item>
<g:id>A1</g:id><title>Shirt &amp; tie</title><g:title>Shirt</g:title><g:availability>in_stock</g:availability>
<g:price>19.99 USD</g:price><g:image_link>https://x.example/a.jpg</g:image_link>
<g:additional_image_link>https://x.example/b.jpg</g:additional_image_link>
<g:additional_image_link>https://x.example/c.jpg</g:additional_image_link>
<g:product_type><![CDATA[Tops > Shirts]]></g:product_type><g:shipping><g:country>US</g:country><g:price>5 USD</g:price></g:shipping>
</item>
<item><g:id>A2</g:id><title>Hat</title><g:price>5.00 USD</g:price><g:image_link>https://x.example/d.jpg</g:image_link>
<g:additional_image_link>https://x.example/e.jpg</g:additional_image_link></item>
</channel></rss>"""


def _config(table, *overrides):
    return load_config(None, [f"catalogue.table={table}", *[f"catalogue.{o}" for o in overrides]]).catalogue


def _ingest(spark, config):
    """(counts, rows by (product, file name) in the products' order, [(line, text)] of the rejected rows)."""
    rows = images_from(read_catalogue(spark, config), config).cache()
    counts = check_images(rows, config)
    rejected = sorted((r.line or 0, r.text) for r in rejected_rows(rows).collect())
    found = sorted(named_images(rows).collect(), key=lambda r: (r.product_id, r.position))
    rows.unpersist()
    return counts, {(r.product_id, r.uri.rsplit("/", 1)[-1]): r for r in found}, rejected


def _write(tmp_path, name, text):
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return file


def test_shopify(spark, tmp_path):
    counts, rows, _ = _ingest(spark, _config(_write(tmp_path, "products_export.csv", SHOPIFY), "preset=shopify"))
    assert counts == {"products": 3, "images": 4, "products_without_image": 1, "repeated_images": 1}
    assert [(key, r.position, r.name, r.category, r.price, r.in_stock) for key, r in rows.items()] == [
        (("linen-shirt", "s1.jpg"), 0, "Linen shirt", "Shirts", 59, True),
        (("linen-shirt", "s2.jpg"), 1, "Linen shirt", "Shirts", 59, True),
        (("linen-shirt", "s3.jpg"), 2, "Linen shirt", "Shirts", 59, True),
        (("wool-hat", "h1.jpg"), 0, "Wool hat", "Hats", 19.5, False),
    ]
    assert rows["linen-shirt", "s1.jpg"].attributes["Body (HTML)"] == '<p>Soft, "washed" linen.</p>\n<p>Two lines.</p>'


@pytest.mark.parametrize("separator", [",", ";"])
def test_magento(spark, tmp_path, separator):
    text = MAGENTO
    if separator == ";":
        head, *lines = MAGENTO.splitlines()
        text = "\n".join([head.replace(",", ";"), *[_with_semicolons(line) for line in lines], ""])
    config = _config(
        _write(tmp_path, "catalog_product.csv", text), "preset=magento", "images_root=s3a://shop/media/product"
    )
    counts, rows, _ = _ingest(spark, config)
    assert counts == {"products": 2, "images": 2, "products_without_image": 1, "repeated_images": 1}
    assert [(r.uri, r.position, r.name, r.price, r.in_stock) for r in rows.values()] == [
        ("s3a://shop/media/product/m/h/mh01-main.jpg", 0, "Hoodie", 52, True),
        ("s3a://shop/media/product/m/h/mh01-back.jpg", 1, "Hoodie", 52, True),
    ]


def _with_semicolons(line):
    parts = line.split('"')
    return '"'.join(part if i % 2 else part.replace(",", ";") for i, part in enumerate(parts))


def test_woocommerce(spark, tmp_path):
    counts, rows, _ = _ingest(spark, _config(_write(tmp_path, "wc.csv", WOOCOMMERCE), "preset=woocommerce"))
    assert counts == {"products": 3, "images": 3, "products_without_image": 1}
    assert [(key, r.position, r.category, r.price, r.in_stock) for key, r in rows.items()] == [
        (("44", "v1.jpg"), 0, "Clothing > Tshirts", 20, True), (("44", "v2.jpg"), 1, "Clothing > Tshirts", 20, True),
        (("45", "h.jpg"), 0, "Clothing > Hoodies", 45, True),
    ]  # fmt: skip


def test_google_merchant_tsv(spark, tmp_path):
    config = _config(_write(tmp_path, "feed.txt", GOOGLE_TSV), "preset=google_merchant")
    counts, rows, _ = _ingest(spark, config)
    assert counts == {"products": 3, "images": 5, "products_without_image": 0}
    assert [(key, r.name, r.category, r.price, r.in_stock) for key, r in rows.items()] == [
        *[(("A1", f"{n}.jpg"), '"Big Bang T-shirt', "Tops", 19.99, True) for n in "abc"],
        (("A2", "d.jpg"), '"C" line', "Dresses > Long", 1299, True), (("A3", "e.jpg"), "Hat", None, 5, False),
    ]  # fmt: skip
    assert rows["A2", "d.jpg"].attributes["currency"] == "USD"


def test_google_merchant_xml(spark, tmp_path):
    counts, rows, _ = _ingest(spark, _config(_write(tmp_path, "feed.xml", GOOGLE_XML), "preset=google_merchant"))
    assert counts == {"products": 2, "images": 5, "products_without_image": 0}
    assert [(key, r.name, r.category, r.price, r.in_stock) for key, r in rows.items()] == [
        *[(("A1", f"{n}.jpg"), "Shirt", "Tops > Shirts", 19.99, True) for n in "abc"],
        *[(("A2", f"{n}.jpg"), "Hat", None, 5, None) for n in "de"],
    ]
    assert rows["A1", "a.jpg"].attributes["rss:title"] == "Shirt & tie"
    for text, message in ((GOOGLE_XML[:-40], "no well-formed XML.*line 1"), ("<rss/>", "has no <item> or <entry>")):
        with pytest.raises(Exception, match=message):
            read_catalogue(spark, _config(_write(tmp_path, "broken.xml", text)))


def test_json_lines(spark, tmp_path):
    lines = [
        {"id": 12345678901, "pics": [{"url": "1.jpg"}, {"url": "2.jpg"}], "price": {"amount": 19.90}, "ok": True},
        {"id": "B", "pics": [{"url": "3.jpg"}], "price": {"amount": "5,00 €"}, "ok": False, "note": "x\ny"},
        {"id": "C", "pics": None},
    ]
    text = "\n".join(map(json.dumps, lines)) + '\n\n{"id": "D", \n[1]\n' + '{"id": "E", "pics": [{"url": "4.jpg"}]}'
    names = ("product_id=id", "image=pics.url", "price=price.amount", "in_stock=ok")
    config = _config(_write(tmp_path, "feed.jsonl", text), *[f"columns.{name}" for name in names])
    counts, rows, rejected = _ingest(spark, config)
    assert counts == {
        "products": 4, "images": 4, "products_without_image": 1, "rejected_rows": 2, "blank_rows": 1,
    }  # fmt: skip
    assert rejected == [(5, '{"id": "D", '), (6, "[1]")]
    assert [(key, r.price, r.in_stock) for key, r in rows.items()] == [
        (("12345678901", "1.jpg"), 19.9, True), (("12345678901", "2.jpg"), 19.9, True), (("B", "3.jpg"), 5, False),
        (("E", "4.jpg"), None, None),
    ]  # fmt: skip
    assert rows["B", "3.jpg"].attributes["note"] == "x\ny"


def test_a_json_list(spark, tmp_path):
    rows = [{"product_id": 7, "image": "a.jpg", "n": 1.50}, {"product_id": 8, "image": "b.jpg"}]
    config = _config(_write(tmp_path, "feed.json", json.dumps(rows, indent=1)))
    assert sorted(_ingest(spark, config)[1]) == [("7", "a.jpg"), ("8", "b.jpg")]


def _workbook(file, sheets):
    """Writes a workbook: {sheet name: rows of texts, numbers or None}."""

    def cell(column, row, value):
        place = f'r="{chr(65 + column)}{row}"'
        if isinstance(value, str):
            return f'<c {place} t="inlineStr"><is><t>{value}</t></is></c>'
        return "" if value is None else f"<c {place}><v>{value}</v></c>"

    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    with zipfile.ZipFile(file, "w") as archive:
        kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
        parts = "".join(
            f'<Override PartName="/xl/worksheets/sheet{i}.xml" ContentType="{kind}.worksheet+xml"/>'
            for i in range(len(sheets))
        )
        archive.writestr(
            "[Content_Types].xml",
            '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
            '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>{parts}</Types>',
        )
        rels = 'xmlns="http://schemas.openxmlformats.org/package/2006/relationships"'
        archive.writestr(
            "_rels/.rels",
            f'<Relationships {rels}><Relationship Id="r" Type="{relation}/officeDocument" Target="xl/workbook.xml"/>'
            "</Relationships>",
        )
        names = "".join(f'<sheet name="{n}" sheetId="{i + 1}" r:id="s{i}"/>' for i, n in enumerate(sheets))
        archive.writestr(
            "xl/workbook.xml", f'<workbook {main} xmlns:r="{relation}"><sheets>{names}</sheets></workbook>'
        )
        links = "".join(
            f'<Relationship Id="s{i}" Type="{relation}/worksheet" Target="worksheets/sheet{i}.xml"/>'
            for i in range(len(sheets))
        )
        archive.writestr("xl/_rels/workbook.xml.rels", f"<Relationships {rels}>{links}</Relationships>")
        for i, rows in enumerate(sheets.values()):
            lines = "".join(
                f'<row r="{y}">' + "".join(cell(x, y, value) for x, value in enumerate(row)) + "</row>"
                for y, row in enumerate(rows, 1)
            )
            archive.writestr(
                f"xl/worksheets/sheet{i}.xml", f"<worksheet {main}><sheetData>{lines}</sheetData></worksheet>"
            )
    return file


def test_a_workbook(spark, tmp_path):
    rows = [
        [], ["product_id", "image", "cost"], [12345678, "1.jpg", 19.99], ["B", "2.jpg", "19,99 €"], [], [None, "3.jpg", 1],
        [9, "4.jpg", None],
    ]  # fmt: skip
    file = _workbook(tmp_path / "shop.xlsx", {"Intro": [["hello"]], "Products": rows})
    counts, found, rejected = _ingest(spark, _config(file, "sheet=Products", "columns.price=cost"))
    assert counts == {
        "products": 3, "images": 3, "products_without_image": 0, "rejected_rows": 1, "blank_rows": 1,
    }  # fmt: skip
    assert {key: r.price for key, r in found.items()} == {
        ("12345678", "1.jpg"): 19.99, ("B", "2.jpg"): 19.99, ("9", "4.jpg"): None,
    }  # fmt: skip
    assert rejected[0][0] == 6
    with pytest.raises(ConfigError, match=r"catalogue\.sheet: got 'Produkte'.*'Intro', 'Products'"):
        read_catalogue(spark, _config(file, "sheet=Produkte"))
    with pytest.raises(ConfigError, match="cannot be read as a workbook"):
        read_catalogue(spark, _config(_write(tmp_path, "no.xlsx", "product_id,image\n")))


@pytest.mark.parametrize(
    ("cell", "text"), [(1.0, "1"), (1.5, "1.5"), (2.0**60, "1.152921504606847e+18"), (True, "true")]
)
def test_cells_of_a_workbook(cell, text):
    assert cell_text(cell) == text


def test_a_sql_table(spark, tmp_path):
    url = f"jdbc:derby:{tmp_path}/db;create=true"
    rows = spark.createDataFrame([("A", "1.jpg", 5), ("B", "2.jpg", 6)], "product_id string, image string, price int")
    rows.write.format("jdbc").options(url=url, dbtable="shop", createTableColumnTypes="product_id varchar(9)").save()
    # Derby keeps the case of names that Spark has quoted.
    for query in ("shop", 'SELECT "product_id", "image", "price" FROM shop'):
        config = _config(url, f"query={query}", "images_root=/photos", "columns.price=price")
        assert {key: r.price for key, r in _ingest(spark, config)[1].items()} == {("A", "1.jpg"): 5, ("B", "2.jpg"): 6}
    with pytest.raises(ConfigError, match=r"catalogue\.query: needed"):
        read_catalogue(spark, _config(url))
    with pytest.raises(ConfigError, match=r"catalogue\.images_root: needed"):
        images_from(read_catalogue(spark, config), _config(url, "query=shop"))


def test_a_table_of_the_metastore(spark):
    spark.sql("CREATE DATABASE IF NOT EXISTS feeds")
    rows = spark.createDataFrame([("A", "1.jpg")], "product_id string, image string")
    rows.write.mode("overwrite").saveAsTable("feeds.shop", format="parquet")
    for name in ("feeds.shop", "spark_catalog.feeds.shop"):
        assert sorted(_ingest(spark, _config(name, "format=table", "images_root=/photos"))[1]) == [("A", "1.jpg")]
    assert read_catalogue(spark, _config("feeds.shop")).count() == 1


def _preview(spark, config):
    said = []
    return said, lambda: preview(spark, config, said.append)


def test_a_check_says_what_was_understood(spark, tmp_path):
    bad = "X1;9.jpg;kaputt;Hut\nX2;\n"
    good = "".join(f"P{i};{i}.jpg;{i},99 €;Röcke\n" for i in range(30))
    config = _config(_write(tmp_path, "feed.csv", "sku;foto;preis;art\n" + good + bad),
                     "columns.product_id=sku", "columns.image=foto", "columns.price=preis")  # fmt: skip
    said, run = _preview(spark, config)
    run()
    text = "\n".join(said)
    for part in (
        "separator semicolon", "'foto'", "price", "0,99 €", "/0.jpg  ", "kaputt", "32 ", "2 fields, the header has 4",
        "30 products", "30 images", "2 rejected rows", "prices are in €", "nothing was written",
    ):  # fmt: skip
        assert part in text
    assert not logging.getLogger("vsspark").handlers or logging.getLogger("vsspark").propagate is not None


def test_a_check_of_a_feed_whose_columns_nobody_has_named(spark, tmp_path):
    said, run = _preview(spark, _config(_write(tmp_path, "export.csv", SHOPIFY)))
    with pytest.raises(SchemaError, match="no such column"):
        run()
    text = "\n".join(said)
    for part in ("catalogue.preset=shopify", "'Image Src'", "columns.product_id=Handle", "columns.image=Image Src"):
        assert part in text


def test_a_check_of_a_feed_that_would_be_refused(spark, tmp_path):
    said, run = _preview(spark, _config(_write(tmp_path, "feed.csv", "product_id,image\nA,1.jpg\nB\nC\n")))
    with pytest.raises(DataQualityError, match="2 of 3 rows"):
        run()
    assert any("exit 2" in line for line in said)
    assert any(line.strip().startswith("3 ") and "1 fields" in line for line in said)
