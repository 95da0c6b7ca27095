"""The catalogue that Spark writes: every row true, every file where its row says, nothing drawn twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vsspark.config import DemoConfig
from vsspark.demo.draw import encode_photo
from vsspark.demo.products import photo_specs, product_spec
from vsspark.demo.spark import generate_catalogue


@pytest.fixture(scope="module")
def generated(spark, tmp_path_factory):
    config = DemoConfig(products=60, seed=11, path=str(tmp_path_factory.mktemp("demo") / "shop one"))
    table = generate_catalogue(spark, config)
    return config, table, spark.read.parquet(table).orderBy("image").collect()


def test_one_row_per_photo_with_the_products_truth(generated):
    _, _, rows = generated
    expected = [(product_spec(11, i), photo) for i in range(60) for photo in photo_specs(product_spec(11, i))]
    assert len(rows) == len(expected) == len({row.image for row in rows})
    # Ids and positions are zero-padded: path order is product order.
    for row, (product, photo) in zip(rows, expected, strict=True):
        assert (row.product_id, row.category, row.colour, row.pattern) == (
            product.product_id,
            product.kind,
            product.colour,
            product.pattern,
        )
        assert (row.view, row.background, row.price, row.in_stock, row.name) == (
            photo.view,
            photo.background,
            product.price,
            product.in_stock,
            product.name,
        )


def test_files_hold_the_drawn_bytes_and_missing_ones_are_missing(generated):
    config, _, rows = generated
    root = Path(config.path)
    by_image = {row.image: row for row in rows}
    photos = {
        (p.product_id, photo.position): (p, photo)
        for p in (product_spec(11, i) for i in range(60))
        for photo in photo_specs(p)
    }
    damaged = 0
    for image, row in by_image.items():
        product, photo = photos[row.product_id, int(image.split("-")[1])]
        damaged += photo.damage is not None
        if photo.damage == "missing":
            assert not (root / image).exists()
        elif photo.damage or photo.position == 0:
            assert (root / image).read_bytes() == encode_photo(product, photo)
        else:
            assert (root / image).stat().st_size > 2000
    assert damaged >= 1
    assert {p.relative_to(root).as_posix() for p in (root / "images").rglob("*.jpg")} == {
        i for i in by_image if (root / i).exists()
    }


def test_what_is_there_is_not_drawn_again_and_another_catalogue_replaces_it(spark, generated, tmp_path):
    config = DemoConfig(products=6, seed=1, path=str(tmp_path))
    table = generate_catalogue(spark, config)
    image = next((tmp_path / "images").rglob("*.jpg"))
    image.write_bytes(b"touched")
    assert generate_catalogue(spark, config) == table
    assert image.read_bytes() == b"touched"
    generate_catalogue(spark, config.model_copy(update={"products": 5}))
    assert image.read_bytes() != b"touched"
    assert spark.read.parquet(table).select("product_id").distinct().count() == 5
    assert json.loads((tmp_path / "catalogue.json").read_text())["products"] == 5


def test_a_run_that_was_cut_off_is_drawn_again(spark, tmp_path):
    config = DemoConfig(products=5, seed=1, path=str(tmp_path))
    generate_catalogue(spark, config)
    image = next((tmp_path / "images").rglob("*.jpg"))
    image.unlink()
    (tmp_path / "catalogue.json").write_text('{"version"')  # cut short while it was written
    generate_catalogue(spark, config)
    assert image.exists()
