"""What the published run says of images and products, and where its vectors come from: index, table, or both."""

from __future__ import annotations

import logging

import deltalake
import numpy as np
import pyarrow as pa
import pytest

from vsspark.config import OutputConfig
from vsspark.knn.index import Change, Entry, Index, Settings, commit, new_index
from vsspark.knn.tiles import MEMBERS, QUERIES, TileRows, write_tiles
from vsspark.query.products import Facts, Products
from vsspark.query.vectors import read_vectors
from vsspark.storage.reader import PublishedTables

NAMES = ("image_id", "product_id", "uri", "position", "name", "category", "price", "in_stock", "box", "content_hash",
         "predicted_category", "head")  # fmt: skip
TYPES = (pa.int64(), pa.string(), pa.string(), pa.int32(), pa.string(), pa.string(), pa.float64(), pa.bool_(),
         pa.string(), pa.string(), pa.string(), pa.string())  # fmt: skip
IMAGES = [
    (30, "P2", "30.jpg", 0, None, None, None, None, None, "h30", "skirt", "encoder"),
    (10, "P1", "10.jpg", 1, "late", "late", 9.0, False, None, "h10", "dress", "encoder"),
    (11, "P1", "11.jpg", 0, None, None, 5.0, True, "0 0 9 9", "h11", "coat", "encoder"),
    (31, "P2", "31.jpg", 1, None, None, None, False, None, "h10", "coat", "encoder"),
    (32, "P2", "32.jpg", 2, None, None, 3.0, True, None, None, None, None),  # its picture cannot be used
    (40, "P3", "40.jpg", 0, "n", "hat", 1.0, None, None, "h40", None, None),
]
VECTORS = {"h30": [1, 0], "h10": [0, 1], "h11 0 0 9 9": [1, 1], "h40": [2, 2]}


def _table(rows=IMAGES):
    columns = zip(*rows, strict=True)
    return pa.table([pa.array(c, t) for c, t in zip(columns, TYPES, strict=True)], names=list(NAMES))


def test_a_product_is_what_its_first_image_that_says_so_says():
    products = Products(_table())
    facts = {f.product_id: f for f in map(products.facts, range(3))}
    assert facts["P1"] == Facts("P1", "late", "late", 5.0, True, {})
    assert facts["P2"] == Facts("P2", None, "coat", 3.0, False, {})  # two predictions once each: by name
    assert facts["P3"] == Facts("P3", "n", "hat", 1.0, None, {})
    stocked = products.in_stock()
    assert {f.product_id: bool(stocked[i]) for i, f in enumerate(map(products.facts, range(3)))} == {
        "P1": True,
        "P2": False,
        "P3": False,
    }


def test_images_lie_in_the_category_that_the_run_s_blocks_have():
    for by_catalogue, expected in (
        (False, ["dress", "coat", "skirt", "coat", None, None]),
        (True, ["late", "coat", "skirt", "coat", None, "hat"]),
    ):
        products = Products(_table(), by_catalogue)
        assert products.image_ids.tolist() == [10, 11, 30, 31, 32, 40]
        assert [products.category_names[c] if c >= 0 else None for c in products.category] == expected
    assert products.embedded.tolist() == [True, True, True, True, False, True]
    assert products.contents.to_pylist() == ["h10", "h11 0 0 9 9", "h30", "h10", None, "h40"]


def _index(folder, rows, struck=()) -> Index:
    """rows: (id, content, vector) of each tile."""
    index, entries = new_index(str(folder), Settings("cosine", "m")), []
    for number, tile in enumerate(rows):
        ids, contents, vectors = zip(*tile, strict=True)
        n = len(ids)
        block = TileRows(
            np.array(vectors, np.float32), np.array(ids), np.arange(n), np.zeros(n, np.float32), pa.array(contents)
        )
        uri = write_tiles(f"{folder}/tiles", f"t{number}", [block], None)
        entries.append(Entry(uri.rpartition("/")[2], 0, n, -1 if number else 0, QUERIES if number else MEMBERS))
    index = commit(index._replace(settings=Settings("cosine", "m", 2), tile_rows=9), Change(entries), "s0")
    return commit(index, Change(struck={0: np.array(struck, np.int32)}), "s1") if struck else index


