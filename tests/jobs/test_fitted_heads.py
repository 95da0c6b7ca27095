"""A category head that a job fits, keeps and fits again: whichever night it was, the tables are those of a run from
scratch.
"""

from __future__ import annotations

import shutil

import pytest
from invariants import check, connect, content
from shops import arguments, draw_shop, write_catalogue

from jobs import recommend

WIDE = [
    "gate.min_category_skill=0",
    "gate.max_changed=1.0",
    "gate.max_drift=1.0",
    "gate.max_products_lost=1.0",
    "gate.max_hubness=1000",
]
LAYER = "block_6_expand_relu"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Of a network without a category head; random ones still tell colours and textures apart."""
    import keras

    from vsspark.encoders.backbones import build_backbone

    keras.utils.set_random_seed(4)
    file = tmp_path_factory.mktemp("network") / "random.weights.h5"
    build_backbone("mobilenet_v2", LAYER, None)[1].save_weights(file)
    return file


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_after_a_head_is_fitted_again_the_tables_are_those_of_a_run_from_scratch(
    spark, weights, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)  # the network is exported below the folder a job is started in
    shop = tmp_path / "shop"
    rows = draw_shop(shop, products=40, images=1)
    network = ["encoder.name=mobilenet_v2", f"encoder.layer={LAYER}", f"encoder.weights={weights}"]
    own = arguments(shop, f"{tmp_path}/out", *network, *WIDE)
    kinds = sorted({row["kind"] for row in rows})
    turned = [
        row | {"kind": kinds[(kinds.index(row["kind"]) + 1) % len(kinds)]} if number % 3 == 0 else row
        for number, row in enumerate(rows)
    ]
    new = [row | {"kind": "kimono"} if number in (5, 6, 7) else row for number, row in enumerate(rows)]
    heads, said = {}, {}
    nights = {
        "first": rows,
        "kept": rows[:-2],  # two images fewer are no reason
        "new-category": new[:-1],
        "kept-again": new[:-3],
        "other-labels": turned,
    }
    for night, catalogue in nights.items():
        write_catalogue(shop, catalogue)
        photo = shop / catalogue[len(heads)]["photo"]
        # A picture of another content: its vector is the same, but for its name.
        photo.write_bytes(photo.read_bytes() + b"\0")
        capfd.readouterr()
        assert recommend.main([*own, "--run-id", night]) == 0
        said[night] = capfd.readouterr().err
        check(connect(f"{tmp_path}/out"), 5, night)
        (heads[night],) = {
            row[0]
            for row in connect(f"{tmp_path}/out")
            .sql("select distinct head from images where head is not null")
            .fetchall()
        }
        fresh = tmp_path / f"fresh-{night}"
        if "of an earlier run: " in said[night]:
            # From scratch, but for the head: one that is fitted to tonight's labels would be another.
            shutil.copytree(tmp_path / "out/_heads", fresh / "_heads")
        other = [f"output.path={fresh}" if part.startswith("output.path=") else part for part in own]
        assert recommend.main([*other, "--run-id", "fresh"]) == 0
        assert content(str(fresh)) == content(f"{tmp_path}/out"), night
    assert "fitted now" in said["first"]
    assert heads["kept"] == heads["first"]
    assert heads["kept-again"] == heads["new-category"]
    assert "fitted again: 1 new categories, the first is kimono" in said["new-category"]
    assert heads["new-category"] != heads["first"]
    assert "fitted again: right for" in said["other-labels"]
    assert len({heads[night] for night in ("first", "new-category", "other-labels")}) == 3
