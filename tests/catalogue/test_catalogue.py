from __future__ import annotations

import pytest

from vsspark.catalogue.checks import check_images
from vsspark.catalogue.spark import images_from, named_images, read_catalogue
from vsspark.catalogue.uris import leads_outside
from vsspark.config import load_config
from vsspark.errors import ConfigError, DataQualityError, SchemaError


def _config(table, *overrides):
    return load_config(None, [f"catalogue.table={table}", *[f"catalogue.{o}" for o in overrides]]).catalogue


def _ingest(spark, config):
    table = read_catalogue(spark, config)
    rows = images_from(table, config)
    counts = check_images(rows, config)
    return counts, {(r.product_id, r.uri.rsplit("/", 1)[-1]): r for r in named_images(rows).collect()}


def _csv(tmp_path, text):
    file = tmp_path / "catalogue.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_csv_with_its_own_column_names(spark, tmp_path):
    file = _csv(
        tmp_path,
        "sku,photo,kind,cost,stock,colour\nA,a 1.jpg,dress,19.90,yes,red\n"
        'A,a%20#2.jpg,dress,19.90,yes,"dark,\nred"\nB,größe.png,,,no,\n',
    )
    columns = [
        f"columns.{p}" for p in ("product_id=sku", "image=photo", "category=kind", "price=cost", "in_stock=stock")
    ]
    counts, rows = _ingest(spark, _config(file, *columns))
    assert counts == {"products": 2, "images": 3, "products_without_image": 0}
    first, second, third = rows["A", "a 1.jpg"], rows["A", "a%20#2.jpg"], rows["B", "größe.png"]
    assert (first.uri, first.position, first.category, first.price, first.in_stock) == (
        f"{tmp_path}/a 1.jpg",
        0,
        "dress",
        19.90,
        True,
    )
    assert (second.position, second.attributes) == (1, {"colour": "dark,\nred"})
    assert (third.category, third.price, third.in_stock) == (None, None, False)
    assert len({r.image_id for r in rows.values()}) == 3
    assert all(r.image_id >= 0 for r in rows.values())


@pytest.mark.parametrize("kind", ["parquet", "delta"])
def test_a_table_with_a_list_of_images_per_product(spark, tmp_path, kind):
    source = spark.createDataFrame(
        [(1, ["x.jpg", None, "y.jpg"], 5.0), (2, [], 6.0), (3, None, 7.0)], "id int, pics array<string>, price double"
    )
    source.write.format(kind).save(f"{tmp_path}/shop")
    config = _config(
        f"{tmp_path}/shop",
        "columns.product_id=id",
        "columns.image=pics",
        "columns.price=price",
        "images_root=s3a://bucket/photos/",
    )
    counts, rows = _ingest(spark, config)
    assert counts == {"products": 3, "images": 2, "products_without_image": 2}
    assert {r.uri: r.position for r in rows.values()} == {
        "s3a://bucket/photos/x.jpg": 0,
        "s3a://bucket/photos/y.jpg": 1,
    }


def test_a_text_cell_that_names_several_images(spark, tmp_path):
    config = _config(_csv(tmp_path, "product_id,image\nA,1.jpg| 2.jpg |\nB,/abs/3.jpg\n"), "image_separator=|")
    counts, rows = _ingest(spark, config)
    assert counts["images"] == 3
    assert rows["B", "3.jpg"].uri == "/abs/3.jpg"
    assert rows["A", "2.jpg"].uri == f"{tmp_path}/2.jpg"


BOXES = {
    "12 30 200 400": "12 30 200 400",
    "12,30,200,400": "12 30 200 400",
    " [12, 30, 200, 400] ": "12 30 200 400",
    "(12; 30; 200; 400)": "12 30 200 400",
    "12.6 30.5 199.2 400.0": "12 30 200 400",  # whole pixels, the fractions belong to the box
    "-3.5 0 +1e2 40": "-4 0 100 40",
    "": None,
    "  ": None,
    "none": "none",  # what is no box is kept as it is: the image is set aside with it
    "12 30 200": "12 30 200",
    "12 30 200 400 5": "12 30 200 400 5",
    "12d 30 200 NaN": "12d 30 200 NaN",
}


def test_boxes_as_text(spark, tmp_path):
    lines = [f'P{i:02d},{i}.jpg,"{text}"' for i, text in enumerate(BOXES)]
    _, rows = _ingest(
        spark, _config(_csv(tmp_path, "product_id,image,frame\n" + "\n".join(lines) + "\n"), "columns.box=frame")
    )
    assert {name: row.box for (_, name), row in rows.items()} == {
        f"{i}.jpg": box for i, box in enumerate(BOXES.values())
    }
    assert all(row.attributes is None for row in rows.values())