def _tables(root, vectors) -> PublishedTables:
    """The output with these rows of embeddings; no table at all where there are none."""
    if vectors:
        hashes, _, boxes = zip(*(content.partition(" ") for content in vectors), strict=True)
        rows = {
            "content_hash": pa.array(hashes),
            "box": pa.array([box or None for box in boxes], pa.string()),
            "model_version": pa.array(["m"] * len(vectors)),
            "embedding": pa.array(list(vectors.values()), pa.list_(pa.float32())),
        }
        others = {**rows, "model_version": pa.array(["other"] * len(vectors))}
        for each in (rows, others):
            deltalake.write_deltalake(
                f"{root}/embeddings", pa.table(each), partition_by=["model_version"], mode="append"
            )
    return PublishedTables(OutputConfig(path=str(root)), {})


def _vectors(tables, wanted=None):
    products = Products(_table())
    run = {"config": {"knn": {"metric": "cosine"}}, "model_version": "m", "run_id": "r", "versions": {}}
    parts = read_vectors(tables, run, products, products.embedded if wanted is None else wanted)
    found = {}
    for part in parts:
        for image, row in zip(part.images.tolist(), part.rows.tolist(), strict=True):
            assert image not in found
            found[int(products.image_ids[image])] = part.vectors[row].tolist()
    return found


def _all():
    return {i: VECTORS[c] for i, c in ((10, "h10"), (11, "h11 0 0 9 9"), (30, "h30"), (31, "h10"), (40, "h40"))}


WHOLE = [
    [(10, "h10", [0, 1]), (11, "h11 0 0 9 9", [1, 1]), (30, "h30", [1, 0]), (31, "h10", [0, 1])],
    [(40, "h40", [2, 2])],
]


@pytest.fixture
def lines(caplog):
    logger = logging.getLogger("vsspark")
    logger.propagate, before = True, (logger.propagate, logger.level)
    caplog.set_level(logging.INFO, "vsspark")
    yield lambda: [record.getMessage() for record in caplog.records]
    logger.propagate = before[0]
    logger.setLevel(before[1])


def test_an_index_that_fits_is_all_that_is_read(tmp_path, lines):
    _index(tmp_path / "_index/neighbours", WHOLE)
    assert _vectors(_tables(tmp_path, {})) == _all()
    assert lines() == []


def test_what_the_index_lacks_comes_from_the_table(tmp_path, lines):
    """Row 10 is struck out, 11 has another box, 30 another content, 99 is of no image; 31 and 40 are as they were."""
    rows = [[*WHOLE[0][:1], (11, "h11", [5, 5]), (30, "h31", [6, 6]), (31, "h10", [0, 1]), (99, "x", [7, 7])], WHOLE[1]]
    _index(tmp_path / "_index/neighbours", rows, struck=[0])
    tables = _tables(tmp_path, VECTORS)
    assert _vectors(tables) == _all()
    assert lines() == [
        "index      not used for all: it lacks 3 of 5 pictures; the table embeddings is read instead",
    ]


def test_without_an_index_the_table_is_searched(tmp_path, lines):
    tables = _tables(tmp_path, VECTORS)
    assert _vectors(tables) == _all()
    (line,) = lines()
    assert line.startswith("index      not used for all: there is no index at ")


def test_an_index_of_another_model_is_not_used(tmp_path, lines):
    index = _index(tmp_path / "_index/neighbours", WHOLE)
    commit(index._replace(settings=Settings("cosine", "other", 2)), Change(), "s2")
    assert _vectors(_tables(tmp_path, VECTORS)) == _all()
    assert "it was made with model version other, not m" in lines()[0]


def test_only_wanted_images_are_looked_for(tmp_path, lines):
    _index(tmp_path / "_index/neighbours", WHOLE[:1])
    tables = _tables(tmp_path, VECTORS)
    wanted = np.array([True, False, True, True, False, False])
    assert _vectors(tables, wanted) == {i: v for i, v in _all().items() if i in (10, 30, 31)}


def test_a_content_that_the_table_lacks_is_left_out_and_said(tmp_path, lines):
    tables = _tables(tmp_path, {name: v for name, v in VECTORS.items() if name != "h40"})
    assert _vectors(tables) == {i: v for i, v in _all().items() if i != 40}
    assert lines()[-1] == "embeddings has no vector of 1 pictures of run r: left out"
