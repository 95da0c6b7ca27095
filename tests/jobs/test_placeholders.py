"""Stand-ins for missing photos: bytes that too many products share are set aside, and their files not read again."""

from __future__ import annotations

import os
import shutil

from invariants import connect
from PIL import Image
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
    found = {row.content_hash[-1]: row.products for row in shared_contents(*_contents(spark, variants)).collect()}
    assert found == {"0": 1, "1": 3}


def test_products_with_a_stand_in_get_no_list_of_stand_ins(spark, tmp_path):
    rows = draw_shop(tmp_path, products=7, images=1)
    Image.new("RGB", (64, 64), (230, 230, 230)).save(tmp_path / "none.png")
    fourth = rows[0]["photo"]  # a real picture that three products share
    for number in range(4):
        name = f"none-{number}.png"
        shutil.copy(tmp_path / "none.png", tmp_path / name)
        rows.append({**rows[0], "sku": f"N{number}", "photo": name})
    rows += [{**rows[0], "sku": f"T{number}", "photo": fourth} for number in range(2)]
    write_catalogue(tmp_path, rows)
    own = arguments(tmp_path, f"{tmp_path}/out", "images.shared_by_at_most=3")
    assert recommend.main([*own, "--run-id", "night-1"]) == 0
    con = connect(f"{tmp_path}/out")
    aside = con.sql("select product_id, reason, stage from quarantine order by 1").fetchall()
    assert aside == [(f"N{number}", "placeholder", "decode") for number in range(4)]
    assert con.sql("select count(distinct detail), min(detail) like '4 products%' from quarantine").fetchall() == [
        (1, True)
    ]
    shown = con.sql("select distinct similar_product_id from similar_products").fetchall()
    assert not {f"N{number}" for number in range(4)} & {product for (product,) in shown}
    assert {"T0", "T1", "P00"} <= {product for (product,) in shown}
    counts = con.sql("select counts from runs").fetchall()[0][0]
    counts = dict(counts)
    assert (counts["images"], counts["embedded"], counts["quarantined"], counts["placeholders"]) == (13, 9, 4, 4)

    # The next night opens none of them: what they hold now, of the same size and time, is no picture.
    for number in range(4):
        file = tmp_path / f"none-{number}.png"
        before = file.stat()
        file.write_bytes(bytes(before.st_size))
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    rows[1]["cost"] = "9999"
    write_catalogue(tmp_path, rows)
    assert ingest.main([*own, "--run-id", "night-2"]) == 0
    assert embed.main([*own, "--run-id", "night-2"]) == 0
    con = connect(f"{tmp_path}/out")
    later = con.sql("select product_id, reason from quarantine where run_id = 'night-2' order by 1").fetchall()
    assert later == [(f"N{number}", "placeholder") for number in range(4)]
    counts = dict(con.sql("select counts from runs where run_id = 'night-2'").fetchall()[0][0])
    assert counts["inferred"] == 0
