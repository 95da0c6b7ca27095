"""A second night with settings of which the other tests of nights use one each: it changes what a run from scratch
would.
"""

from __future__ import annotations

import cv2
import pytest
from invariants import connect, content
from shops import arguments, draw_shop, write_catalogue

from jobs import recommend

ANY = ["gate.max_changed=1.0", "gate.max_drift=1.0", "gate.max_products_lost=1.0"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [["output.format=parquet"], ["knn.metric=hamming", "blocking.by=none"]], ids=" ".join
)
def test_a_changed_night_is_one_from_scratch(spark, tmp_path, settings):
    rows = draw_shop(tmp_path, products=12, images=2)
    own = arguments(tmp_path, f"{tmp_path}/out", *ANY, *settings)
    assert recommend.main([*own, "--run-id", "first"]) == 0
    # Another picture for one product, a product less, one that comes back with another price.
    photo = tmp_path / rows[0]["photo"]
    photo.write_bytes((tmp_path / rows[-1]["photo"]).read_bytes())
    write_catalogue(tmp_path, [row | {"cost": "1.50"} for row in rows[:-2]])
    assert recommend.main([*own, "--run-id", "second"]) == 0
    fresh = arguments(tmp_path, f"{tmp_path}/fresh", *ANY, *settings)
    assert recommend.main([*fresh, "--run-id", "fresh"]) == 0
    tables = content(f"{tmp_path}/out")
    assert all(tables)
    assert tables == content(f"{tmp_path}/fresh")


@pytest.mark.slow
def test_narrower_limits_judge_what_was_embedded_before(spark, tmp_path):
    rows = draw_shop(tmp_path, products=6, images=2)
    small, long = (tmp_path / row["photo"] for row in rows[:2])
    cv2.imwrite(str(small), cv2.resize(cv2.imread(str(small)), (90, 200)))
    long.write_bytes(long.read_bytes() + bytes(100_000))
    limits = ["images.min_side=91", f"images.max_bytes={long.stat().st_size - 1}"]
    assert recommend.main([*arguments(tmp_path, f"{tmp_path}/out", *ANY), "--run-id", "first"]) == 0
    assert recommend.main([*arguments(tmp_path, f"{tmp_path}/out", *ANY, *limits), "--run-id", "second"]) == 0
    reasons = (
        connect(f"{tmp_path}/out").sql("select reason from quarantine where run_id = 'second' order by 1").fetchall()
    )
    assert reasons == [("too_many_bytes",), ("too_small",)]
    assert recommend.main([*arguments(tmp_path, f"{tmp_path}/fresh", *ANY, *limits), "--run-id", "fresh"]) == 0
    assert content(f"{tmp_path}/out") == content(f"{tmp_path}/fresh")
