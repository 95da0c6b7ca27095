"""The nearest products of one picture against a brute force; where a picture searches, against what the batch does; how
it is said.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from vsspark.blocks.spark import with_blocks
from vsspark.config import BlockingConfig
from vsspark.knn import bits, values
from vsspark.query.answers import Answer, Similar, to_json, to_text
from vsspark.query.medians import median_thresholds, spark_hash
from vsspark.query.pictures import probed_categories
from vsspark.query.search import Space, nearest_products
from vsspark.query.vectors import Part

NAMES = ("a", "b", "c", "d")
METRICS = ("cosine", "l2", "l1", "hamming")


def _space(x, product, category, metric, parts=3):
    """Images of ascending ids dealt to parts, whose vectors lie in another order than their images."""
    rng = np.random.default_rng(3)
    dealt = rng.integers(parts, size=len(x))
    made = []
    for number in range(parts):
        images = np.flatnonzero(dealt == number)
        rows = rng.permutation(len(images))
        vectors = np.empty((len(images), x.shape[1]), np.float32)
        vectors[rows] = x[images]
        made.append(Part(vectors, rows, images))
    thresholds = np.zeros(x.shape[1], np.float32) if metric == "hamming" else None
    ids = np.arange(len(x)) * 3 + 5
    return Space(made, ids, np.asarray(product), np.asarray(category, np.int32), metric, thresholds)


def _expected(x, query, product, category, metric, probed, k):
    """(image, distance or cosine) of the k nearest products, without any of the code under test."""
    x64, q64 = x.astype(np.float64), query.astype(np.float64)
    if metric == "cosine":
        lengths = np.linalg.norm(x64, axis=1) * np.linalg.norm(q64)
        worth = np.divide(x64 @ q64, lengths, out=np.zeros(len(x)), where=lengths > 0)
    else:
        worth = {
            "l2": np.linalg.norm(x64 - q64, axis=1),
            "l1": np.abs(x64 - q64).sum(axis=1),
            "hamming": ((x > 0) != (query > 0)).sum(axis=1).astype(float),
        }[metric]
    order = np.lexsort((np.arange(len(x)), np.round(-worth if metric == "cosine" else worth, 5)))
    found, seen = [], set()
    for i in order:
        if (probed is None or category[i] in probed) and product[i] not in seen:
            seen.add(product[i])
            found.append((int(i), worth[i]))
    return found[:k]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_the_nearest_products_are_those_of_a_brute_force(metric, scale):
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(400, 20)) * scale).astype(np.float32)
    x[40] = x[12] = x[7]  # ties
    x[:30:5] = x[100]  # one product has many of the nearest pictures
    x[77] = 0
    product = rng.integers(90, size=400)
    product[:30:5] = 3
    category = np.where(np.arange(400) % 17 == 0, -1, np.arange(400) % 3)
    space = _space(x, product, category, metric)
    for query in (x[7], x[100], (rng.normal(size=20) * scale).astype(np.float32)):
        for probed in (None, [0, 2], [1], [9]):
            for k in (1, 7, 200):
                found = nearest_products(space, query, [c for c in probed if c < 3] if probed else probed, k)
                expected = _expected(x, query, product, category, metric, probed, k)
                assert found.images.tolist() == [image for image, _ in expected]
                np.testing.assert_allclose(found.values, [worth for _, worth in expected], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_thousands_of_equal_pictures_are_all_looked_at(metric):
    """Every picture ties for the last place: the lowest ids win, whatever the order in which they were met."""
    x = np.tile(np.random.default_rng(1).normal(size=16).astype(np.float32), (5000, 1))
    space = _space(x, np.arange(5000), np.zeros(5000), metric)
    found = nearest_products(space, x[0], None, 5)
    assert found.images.tolist() == [0, 1, 2, 3, 4]


def test_nothing_to_search_gives_nothing():
    space = Space([], np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int32), "cosine", None)
    assert len(nearest_products(space, np.ones(4, np.float32), None, 3).images) == 0
    assert len(nearest_products(space, np.ones(4, np.float32), [], 3).images) == 0


@pytest.mark.parametrize("d", [1, 31, 32, 33, 100, 1280])
def test_numpy_gives_the_bits_of_the_compiled_values(d):
    rng = np.random.default_rng(d)
    x = (rng.normal(size=(60, d)) * 10.0 ** rng.integers(-3, 4, size=(60, 1))).astype(np.float32)
    x[3] = 0
    query = x[:1] + (rng.normal(size=d) * 0.01).astype(np.float32)
    positions = np.arange(60)[None]
    inverses = [values.inverses(values.squares(rows)) for rows in (query, x)]
    cosine = values.pair_values(values.Measure(values.COSINE, False, 0.0, 1.0), query, x, *inverses, positions)
    np.testing.assert_array_equal(bits.cosines(x, query[0]), cosine[0])
    distance = values.pair_values(values.Measure(values.L2, False, 0.0, 1.0), query, x, *inverses, positions)
    np.testing.assert_array_equal(bits.distances(x, query[0]), -distance[0])


def test_the_sample_for_medians_is_the_batch_s(spark):
    ids = np.concatenate([np.random.default_rng(0).integers(2**63, size=300), [0, 1, 2**63 - 1]])
    rows = spark.createDataFrame([(int(i),) for i in ids], "image_id long").selectExpr(
        "image_id", "xxhash64(image_id, 1) AS h"
    )
    expected = {row.image_id: row.h for row in rows.collect()}
    assert dict(zip(ids.tolist(), spark_hash(ids).tolist(), strict=True)) == expected

    x = np.random.default_rng(1).normal(size=(5000, 3)).astype(np.float32)
    many = np.arange(5000) * 7
    part = Part(x, np.arange(5000), np.arange(5000))
    order = np.argsort(spark_hash(many), kind="stable")[:4000]
    np.testing.assert_array_equal(median_thresholds([part], many), np.median(x[order], axis=0).astype(np.float32))


def test_a_picture_probes_what_the_batch_would(spark):
    rng = np.random.default_rng(1)
    p = np.vstack([rng.dirichlet([0.4] * 4, 20), [[0.25] * 4, [0, 1, 0, 0]]]).astype(np.float32)
    rows = [
        (i, None, NAMES[int(row.argmax())], {name: float(v) for name, v in zip(NAMES, row, strict=True)})
        for i, row in enumerate(p)
    ]
    # Every category has an item: a probe of one that has none is left out of the batch, and finds nothing here.
    rows += [(100 + i, None, name, {name: 1.0}) for i, name in enumerate(NAMES)]
    table = spark.createDataFrame(
        rows, "id int, category string, predicted_category string, category_probabilities map<string,float>"
    )
    for config in (
        BlockingConfig(),
        BlockingConfig(probes=2, probability=0.5),
        BlockingConfig(probability=0.0),
        BlockingConfig(probes=4, probability=1.0),
    ):
        batch = {row.id: row.probes for row in with_blocks(table, config).collect()}
        for i, row in enumerate(p):
            assert [name for name, _ in probed_categories(row, NAMES, config)] == batch[i]


def test_answers_as_text_and_json():
    found = Similar(1, "P<1>", 0.98765, "größe 1.jpg", "Tees", 1234.5, "visual")
    answers = [
        Answer(
            "a.jpg",
            categories=(("Tees", 0.9), ("Tops", 0.05)),
            similar=(found, Similar(2, "P2", 0.5, "b", None, None, "backfill")),
        )
    ]
    answers.append(Answer("gone.jpg", "missing", "no such file"))
    assert to_text(answers).splitlines() == [
        "a.jpg: Tees 0.90, Tops 0.05",
        "rank  product  similarity  category  price     source    uri",
        "1     P<1>     0.9877      Tees      1,234.50  visual    größe 1.jpg",
        "2     P2       0.5000                          backfill  b",
        "",
        "gone.jpg: not used, missing: no such file",
    ]
    said = json.loads(to_json("r1", answers))
    assert said["run_id"] == "r1"
    assert said["answers"][0]["similar"][0]["image_uri"] == "größe 1.jpg"
    assert said["answers"][1]["reason"] == "missing"
    assert to_text([Answer("x", similar=())]).startswith("x: searched everywhere")
