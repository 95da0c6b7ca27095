"""Feeds through Spark: what becomes of rows that cannot be used, of blank ones, of images listed twice."""

from __future__ import annotations

import bz2
import gzip
import logging
import lzma

import pytest

from vsspark.catalogue import csv_chunks
from vsspark.catalogue.checks import check_images, rejected_rows
from vsspark.catalogue.spark import images_from, named_images, read_catalogue
from vsspark.config import load_config
from vsspark.errors import DataQualityError, SchemaError


def _config(table, *overrides):
    return load_config(None, [f"catalogue.table={table}", *[f"catalogue.{o}" for o in overrides]]).catalogue


def _ingest(spark, config):
    """(counts, rows by (product, file name), [(line, column, text)] of the rejected rows)."""
    rows = images_from(read_catalogue(spark, config), config).cache()
    counts = check_images(rows, config)
    rejected = sorted((r.line or 0, r.column, r.text) for r in rejected_rows(rows).collect())
    images = {(r.product_id, r.uri.rsplit("/", 1)[-1]): r for r in named_images(rows).collect()}
    rows.unpersist()
    return counts, images, rejected


def _write(tmp_path, content, name="feed.csv"):
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def test_rows_that_cannot_be_used_are_set_aside_and_said(spark, tmp_path, caplog):
    good = "".join(f"P{i},{i}.jpg,1{i}.50,yes,blue\n" for i in range(20))
    bad = "Q1,a.jpg,cheap,yes,\nQ2,b.jpg,1,maybe,\n ,c.jpg,1,yes,\nQ4,d, e.jpg,1,yes,\nQ5,f.jpg\n"
    file = _write(tmp_path, "product_id,image,cost,stock,colour\n" + good + bad + ",,,,\n\n")
    with caplog.at_level(logging.INFO, "vsspark"):
        counts, images, rejected = _ingest(spark, _config(file, "columns.price=cost", "columns.in_stock=stock"))
    assert counts == {"products": 20, "images": 20, "products_without_image": 0, "rejected_rows": 5, "blank_rows": 2}
    assert len(images) == 20
    assert [(line, column) for line, column, _ in rejected] == [
        (22, "cost"), (23, "stock"), (24, "product_id"), (25, None), (26, None),
    ]  # fmt: skip
    assert [text for _, _, text in rejected][:2] == ["cheap", "maybe"]
    assert rejected[3][2] == "Q4,d, e.jpg,1,yes,"
    for part in (
        "5 of 25 rows",
        "line 22: 'cheap'",
        "line 26: 'Q5,f.jpg'",
        "2 fields, the header has 5",
        "2 blank rows",
    ):
        assert part in caplog.text


@pytest.mark.parametrize(
    ("bad", "limits", "refused"),
    [(3, [], False), (11, [], True), (11, ["max_rejected=0.2"], False), (3, ["max_rejected_rows=2"], True),
     (3, ["max_rejected_rows=2", "max_rejected=0.1"], False)],
)  # fmt: skip
def test_more_rejected_rows_than_the_limits_allow(spark, tmp_path, bad, limits, refused):
    rows = "".join(f"P{i},{i}.jpg\n" for i in range(60)) + "short\n" * bad
    config = _config(_write(tmp_path, "product_id,image\n" + rows), *limits)
    if not refused:
        assert _ingest(spark, config)[0]["rejected_rows"] == bad
        return
    with pytest.raises(DataQualityError, match=rf"{bad} of {60 + bad} rows.*line 62: 'short'.*catalogue\.max_rejected"):
        _ingest(spark, config)


def test_one_image_for_every_size_of_a_product(spark, tmp_path, caplog):
    feed = "product_id,image,size,price,stock\nA,1.jpg,S,10,no\nA,1.jpg,M,11,yes\nA,2.jpg,M,11,no\nB,1.jpg,S,5,no\n"
    config = _config(_write(tmp_path, feed), "columns.price=price", "columns.in_stock=stock")
    with caplog.at_level(logging.INFO, "vsspark"):
        counts, images, _ = _ingest(spark, config)
    assert counts == {"products": 2, "images": 3, "products_without_image": 0, "repeated_images": 1}
    assert {key: (r.position, r.price, r.in_stock) for key, r in images.items()} == {
        ("A", "1.jpg"): (0, 10, True), ("A", "2.jpg"): (1, 11, True), ("B", "1.jpg"): (0, 5, False),
    }  # fmt: skip
    assert "1 images are listed more than once" in caplog.text
    feed = "product_id,image\nA,1.jpg|2.jpg|1.jpg\nB,3.jpg\n"
    counts, images, _ = _ingest(spark, _config(_write(tmp_path, feed), "image_separator=|"))
    assert (counts["images"], counts["repeated_images"]) == (3, 1)


