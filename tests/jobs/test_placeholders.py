"""Stand-ins for missing photos: bytes that too many products share are set aside, and their files not read again."""

from __future__ import annotations

import os
import shutil

import pytest
from invariants import connect
from PIL import Image
from pyspark.sql import functions as F
from shops import arguments, draw_shop, write_catalogue

from jobs import embed, ingest, recommend
from vsspark.embed.placeholders import LEAST, most_shared, shared_contents

IMAGES = "image_id long, product_id string, attributes map<string, string>"


def _contents(spark, uses):
    """(contents, images) of a shop in which picture i is that of uses[i] products: (product, group) pairs."""
    rows, images = [], []
    for content, products in enumerate(uses):
        for product, group in products:
            number = len(images)
            rows.append((number, f"{content:064d}"))
            images.append((number, product, {"group": group} if group else None))
    return spark.createDataFrame(rows, "image_id long, content string"), spark.createDataFrame(images, IMAGES)


def test_the_limit_follows_how_often_the_shop_shares_its_pictures(spark):
    alone = [[(f"P{i}", None)] for i in range(140)]
    stand_in = [[(f"Q{i}", None) for i in range(60)]]
    shared = shared_contents(*_contents(spark, alone + stand_in))
    assert most_shared(shared, None) == LEAST
    assert shared.where(f"products > {LEAST}").count() == 1
    assert most_shared(shared, 3) == 3
    sizes = [[(f"P{i}-{size}", None) for size in range(12)] for i in range(20)]  # a product per size
    assert most_shared(shared_contents(*_contents(spark, sizes)), None) == 36


def test_variants_of_one_group_are_one_product(spark):
    variants = [[(f"P{size}", "shirt") for size in range(25)], [("P0", "shirt"), ("H", None), ("shirt", None)]]
    found = {row.content[-1]: row.products for row in shared_contents(*_contents(spark, variants)).collect()}
    assert found == {"0": 1, "1": 3}


def test_a_picture_with_a_box_for_each_of_many_products_is_no_stand_in(spark):
    contents, images = _contents(spark, [[(f"P{i}", None) for i in range(40)]])
    boxed = contents.withColumn("content", F.concat_ws(" ", "content", F.col("image_id").cast("string")))
    shared = shared_contents(boxed, images)
    assert shared.count() == 40
    assert shared.where("products > 1").count() == 0


def _shop_with_stand_ins(folder):
    """(catalogue rows, arguments): four products whose picture is a copy of one file, three that share a real one."""
    rows = draw_shop(folder, products=7, images=1)
    Image.new("RGB", (64, 64), (230, 230, 230)).save(folder / "none.png")
    for number in range(4):
        name = f"none-{number}.png"
        shutil.copy(folder / "none.png", folder / name)
        rows.append({**rows[0], "sku": f"N{number}", "photo": name})
    rows += [{**rows[0], "sku": f"T{number}"} for number in range(2)]
    write_catalogue(folder, rows)
    return rows, arguments(folder, f"{folder}/out", "images.shared_by_at_most=3")


def _check_night(con, run):
    aside = con.sql(
        f"select product_id, reason, stage, detail from quarantine where run_id = '{run}' order by 1"
    ).fetchall()
    assert [row[:3] for row in aside] == [(f"N{number}", "placeholder", "decode") for number in range(4)]
    assert len({row[3] for row in aside}) == 1
    assert aside[0][3].startswith("4 products")
    counts = dict(con.sql(f"select counts from runs where run_id = '{run}'").fetchall()[0][0])
    assert [counts[name] for name in ("images", "embedded", "quarantined", "placeholders")] == [13, 9, 4, 4]
    return counts


def test_stand_ins_are_set_aside_and_their_files_are_not_opened_again(spark, tmp_path):
    rows, own = _shop_with_stand_ins(tmp_path)
    for night in ("night-1", "night-2"):
        assert ingest.main([*own, "--run-id", night]) == 0
        assert embed.main([*own, "--run-id", night]) == 0
        inferred = _check_night(connect(f"{tmp_path}/out"), night)["inferred"]
        assert inferred == (8 if night == "night-1" else 0)
        # What they hold now, of the same size and time, is no picture.
        for number in range(4):
            file = tmp_path / f"none-{number}.png"
            before = file.stat()
            file.write_bytes(bytes(before.st_size))
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        rows[1]["cost"] = "9999"
        write_catalogue(tmp_path, rows)


@pytest.mark.slow
def test_products_with_a_stand_in_are_in_no_list(spark, tmp_path):
    _, own = _shop_with_stand_ins(tmp_path)
    assert recommend.main([*own, "--run-id", "night-1"]) == 0
    con = connect(f"{tmp_path}/out")
    _check_night(con, "night-1")
    shown = {product for (product,) in con.sql("select distinct similar_product_id from similar_products").fetchall()}
    assert shown == {"T0", "T1", *(f"P{number:02d}" for number in range(7))}
    assert con.sql("select count(*) from similar_products where product_id like 'N%'").fetchall() == [(0,)]
