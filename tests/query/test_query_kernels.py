"""What one task finds for a few queries, against a brute force; where a picture searches, against what the batch
does; how it is said.
"""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from vsspark.blocks.spark import with_blocks
from vsspark.config import BlockingConfig
from vsspark.query.answers import Answer, Similar, to_json, to_text
from vsspark.query.candidates import CANDIDATES, Search, nearest_images
from vsspark.query.pictures import probed_categories

NAMES = ("a", "b", "c", "d")


def _batches(x, ids, categories, size):
    for i in range(0, len(x), size):
        lists = pa.array(list(x[i : i + size]), pa.list_(pa.float32()))
        yield pa.record_batch(
            [pa.array(ids[i : i + size]), lists, pa.array(categories[i : i + size], pa.string())],
            names=["image_id", "embedding", "category"],
        )


@pytest.mark.parametrize("metric", ["cosine", "l2", "l1", "hamming"])
def test_each_query_finds_its_nearest_in_the_categories_it_probes(metric):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 20)).astype(np.float32)
    x[40] = x[12]  # a tie
    ids = rng.permutation(1000)[:90].astype(np.int64)
    categories = [None if i % 17 == 0 else NAMES[i % 3] for i in range(90)]
    queries = np.concatenate([x[12:13], rng.normal(size=(2, 20)).astype(np.float32)])
    search = Search(
        queries, (None, ("a", "c"), ("d",)), 7, metric, np.zeros(20, np.float32) if metric == "hamming" else None
    )
    found = pa.Table.from_batches(list(nearest_images(_batches(x, ids, categories, 16), search)), CANDIDATES)
    for q, probed in enumerate(search.categories):
        inside = [i for i in range(90) if probed is None or categories[i] in probed]
        distance = {
            "cosine": lambda i, q=q: -float(x[i] @ queries[q] / np.linalg.norm(x[i]) / np.linalg.norm(queries[q])),
            "l2": lambda i, q=q: float(np.linalg.norm(x[i] - queries[q])),
            "l1": lambda i, q=q: float(np.abs(x[i] - queries[q]).sum()),
            "hamming": lambda i, q=q: float(((x[i] > 0) != (queries[q] > 0)).sum()),
        }[metric]
        expected = sorted(inside, key=lambda i: (round(distance(i), 4), ids[i]))[:7]
        own = found.filter(pa.array(found["query"].to_numpy() == q))
        assert own["image_id"].to_pylist() == ids[expected].tolist()
        np.testing.assert_allclose(own["value"].to_numpy(), [-distance(i) for i in expected], atol=1e-4)


def test_no_rows_give_no_rows():
    search = Search(np.ones((1, 2), np.float32), (None,), 3, "cosine", None)
    assert list(nearest_images([], search)) == []
    empty = next(_batches(np.ones((1, 2), np.float32), np.array([1]), ["a"], 1)).slice(1)
    assert list(nearest_images([empty], search)) == []


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