@pytest.mark.parametrize("kind", ["array<int>", "array<float>", "array<decimal(9,2)>", "array<string>"])
def test_boxes_as_arrays(spark, tmp_path, kind):
    rows = [
        ("A", "1.jpg", [12, 30, 200, 400]),
        ("B", "2.jpg", None),
        ("C", "3.jpg", []),
        ("D", "4.jpg", [1, 2, 3]),
        ("E", "5.jpg", [None, 1, 2, 3]),
    ]
    source = spark.createDataFrame(rows, "product_id string, image string, box array<int>")
    source.selectExpr("product_id", "image", f"CAST(box AS {kind}) AS box").write.parquet(f"{tmp_path}/shop")
    _, found = _ingest(spark, _config(f"{tmp_path}/shop", "columns.box=box"))
    boxes = {name: row.box for (_, name), row in found.items()}
    assert (boxes["1.jpg"], boxes["2.jpg"], boxes["3.jpg"]) == ("12 30 200 400", None, None)
    assert len(boxes["4.jpg"].split()) == 3
    assert boxes["5.jpg"].startswith("? ")


@pytest.mark.parametrize("kind", ["array<array<double>>", "array<string>"])
def test_a_list_of_images_has_a_list_of_boxes(spark, tmp_path, kind):
    rows = [
        ("A", ["1.jpg", "", "2.jpg"], [[1, 2, 3, 4], [0, 0, 9, 9], [5, 6, 7, 8]]),
        ("B", ["3.jpg", "4.jpg"], [None, [1, 2, 3, 4]]),
        ("C", ["5.jpg"], None),
    ]
    source = spark.createDataFrame(rows, "product_id string, image array<string>, box array<array<int>>")
    source.selectExpr("product_id", "image", f"CAST(box AS {kind}) AS box").write.parquet(f"{tmp_path}/shop")
    _, found = _ingest(spark, _config(f"{tmp_path}/shop", "columns.box=box"))
    expected = {"1.jpg": "1 2 3 4", "2.jpg": "5 6 7 8", "3.jpg": None, "4.jpg": "1 2 3 4", "5.jpg": None}
    assert {name: row.box for (_, name), row in found.items()} == expected


def test_a_text_cell_of_several_images_has_one_of_several_boxes(spark, tmp_path):
    text = "product_id,image,box\nA,1.jpg|2.jpg,1 2 3 4|5 6 7 8\nB,3.jpg|4.jpg,|5 6 7 8\nC,5.jpg|6.jpg,\n"
    _, found = _ingest(spark, _config(_csv(tmp_path, text), "image_separator=|", "columns.box=box"))
    expected = {"1.jpg": "1 2 3 4", "2.jpg": "5 6 7 8", "3.jpg": None, "4.jpg": "5 6 7 8", "5.jpg": None, "6.jpg": None}
    assert {name: row.box for (_, name), row in found.items()} == expected


def test_one_box_for_several_images_is_refused(spark, tmp_path):
    config = _config(
        _csv(tmp_path, "product_id,image,box\nA,1.jpg|2.jpg,1 2 3 4\n"), "image_separator=|", "columns.box=box"
    )
    with pytest.raises(
        DataQualityError, match=r"column box \(box\) cannot be read in 1 rows.*1 2 3 4.*one box for each image"
    ):
        _ingest(spark, config)
    spark.createDataFrame(
        [("A", ["1.jpg", "2.jpg"], [1, 2, 3, 4])], "product_id string, image array<string>, box array<int>"
    ).write.parquet(f"{tmp_path}/shop")
    with pytest.raises(SchemaError, match=r"catalogue\.columns\.box=box: is array<int>.*lists several images a row"):
        _ingest(spark, _config(f"{tmp_path}/shop", "columns.box=box"))
    spark.createDataFrame([("A", "1.jpg", 7)], "product_id string, image string, box int").write.parquet(
        f"{tmp_path}/other"
    )
    with pytest.raises(SchemaError, match=r"is int, expected text such as 12 30 200 400, or an array of four numbers"):
        _ingest(spark, _config(f"{tmp_path}/other", "columns.box=box"))


@pytest.mark.parametrize(
    ("text", "columns", "error", "expected"),
    [
        (
            "product_id,picture\nA,1.jpg\n",
            [],
            SchemaError,
            ["catalogue.columns.image=image", "'product_id', 'picture'"],
        ),
        ("product_id,image\n,1.jpg\nB,2.jpg\n", [], DataQualityError, ["product_id", "1 of 2 rows"]),
        (
            "product_id,image,cost\nA,1.jpg,cheap\nB,2.jpg,9\n",
            ["price=cost"],
            DataQualityError,
            ["cost", "'cheap'", "1 rows", "19.90"],
        ),
        ("product_id,image,cost\nA,1.jpg,NaN\n", ["price=cost"], DataQualityError, ["cost", "'NaN'"]),
        ("product_id,image,stock\nA,1.jpg,maybe\n", ["in_stock=stock"], DataQualityError, ["stock", "'maybe'", "true"]),
        ("product_id,image\n", [], DataQualityError, ["empty"]),
        ("product_id,image\nA,\n", [], DataQualityError, ["image", "no image"]),
    ],
)
def test_a_bad_catalogue_names_file_column_and_what_was_found(spark, tmp_path, text, columns, error, expected):
    file = _csv(tmp_path, text)
    with pytest.raises(error) as caught:
        _ingest(spark, _config(file, *[f"columns.{c}" for c in columns]))
    for part in [str(file), *expected]:
        assert part in str(caught.value)


