"""An index that follows the tables finds what a search that packs everything finds, and writes what has changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from naive_neighbours import naive

from vsspark.blocks.spark import number_blocks
from vsspark.config import KnnConfig
from vsspark.errors import DataQualityError
from vsspark.knn.incremental import changes, gone_items, halved_blocks, state_of
from vsspark.knn.index import Settings, new_index, open_index
from vsspark.knn.index_search import search_all, search_changed, search_new_items, search_queries
from vsspark.knn.index_update import index_contents, update_index
from vsspark.knn.spark import search_neighbours

K = 4
CONFIG = KnnConfig(k=K, tile_rows=24)
NAMES = ("bag", "hat", "shoe")


class Shop:
    """Images whose content, category and probes change from night to night."""

    def __init__(self, n=220):
        self.rng = np.random.default_rng(5)
        self.rows = {}
        self.add(n)

    def add(self, n):
        new = range(len(self.rows) and max(self.rows) + 1, (len(self.rows) and max(self.rows) + 1) + n)
        for i in new:
            self.rows[i] = {"group": int(self.rng.integers(90))}
            self.picture(i)
            self.category(i)

    def picture(self, i):
        self.rows[i]["content"] = f"picture-{self.rng.integers(150)}"

    def category(self, i):
        own = str(self.rng.choice(NAMES, p=[0.7, 0.2, 0.1]))
        probes = sorted(
            {own, str(self.rng.choice(NAMES))} if self.rng.random() < 0.9 else {str(self.rng.choice(NAMES))}
        )
        kind = self.rng.random()
        self.rows[i] |= {"block": None if kind < 0.1 else own, "probes": [] if 0.1 < kind < 0.15 else probes}

    def vector(self, i):
        seed = int(self.rows[i]["content"].split("-")[1])
        return np.random.default_rng(seed).standard_normal(9).astype(np.float32)

    def frame(self, spark, ids=None, **columns):
        ids = list(self.rows) if ids is None else ids
        rows = [self.rows[i] for i in ids]
        arrays = {
            "image_id": pa.array(ids, pa.int64()),
            "group_id": pa.array([r["group"] for r in rows], pa.int64()),
            "content": pa.array([r["content"] for r in rows], pa.string()),
            "embedding": pa.array([self.vector(i).tolist() for i in ids], pa.list_(pa.float32())),
            "block": pa.array([r["block"] for r in rows], pa.string()),
            "probes": pa.array([r["probes"] for r in rows], pa.list_(pa.string())),
        }
        return spark.createDataFrame(pa.table(arrays | columns)).repartition(2)

    def nearest(self, i, items):
        """(ids, similarities) of the query's K nearest among the items."""
        x = np.array([self.vector(j) for j in items]).reshape(len(items), 9)
        groups = np.array([self.rows[j]["group"] for j in items], np.int64)
        query, ids = self.vector(i)[None], np.array(items, np.int64)
        values, found = naive(query, x, K, "cosine", np.array([i]), ids, np.array([self.rows[i]["group"]]), groups)
        there = found[0] >= 0
        return found[0][there].tolist(), values[0][there]

    def items(self, blocks):
        return [j for j, row in self.rows.items() if row["block"] in blocks]

    def expected(self, ids=None):
        lists = {i: self.nearest(i, self.items(self.rows[i]["probes"]))[0] for i in (self.rows if ids is None else ids)}
        return {i: found for i, found in lists.items() if found}


def lists(df):
    found = {}
    for row in df.orderBy("query_image_id", "rank").collect():
        found.setdefault(row.query_image_id, []).append(row.item_image_id)
        assert row["rank"] == len(found[row.query_image_id])
    return found


def held(spark, index):
    found = {}
    for row in index_contents(spark, index).collect():
        assert row.image_id not in found
        block = index.blocks[row.block] if row.block >= 0 else None
        found[row.image_id] = (row.group_id, row.content, block)
    return found


def wanted(shop):
    searching = {i: row for i, row in shop.rows.items() if row["block"] is not None or row["probes"]}
    return {i: (row["group"], row["content"], row["block"]) for i, row in searching.items()}


def tile_bytes(index):
    return {path.name: path.stat().st_size for path in (Path(index.folder) / "tiles").iterdir()}