def test_the_values_of_a_product_hold_for_all_its_rows(spark, tmp_path):
    feed = "handle,image,title,type,price,stock\na,1.jpg,Shirt,tops,9,1\na,2.jpg,,,,\na,3.jpg,,,,\nb,4.jpg,,,,\n"
    names = ("product_id=handle", "name=title", "category=type", "price=price", "in_stock=stock")
    _, images, _ = _ingest(spark, _config(_write(tmp_path, feed), *[f"columns.{name}" for name in names]))
    values = {key: (r.name, r.category, r.price, r.in_stock, r.position) for key, r in images.items()}
    assert values == {
        ("a", "1.jpg"): ("Shirt", "tops", 9, True, 0), ("a", "2.jpg"): ("Shirt", "tops", 9, True, 1),
        ("a", "3.jpg"): ("Shirt", "tops", 9, True, 2), ("b", "4.jpg"): (None, None, None, None, 0),
    }  # fmt: skip


def test_a_feed_that_many_tasks_read(spark, tmp_path, monkeypatch):
    monkeypatch.setattr(csv_chunks, "CHUNK", 700)
    rows = [f'P{i},{i}.jpg,"line\nof {i}, ""x"""' if i % 3 else f"P{i},{i}.jpg,é{i}" for i in range(200)]
    rows[77] = "short,row"
    text = "product_id,image,about\r\n" + "\r\n".join(rows) + "\n"
    table = read_catalogue(spark, _config(_write(tmp_path, text)))
    assert table.rdd.getNumPartitions() > 5
    config = _config(tmp_path / "feed.csv")
    counts, images, rejected = _ingest(spark, config)
    assert counts == {"products": 199, "images": 199, "products_without_image": 0, "rejected_rows": 1}
    assert images["P100", "100.jpg"].attributes == {"about": 'line\nof 100, "x"'}
    line = 1 + text.split("\n").index("short,row\r")
    assert rejected == [(line, None, "short,row")]


@pytest.mark.parametrize(("ending", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
def test_a_feed_that_is_compressed(spark, tmp_path, ending, pack):
    file = _write(tmp_path, pack(b"product_id;image\nA;1.jpg\nB;2.jpg\n"), f"feed.csv.{ending}")
    assert sorted(_ingest(spark, _config(file))[1]) == [("A", "1.jpg"), ("B", "2.jpg")]


def test_a_folder_of_feeds_with_odd_names(spark, tmp_path):
    folder = tmp_path / "a [b] {c} *.csv"
    folder.mkdir()
    _write(folder, "product_id,image\nA,1.jpg\n", "part-0.csv")
    _write(folder, "\ufeffproduct_id,image\nB,2.jpg\nshort\n", "part-1.csv")
    _write(folder, "", "_SUCCESS")
    _, images, rejected = _ingest(spark, _config(folder, "images_root=/photos"))
    assert sorted(images) == [("A", "1.jpg"), ("B", "2.jpg")]
    assert rejected == [(3, None, "short")]
    _write(folder, "product_id,picture\nC,3.jpg\n", "part-2.csv")
    with pytest.raises(SchemaError, match=r"part-2\.csv has the columns 'product_id', 'picture'.*part-0\.csv has"):
        _ingest(spark, _config(folder))


def test_columns_of_one_name(spark, tmp_path, caplog):
    _, images, _ = _ingest(spark, _config(_write(tmp_path, "product_id,image,tag,Tag,\nA,1.jpg,x,y,z\n")))
    assert images["A", "1.jpg"].attributes == {"tag": "x", "Tag (4)": "y", "column 5": "z"}
    assert "two columns are called 'Tag'" in caplog.text
