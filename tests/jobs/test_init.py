"""`vsspark init`: the file it writes is one that the jobs run with."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from shops import REPO, draw_shop

from jobs import ingest, init
from vsspark.config import load_config
from vsspark.job.cli import main

PLAIN = "Artikel-Nr.;Bild;Bezeichnung;Warengruppe;Preis (EUR);Bestand;Farbe\n" + "".join(
    f"A{i};bild-{i}.jpg;Mantel {i};Mäntel;{i}99,50 €;{i};rot\n" for i in range(1, 6)
)
SHOPIFY = """\
Handle,Title,Body (HTML),Type,Variant SKU,Variant Inventory Qty,Variant Price,Image Src,Variant Image,Status
linen-shirt,Linen shirt,"<p>Soft, ""washed"" linen.</p>",Shirts,LS-S,0,59.00,https://cdn.example/s1.jpg,,active
linen-shirt,,,,LS-M,4,59.00,https://cdn.example/s2.jpg,https://cdn.example/s1.jpg,
wool-hat,Wool hat,,Hats,WH,0,19.50,https://cdn.example/h1.jpg,,active
"""
MERCHANT = (
    "id\ttitle\tavailability\tprice\timage link\tadditional image link\tproduct type\n"
    'A1\t"Big Bang T-shirt\tin_stock\t19.99 USD\thttps://x.example/a.jpg\thttps://x.example/b.jpg\tTops\n'
    'A2\t12" print\tpreorder\t1,299.00 USD\thttps://x.example/d.jpg\t\tTops\n'
)


def _init(tmp_path, capsys, name, text, *more, code=0):
    """(the configuration that is written for a feed, the file's text, what was printed)."""
    feed, output = tmp_path / name, tmp_path / "shop.yaml"
    feed.write_text(text, encoding="utf-8")
    capsys.readouterr()
    assert init.main([str(feed), "--output", str(output), *more]) == code
    said = capsys.readouterr().out
    return load_config(output).catalogue, output.read_text(encoding="utf-8"), said


def _checked(tmp_path, capsys, code=0):
    """What `ingest --check` says of the written file."""
    capsys.readouterr()
    assert ingest.main(["--config", str(tmp_path / "shop.yaml"), "--check"]) == code
    caught = capsys.readouterr()
    return caught.out if code == 0 else caught.err


def test_a_feed_of_no_known_system(spark, tmp_path, capsys):
    (tmp_path / "bilder").mkdir()
    (tmp_path / "bilder" / "bild-3.jpg").touch()
    catalogue, text, said = _init(tmp_path, capsys, "feed.csv", PLAIN)
    assert catalogue.columns.model_dump() == {
        "product_id": "Artikel-Nr.", "image": "Bild", "name": "Bezeichnung", "category": "Warengruppe",
        "price": "Preis (EUR)", "in_stock": "Bestand", "currency": None, "brand": None,
        "group": None, "box": None,
    }  # fmt: skip
    assert catalogue.csv.separator == ";"
    assert catalogue.preset is None
    assert catalogue.images_root == f"{tmp_path}/bilder"
    assert "    # box: COLUMN  # no column looks like it; where the product is in its picture\n" in text
    assert "# 1 of the first 5 pictures are there" in text
    assert "# carried along in images.attributes: the feed has the columns 'Farbe'" in text
    assert f"vsspark recommend --config {tmp_path}/shop.yaml" in said
    checked = _checked(tmp_path, capsys)
    assert "5 products, 5 images" in checked
    assert f"{tmp_path.name}/bilder/bild-1.jpg"[-20:] in checked


@pytest.mark.parametrize(
    ("name", "text", "preset", "counts"),
    [
        ("products_export.csv", SHOPIFY, "shopify", "2 products, 3 images"),
        ("merchant.tsv", MERCHANT, "google_merchant", "2 products, 3 images"),
    ],
)
def test_a_feed_with_a_preset(spark, tmp_path, capsys, name, text, preset, counts):
    catalogue, written, said = _init(tmp_path, capsys, name, text)
    assert catalogue.preset == preset
    assert "columns:" not in written
    assert "https://" in said
    assert "fetched from the web" in said
    assert counts in _checked(tmp_path, capsys)


def test_a_feed_whose_columns_say_nothing(spark, tmp_path, capsys):
    catalogue, text, said = _init(tmp_path, capsys, "feed.csv", 'a,"b #: x"\n1,rot\n2,blau\n')
    assert (catalogue.columns.product_id, catalogue.columns.image) == ("CHANGE_ME", "CHANGE_ME")
    assert text.count("the feed has the columns 'a', 'b #: x'") == 2
    assert "set catalogue.columns.product_id" in said
    assert "set catalogue.columns.image" in said
    assert "columns.product_id=CHANGE_ME" in _checked(tmp_path, capsys, code=2)


def test_an_empty_feed(spark, tmp_path, capsys):
    _, text, said = _init(tmp_path, capsys, "feed.csv", "")
    assert "the feed has no columns" in text
    assert "set catalogue.columns.image" in said


def test_a_table_of_the_metastore_has_no_folder(spark, tmp_path, capsys):
    spark.sql("SELECT 7L AS id, 'a.jpg' AS image").createOrReplaceTempView("new_shop")
    output = tmp_path / "shop.yaml"
    arguments = ["new_shop", "--set", "catalogue.format=table", "--output", str(output)]
    assert init.main(arguments) == 0
    assert "set catalogue.images_root" in capsys.readouterr().out
    assert "catalogue.images_root: needed" in _checked(tmp_path, capsys, code=2)
    assert init.main([*arguments, "--images", "photos", "--force"]) == 0
    assert "1 products, 1 images" in _checked(tmp_path, capsys)


def test_a_column_that_the_job_cannot_read_is_left_out(spark, tmp_path, capsys):
    feed = "sku,photo,price,stock\n" + "".join(f"P{i},{i}.jpg,1.{i}99,soon\n" for i in range(1, 9))
    catalogue, text, said = _init(tmp_path, capsys, "feed.csv", feed)
    assert (catalogue.columns.price, catalogue.columns.in_stock) == (None, None)
    assert "catalogue.decimal" in text
    assert "'soon'" in said
    assert "8 products" in _checked(tmp_path, capsys)
    again, _, _ = _init(tmp_path, capsys, "feed.csv", feed, "--force", "--set", "catalogue.decimal=,")
    assert (again.columns.price, again.decimal) == ("price", ",")


def test_what_a_preset_takes_is_left_out_where_the_job_cannot_read_it(spark, tmp_path, capsys):
    catalogue, _, _ = _init(tmp_path, capsys, "shop.csv", SHOPIFY.replace("59.00", "ask").replace("19.50", "ask"))
    assert (catalogue.preset, catalogue.columns.price, catalogue.columns.name) == ("shopify", None, "Title")
    assert "2 products" in _checked(tmp_path, capsys)


def test_several_images_a_product(spark, tmp_path, capsys):
    feed = "sku,photos,photo_2,thumbnail\nA,a.jpg|b.jpg,c.jpg,t.jpg\nB,d.jpg,,u.jpg\n"
    catalogue, _, _ = _init(tmp_path, capsys, "feed.csv", feed)
    assert (catalogue.columns.image, catalogue.more_images, catalogue.image_separator) == ("photos", ("photo_2",), "|")
    assert "2 products, 4 images" in _checked(tmp_path, capsys)


def test_json_with_boxes(spark, tmp_path, capsys):
    rows = [{"id": i, "image": {"url": f"{i}.jpg", "width": 9}, "bbox": [0, 0, 5, 5]} for i in range(3)]
    catalogue, _, _ = _init(tmp_path, capsys, "feed.jsonl", "\n".join(map(json.dumps, rows)))
    assert (catalogue.columns.image, catalogue.columns.box) == ("image", "bbox")
    assert "3 products, 3 images" in _checked(tmp_path, capsys)


def test_what_the_user_has_given_is_not_guessed(spark, tmp_path, capsys):
    feed = "id;sku;photo\n1;A;a.jpg\n2;B;b.jpg\n"
    catalogue, text, _ = _init(
        tmp_path, capsys, "feed.csv", feed, "--images", "there",
        "--set", "catalogue.columns.product_id=id", "--set", "catalogue.csv.encoding=cp1252",
    )  # fmt: skip
    assert (catalogue.columns.product_id, catalogue.csv.encoding) == ("id", "cp1252")
    assert catalogue.images_root == "there"
    assert "0 of the first 2 pictures are there" in text


def test_a_file_is_overwritten_with_force_alone(spark, tmp_path, capsys):
    output = tmp_path / "shop.yaml"
    output.write_text("knn: {k: 7}\n")
    (tmp_path / "feed.csv").write_text("sku,photo\nA,a.jpg\n")
    arguments = ["init", f"{tmp_path}/feed.csv", "--output", str(output)]
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"init: --output: {output} exists and stays as it is; --force overwrites it\n"
    assert output.read_text() == "knn: {k: 7}\n"
    assert main([*arguments, "--force"]) == 0
    assert load_config(output).catalogue.columns.product_id == "sku"


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (["nowhere.csv"], "nowhere.csv cannot be read"),
        (["s3a://me:canary@shop/feed.csv"], "with a password in it"),
        (["feed.csv", "--output", "nowhere/shop.yaml"], "nowhere is no folder"),
        ([], "the following arguments are required: FEED"),
    ],
)
def test_what_ends_it(spark, tmp_path, capsys, monkeypatch, own, said):
    monkeypatch.chdir(tmp_path)
    assert init.main(own) == 2
    caught = capsys.readouterr()
    assert said in caught.err
    assert "canary" not in caught.err
    assert not (tmp_path / "conf.yaml").exists()


@pytest.mark.slow
def test_a_run_with_the_written_file(tmp_path):
    """As a newcomer types it: two commands in the shop's folder."""
    draw_shop(tmp_path / "shop", products=6)
    for command in (["init", "shop/catalogue.csv"], ["recommend", "--config", "conf.yaml", "--set", "recommend.k=3"]):
        process = subprocess.run(
            [sys.executable, "-m", "vsspark", *command],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(REPO)},
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert process.returncode == 0, process.stdout + process.stderr
    assert (tmp_path / "build" / "catalogue-out" / "similar_products" / "_delta_log").is_dir()