def test_an_index_follows_its_tables_and_finds_what_they_hold(spark, tmp_path):
    shop, folder = Shop(), str(tmp_path / "index")
    index = update_index(
        new_index(folder, Settings("cosine", "m")), shop.frame(spark), str(tmp_path / "0"), CONFIG, "a"
    )
    assert held(spark, index) == wanted(shop)
    assert lists(search_all(index, shop.frame(spark), str(tmp_path / "all-0"), CONFIG)) == shop.expected()
    assert update_index(index, shop.frame(spark), str(tmp_path / "same"), CONFIG, "a") == index
    for night in (1, 2):
        changed = shop.rng.choice(list(shop.rows), 12, replace=False).tolist()
        for i in changed[:3]:
            del shop.rows[i]
        for i in changed[3:6]:
            shop.picture(i)
        for i in changed[6:9]:
            shop.category(i)
        shop.add(3)
        before = tile_bytes(index)
        opened, why = open_index(folder, Settings("cosine", "m", 9))
        assert (opened, why) == (index, "")
        index = update_index(opened, shop.frame(spark), str(tmp_path / f"{night}"), CONFIG, f"night {night}")
        assert index.version > opened.version
        assert held(spark, index) == wanted(shop)
        new = [size for name, size in tile_bytes(index).items() if name not in before]
        assert 0 < sum(new) < 0.5 * sum(before.values())
    assert lists(search_all(index, shop.frame(spark), str(tmp_path / "all-2"), CONFIG)) == shop.expected()
    few = [i for i in shop.rows if shop.rows[i]["probes"]][::40]
    found = lists(search_queries(index, shop.frame(spark, few), str(tmp_path / "few"), CONFIG))
    assert found == shop.expected(few)
    found = lists(search_queries(index, shop.frame(spark, few), str(tmp_path / "every"), CONFIG, everywhere=True))
    assert found == {i: shop.nearest(i, shop.items(NAMES))[0] for i in few}
    assert len(list((tmp_path / "every").glob("pack-*"))) == 1  # the queries alone are packed


def test_queries_meet_new_items_alone_and_keep_their_floors(spark, tmp_path):
    shop = Shop()
    index = new_index(str(tmp_path / "index"), Settings("cosine", "m"))
    index = update_index(index, shop.frame(spark), str(tmp_path / "scratch"), CONFIG)
    fresh = [i for i in shop.rows if shop.rows[i]["block"] is not None][::9]
    expected, floors, cut = {}, {}, 0
    for i, row in shop.rows.items():
        ids, similarities = shop.nearest(i, [j for j in fresh if shop.rows[j]["block"] in row["probes"]])
        floors[i] = None if i % 3 else 0.3
        near = [j for j, s in zip(ids, similarities, strict=True) if floors[i] is None or s >= floors[i]]
        cut += len(ids) - len(near)
        expected |= {i: near} if near else {}
    assert cut > 20
    queries = shop.frame(spark, floor=pa.array([floors[i] for i in shop.rows], pa.float32()))
    queries = queries.select("image_id", "probes", "floor")
    found = search_new_items(index, queries, shop.frame(spark, fresh), str(tmp_path / "new"), CONFIG)
    assert lists(found) == expected
    nothing = search_new_items(index, queries, shop.frame(spark, []), str(tmp_path / "none"), CONFIG)
    assert nothing.isEmpty()


def test_a_night_finds_what_a_search_of_halved_blocks_finds(spark, tmp_path):
    shop, places = Shop(), CONFIG.model_copy(update={"k": K + 5})
    before = shop.frame(spark).cache()
    index = new_index(str(tmp_path / "index"), Settings("cosine", "m"))
    index = update_index(index, before, str(tmp_path / "scratch"), CONFIG)
    first = search_all(index, before, str(tmp_path / "first"), places).localCheckpoint()
    state = state_of(first, before.withColumnRenamed("content", "content_hash"), places.k, K)
    chosen = shop.rng.choice(list(shop.rows), 12, replace=False).tolist()
    for i in chosen[:4]:
        del shop.rows[i]
    for i in chosen[4:8]:
        shop.picture(i)
    for i in chosen[8:]:
        shop.category(i)
    shop.add(6)
    rows = shop.frame(spark).cache()
    now = rows.withColumnRenamed("content", "content_hash")
    gone = gone_items(now, state)
    changed = changes(now, state, first, gone, K).localCheckpoint()
    assert 0 < changed.where("full").count() < 0.5 * len(shop.rows)
    index = update_index(index, rows, str(tmp_path / "scratch"), CONFIG)
    halved = number_blocks(halved_blocks(rows.drop("content"), changed))
    packed = search_neighbours(halved, str(tmp_path / "packed"), places)
    kept = search_changed(index, rows, changed, str(tmp_path / "kept"), places)
    assert kept.exceptAll(packed).isEmpty()
    assert packed.exceptAll(kept).isEmpty()
    assert kept.count() > 100


def test_rows_of_another_length_are_refused(spark, tmp_path):
    shop = Shop(30)
    index = new_index(str(tmp_path / "index"), Settings("cosine", "m", 8))
    with pytest.raises(DataQualityError, match="8 numbers a row, got 9"):
        update_index(index, shop.frame(spark), str(tmp_path / "scratch"), CONFIG)
    assert open_index(index.folder, index.settings)[1].startswith("there is no index")
