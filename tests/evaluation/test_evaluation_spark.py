"""The sample on Spark: whole products, the same ones each time, read back as arrays."""

from __future__ import annotations

import numpy as np
import pytest

from vsspark.config import EvaluationConfig
from vsspark.embed.spark import EMBEDDED
from vsspark.errors import DataQualityError
from vsspark.evaluation.spark import read_embeddings, read_sample, refusals, sample_images
from vsspark.schemas import IMAGES


@pytest.fixture(scope="module")
def images(spark):
    """30 products of one to three images; every other image says who took it."""
    rows = []
    for product in range(30):
        for place in range(product % 3 + 1):
            number, sender = len(rows), {"sender": ("Ann", "Bo", " ")[product % 3]} if place == 0 else {}
            rows.append(
                (
                    number * 11,
                    f"P{product:02d}",
                    f"{number}.jpg",
                    place,
                    None,
                    f"C{product % 4}" if product else None,
                    None,
                    None,
                    sender,
                    *[None] * 7,
                )
            )
    return spark.createDataFrame(rows, IMAGES).repartition(3).cache()


def test_whole_products_and_the_same_ones_each_time(images):
    config = EvaluationConfig(sample=25)
    rows = sample_images(images, config).collect()
    kept = {row.product_id for row in rows}
    assert sorted(row.image_id for row in rows) == sorted(
        row.image_id for row in images.collect() if row.product_id in kept
    )
    assert 23 <= len(rows) <= 25  # the next product would not fit
    assert {row.image_id for row in sample_images(images.repartition(2), config).collect()} == {
        row.image_id for row in rows
    }
    other = sample_images(images, EvaluationConfig(sample=25, seed=1)).collect()
    assert {row.product_id for row in other} != kept
    assert sample_images(images, EvaluationConfig()).count() == images.count()


def test_a_product_is_not_split(images):
    one = images.where("product_id = 'P05'")  # three images
    with pytest.raises(DataQualityError, match=r"evaluation\.sample=2: product P05 alone has 3 images"):
        sample_images(one, EvaluationConfig(sample=2))


def test_the_sample_as_arrays(images):
    rows = {row.image_id: row for row in images.collect()}
    sample = read_sample(images, np.array([0, 22]), "sender")
    assert sample.image_ids.tolist() == sorted(set(rows) - {0, 22})
    assert sample.uris.tolist() == [rows[i].uri for i in sample.image_ids]
    for labels, value in ((sample.products, lambda r: r.product_id), (sample.categories, lambda r: r.category)):
        names = [value(rows[i]) for i in sample.image_ids]
        assert len(set(zip(labels.tolist(), names, strict=True))) == len(set(names)) == len(set(labels.tolist()))
    assert [sample.category_names[c] if c >= 0 else None for c in sample.categories] == [
        rows[i].category for i in sample.image_ids
    ]
    said = [(rows[i].attributes.get("sender") or "").strip() for i in sample.image_ids]
    assert len(set(sample.senders.tolist())) == 2 + said.count("")  # whoever is not named is somebody else each time
    assert len({s for s, name in zip(sample.senders.tolist(), said, strict=True) if name == "Ann"}) == 1
    assert read_sample(images, np.array([], np.int64), None).senders is None


def test_embeddings_come_back_in_the_samples_order(spark):
    rows = [
        (i, "u", None, None, "h", 1, 9, 9, [float(i), 1.0], [0.5] if i % 2 else [0.25], None, None, None)
        for i in (5, 3, 9, 1)
    ]
    rows.append((7, "u", None, None, None, None, None, None, None, None, "fetch", "missing", "gone"))
    embedded = spark.createDataFrame(rows, EMBEDDED)
    x, p = read_embeddings(embedded, np.array([1, 3, 9]))
    assert (x.tolist(), p.tolist()) == ([[1, 1], [3, 1], [9, 1]], [[0.5], [0.5], [0.5]])
    assert (
        read_embeddings(
            embedded.drop("probabilities").selectExpr("*", "cast(null as array<float>) probabilities"), np.array([5])
        )[1]
        is None
    )
    assert [tuple(row) for row in refusals(embedded).collect()] == [(7, "missing", "gone")]
    with pytest.raises(DataQualityError, match="embeddings are lost: 2 images expected, 1 written"):
        read_embeddings(embedded, np.array([1, 7]))
