from __future__ import annotations

import numpy as np
import pytest
from pyspark.sql import functions as F

from vsspark.blocks.head import Head
from vsspark.blocks.spark import fit_head, number_blocks, predict_categories, sample_embeddings, with_blocks
from vsspark.config import BlockingConfig

SCHEMA = "image_id long, category string, predicted_category string, category_probabilities map<string,float>"


def _rows(spark):
    return spark.createDataFrame(
        [
            (1, "hat", "dress", {"dress": 0.6, "skirt": 0.3, "hat": 0.1}),
            (2, "skirt", "skirt", {"skirt": 0.97, "dress": 0.02, "hat": 0.01}),
            (3, None, "hat", {"hat": 0.4, "dress": 0.35, "gown": 0.25}),
        ],
        SCHEMA,
    )


def _probes(df):
    return {r.image_id: (r.block, r.probes) for r in number_blocks(df).collect()}


def test_probes_stop_when_their_probabilities_add_up(spark):
    # Categories in which nothing is predicted (gown) have no block; dress = 0, hat = 1, skirt = 2.
    found = _probes(with_blocks(_rows(spark), BlockingConfig(probes=3, probability=0.85)))
    assert found == {1: (0, [0, 2]), 2: (2, [2]), 3: (1, [1, 0])}


def test_at_most_so_many_probes(spark):
    assert {
        len(p) for _, p in _probes(with_blocks(_rows(spark), BlockingConfig(probes=1, probability=1.0))).values()
    } == {1}


def test_the_catalogues_own_category_as_block_still_probes_the_probable_ones(spark):
    found = _probes(with_blocks(_rows(spark), BlockingConfig(by="catalogue_category", probes=2, probability=0.5)))
    # Blocks: hat = 0, skirt = 1 (row 3 has no category and goes to its predicted one); row 1's probable "dress" has
    # no block.
    assert found == {1: (0, [0]), 2: (1, [1]), 3: (0, [0])}


def test_no_blocking_is_one_block(spark):
    assert set(map(str, _probes(with_blocks(_rows(spark), BlockingConfig(by="none"))).values())) == {"(0, [0])"}


@pytest.mark.parametrize("own_head", [True, False])
def test_categories_are_predicted_for_every_row_over_several_batches(spark, own_head):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 4)).astype(np.float32)
    head = Head(np.eye(4, 3, dtype=np.float32) * 20, np.zeros(3, np.float32), ("a", "b", "c"))
    p = head.probabilities(x)
    rows = spark.createDataFrame(
        [(i, x[i].tolist(), p[i].tolist()) for i in range(40)],
        "image_id long, embedding array<float>, probabilities array<float>",
    )
    done = predict_categories(rows, None if own_head else head, ("a", "b", "c")).collect()
    assert len(done) == 40
    for row in done:
        expected = p[row.image_id]
        assert row.predicted_category == "abc"[expected.argmax()]
        for name, value in row.category_probabilities.items():
            assert value == pytest.approx(expected["abc".index(name)], abs=1e-6)
        np.testing.assert_allclose(row.embedding, x[row.image_id])


def _catalogue(spark, frame):
    """(rows, vectors) of (image_id, product_id, category, embedding)."""
    rows = spark.createDataFrame(
        [(*row[:3], f"content-{row[0]}") for row in frame],
        "image_id long, product_id string, category string, content string",
    )
    vectors = spark.createDataFrame(
        [(f"content-{row[0]}", row[3]) for row in frame], "content string, embedding array<float>"
    )
    return rows, vectors


def test_the_sample_is_bounded_and_the_same_every_time(spark):
    rows, vectors = _catalogue(spark, [(i, f"p{i}", "c" if i % 2 else None, [float(i), 1.0]) for i in range(100)])
    config = BlockingConfig(fit_sample=10)
    x, labels, products = sample_embeddings(rows, vectors, config, {"c": 50})
    again, _, _ = sample_embeddings(rows.repartition(5), vectors.repartition(3), config, {"c": 50})
    assert x.shape == (10, 2)
    assert set(labels) == {"c"}
    assert len(set(products)) == 10
    np.testing.assert_array_equal(x, again)
    unlabelled, _, _ = sample_embeddings(rows, vectors, config)
    assert unlabelled.shape == (10, 2)
    assert set(unlabelled[:, 0] % 2) == {0, 1}


def test_images_of_one_content_share_its_vector_in_the_sample(spark):
    rows = spark.createDataFrame(
        [(1, "p1", "a", "same"), (2, "p2", "b", "same"), (3, "p3", "a", "other")],
        "image_id long, product_id string, category string, content string",
    )
    vectors = spark.createDataFrame(
        [("same", [1.0]), ("other", [2.0]), ("unused", [3.0])], "content string, embedding array<float>"
    )
    x, labels, _ = sample_embeddings(rows, vectors, BlockingConfig(), {"a": 2, "b": 1})
    assert (x[:, 0].tolist(), labels.tolist()) == ([1, 1, 2], ["a", "b", "a"])


def test_every_category_is_in_the_sample_and_its_rows_are_those_of_smallest_hash(spark):
    sizes = {f"c{i:03d}": 1 if i else 900 for i in range(60)}
    labels = [name for name, size in sizes.items() for _ in range(size)]
    rows, vectors = _catalogue(spark, [(i, f"p{i}", label, [float(i), 1.0]) for i, label in enumerate(labels)])
    x, sampled, _ = sample_embeddings(rows, vectors, BlockingConfig(fit_sample=200), sizes)
    again, _, _ = sample_embeddings(rows.repartition(7), vectors, BlockingConfig(fit_sample=200), sizes)
    assert set(sampled) == set(sizes)
    assert len(x) == 200
    np.testing.assert_array_equal(x, again)
    smallest = rows.where("category = 'c000'").orderBy(F.xxhash64("image_id", F.lit(0))).limit(141)
    assert set(x[sampled == "c000", 0]) == {row.image_id for row in smallest.collect()}


def test_a_fitted_head_has_every_category_and_the_catalogues_shares(spark):
    rng = np.random.default_rng(0)
    labels = ["common"] * 900 + ["rare"] * 60 + [f"single{i}" for i in range(5)]
    frame = [(i, f"p{i}", label, [1.0, float(rng.normal())]) for i, label in enumerate(labels)]
    rows, vectors = _catalogue(spark, frame)
    head = fit_head(rows, vectors, BlockingConfig(fit_sample=100), len(frame))
    assert set(head.categories) == set(labels)
    mean = head.probabilities(np.array([row[3] for row in frame], np.float32)).mean(axis=0)
    assert mean[head.categories.index("common")] == pytest.approx(900 / 965, abs=0.02)
    assert mean[head.categories.index("rare")] == pytest.approx(60 / 965, abs=0.02)