@pytest.mark.parametrize(("kind", "price"), [("double", "NaN"), ("float", "-Infinity"), ("double", "Infinity")])
def test_a_number_that_is_no_price_is_refused_as_its_text_is(spark, tmp_path, kind, price):
    rows = [("A", "1.jpg", "9.5"), ("B", "2.jpg", price)]
    table = spark.createDataFrame(rows, "product_id string, image string, cost string")
    table.selectExpr("product_id", "image", f"CAST(cost AS {kind}) AS cost").write.parquet(f"{tmp_path}/shop")
    with pytest.raises(
        DataQualityError, match=rf"column cost \(price\) cannot be read in 1 rows, for example '{price}'"
    ):
        _ingest(spark, _config(f"{tmp_path}/shop", "columns.price=cost"))


@pytest.mark.parametrize("kind", ["double", "int", "decimal(9,2)"])
def test_numbers_are_prices(spark, tmp_path, kind):
    rows = [("A", "1.jpg", "9"), ("B", "2.jpg", "-0"), ("C", "3.jpg", None)]
    table = spark.createDataFrame(rows, "product_id string, image string, cost string")
    table.selectExpr("product_id", "image", f"CAST(cost AS {kind}) AS cost").write.parquet(f"{tmp_path}/shop")
    _, found = _ingest(spark, _config(f"{tmp_path}/shop", "columns.price=cost"))
    assert [row.price for _, row in sorted(found.items())] == [9, 0, None]


def test_a_table_that_is_not_there(spark, tmp_path):
    with pytest.raises(ConfigError, match=r"catalogue\.table=.*none\.csv"):
        read_catalogue(spark, _config(tmp_path / "none.csv"))


def test_names_that_lead_outside(spark, tmp_path):
    uris = [
        "/shop/a.jpg",
        "/shop/../etc/passwd",
        "/shopping/b.jpg",
        "file:///etc/passwd",
        "/shop/x..y/c.jpg",
        "/shop/..",
    ]
    df = spark.createDataFrame([(u,) for u in uris], "uri string")
    trusting, strict = _config("t.csv"), _config("t.csv", "allowed_roots=[/shop]")
    outside = lambda config: [r[0] for r in df.select(leads_outside(df.uri, config)).collect()]  # noqa: E731
    assert outside(trusting) == [False, True, False, False, False, True]
    assert outside(strict) == [False, True, True, True, False, True]


def test_names_of_people_who_mean_harm(spark):
    """With an allow-list, every way out of it that a name can try."""
    inside = [
        "/shop/a.jpg",
        "/shop/%2e%2e/a.jpg",
        "/shop/..a/b..jpg",
        "s3a://bucket/photos/a.jpg",
        "/shop/data:image/png;base64,AAAA",
        "/shop/~root/a.jpg",
        "file:///shop/a.jpg", "file:/shop/a.jpg", "file:///sh%6Fp/a%20b+c.jpg", "file:///my%20shop/a.jpg", "/my shop/a.jpg",
        "file:///shop/50%_off.jpg", "file:///shop/%2e%2e/a.jpg",
    ]  # fmt: skip
    outside = [
        "file:///shop%2F..%2Fetc/a.jpg", "file:///sh%6Fp/%2e%2e/a.jpg", "/sh%6Fp/a.jpg", "file:////shop/a.jpg",
        "s3a://bucket/ph%6Ftos/a.jpg",
        "/etc/passwd", "/shop", "/shop/..", "/shop/../etc/passwd", "/shop/a/../../etc/passwd", "/shop/..\\etc",
        "/shop//../a.jpg", "/shopping/a.jpg",
        "file:///etc/passwd", "file:/etc/passwd", "file://localhost/shop/a.jpg", "FILE:///etc/passwd",
        "http://169.254.169.254/latest/meta-data", "https://shop/a.jpg", "ftp://shop/a.jpg",
        "gs://bucket/photos/a.jpg", "hdfs://namenode/shop/a.jpg", "data://shop/a.jpg",
        "s3a://other/photos/a.jpg", "s3a://bucket/private/a.jpg", "s3a://bucket/photos/../private/a.jpg",
        "s3a://bucket/photosets/a.jpg", "s3a://bucket@evil/photos/a.jpg", "s3://bucket/photos/a.jpg",
        "//shop/a.jpg", "shop/a.jpg", "",
    ]  # fmt: skip
    strict = _config("t.csv", "allowed_roots=[/shop/, 's3a://bucket/photos', 'file:///my shop']")
    df = spark.createDataFrame([(name,) for name in inside + outside], "uri string")
    found = {row.uri: row.outside for row in df.select("uri", leads_outside(df.uri, strict).alias("outside")).collect()}
    assert found == {**dict.fromkeys(inside, False), **dict.fromkeys(outside, True)}
