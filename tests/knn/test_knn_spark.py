"""The Spark stage finds what the kernel finds, however the rows are cut, and plans work of even cost."""

from __future__ import annotations

import numpy as np
import pytest
from naive_neighbours import naive

from vsspark.config import KnnConfig
from vsspark.knn import plan
from vsspark.knn.layout import rows_per_tile
from vsspark.knn.spark import audited_recall, search_neighbours
from vsspark.knn.tiles import MEMBERS, Tile

SCHEMA = "image_id long, group_id long, embedding array<float>, block int, probes array<int>"


class Shop:
    """n images: one block holds most, some images are no items, some ask nothing, some ask without being items."""

    def __init__(self, n=330, d=12, seed=0):
        rng = np.random.default_rng(seed)
        self.x = rng.standard_normal((n, d)).astype(np.float32)
        self.x[40:80] = self.x[:40]
        self.ids = rng.integers(-(2**62), 2**62, n)
        self.groups = rng.integers(0, n // 3, n)
        own = rng.choice([0, 1, 2, 7], n, p=[0.85, 0.09, 0.05, 0.01])
        self.block = [None if i % 11 == 0 else int(b) for i, b in enumerate(own)]
        self.probes = [sorted({int(b), int(rng.choice([0, 1, 2, 7, 9]))}) for b in own]
        for i in range(5, n, 13):
            self.probes[i] = [int(rng.choice([0, 1]))]
        for i in range(3, n, 17):
            self.probes[i] = [] if i % 2 else None

    def frame(self, spark):
        columns = zip(self.ids.tolist(), self.groups.tolist(), self.x.tolist(), self.block, self.probes, strict=True)
        return spark.createDataFrame(list(columns), SCHEMA).repartition(3)

    def expected(self, k, metric):
        found = {}
        useful = [b is not None or bool(p) for b, p in zip(self.block, self.probes, strict=True)]
        centre = np.median(self.x[useful], axis=0) if metric == "hamming" else 0
        x = self.x - centre
        for i in range(len(x)):
            items = np.array([b is not None and b in (self.probes[i] or ()) for b in self.block])
            row = slice(i, i + 1)
            values, ids = naive(
                x[row], x[items], k, metric, self.ids[row], self.ids[items], self.groups[row], self.groups[items]
            )
            there = np.isfinite(values[0])
            if there.any():
                value = values[0][there]
                found[self.ids[i]] = (ids[0][there].tolist(), value if metric == "cosine" else 1 / (1 + value))
        return found


def collected(df):
    found = {}
    for row in df.orderBy("query_image_id", "rank").collect():
        ranks, ids, values = found.setdefault(row.query_image_id, ([], [], []))
        ranks.append(row["rank"])
        ids.append(row.item_image_id)
        values.append(row.similarity)
    return found


@pytest.mark.parametrize(
    ("metric", "tile_rows", "smallest_task"),  # pairs: all units in one task, or as many tasks as there are slots for
    [
        ("cosine", 8192, 2**22),
        ("cosine", 24, 2**22),
        ("cosine", 24, 1),
        ("l2", 40, 2**22),
        ("l1", 100, 1),
        ("hamming", 8192, 2**22),
    ],
)
def test_the_stage_is_the_definition(spark, tmp_path, monkeypatch, metric, tile_rows, smallest_task):
    monkeypatch.setattr(plan, "SMALLEST_TASK", smallest_task)
    shop = Shop()
    got = collected(
        search_neighbours(
            shop.frame(spark), str(tmp_path / "tiles"), KnnConfig(k=4, metric=metric, tile_rows=tile_rows)
        )
    )
    expected = shop.expected(4, metric)
    assert got.keys() == expected.keys()
    for query, (ids, similarity) in expected.items():
        ranks, found, values = got[query]
        assert ranks == list(range(1, len(ids) + 1))
        assert found == ids
        np.testing.assert_allclose(values, similarity, rtol=2e-6, atol=2e-6)
    assert audited_recall(str(tmp_path / "tiles")) is None


@pytest.mark.parametrize("tile_rows", [24, 8, 96])
def test_a_search_that_was_killed_between_its_tasks_goes_on_to_the_same_lists(spark, tmp_path, monkeypatch, tile_rows):
    """Also where it is told to use other tiles from here on: those that are packed stay."""
    monkeypatch.setattr(plan, "SMALLEST_TASK", 1)
    shop, scratch, config = Shop(), str(tmp_path / "tiles"), KnnConfig(k=4, tile_rows=24)
    search_neighbours(shop.frame(spark), scratch, config)  # the joins are done, their lists not yet merged
    files = sorted((tmp_path / "tiles" / "lists").glob("part-*"))
    assert len(files) > 2
    kept = files[0].stat().st_mtime_ns
    for file in files[1:]:
        file.unlink()
    got = collected(search_neighbours(shop.frame(spark), scratch, config.model_copy(update={"tile_rows": tile_rows})))
    assert files[0].stat().st_mtime_ns == kept
    assert {query: found[1] for query, found in got.items()} == {
        query: found[0] for query, found in shop.expected(4, "cosine").items()
    }


def test_backfill_a_few_rows_ask_everything_answers(spark, tmp_path):
    shop = Shop()
    shop.block = [0] * len(shop.ids)
    shop.probes = [[0] if i % 50 == 0 else [] for i in range(len(shop.ids))]
    got = collected(search_neighbours(shop.frame(spark), str(tmp_path), KnnConfig(k=6)))
    expected = shop.expected(6, "cosine")
    assert {query: found[1] for query, found in got.items()} == {query: found[0] for query, found in expected.items()}
    assert len(got) == 7


def test_nothing_to_search_is_an_empty_answer(spark, tmp_path):
    assert search_neighbours(spark.createDataFrame([], SCHEMA), str(tmp_path / "none"), KnnConfig()).count() == 0
    alone = [(1, None, [1.0, 2.0], 0, [0]), (2, None, [1.0, 2.0], None, [5])]
    assert search_neighbours(spark.createDataFrame(alone, SCHEMA), str(tmp_path / "one"), KnnConfig()).count() == 0


@pytest.mark.parametrize(
    ("bad", "message"), [([1.0], "lists of one length"), ([1.0, float("nan")], "NaN or infinity"), (None, "null")]
)
def test_broken_embeddings_stop_the_stage(spark, tmp_path, bad, message):
    rows = [(i, i, [1.0, float(i)], 0, [0]) for i in range(5)] + [(9, 9, bad, 0, [0])]
    with pytest.raises(Exception, match=message):
        search_neighbours(spark.createDataFrame(rows, SCHEMA).coalesce(1), str(tmp_path), KnnConfig()).count()


def test_the_approximate_stage_audits_itself(spark, tmp_path):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((300, 12))[rng.integers(0, 300, 14_000)] + 0.4 * rng.standard_normal((14_000, 12))).astype(
        np.float32
    )
    rows = [(i, i, v, 0, [0]) for i, v in enumerate(x.tolist())]
    df = spark.createDataFrame(rows, SCHEMA)
    folder = str(tmp_path / "tiles")
    got = collected(search_neighbours(df, folder, KnnConfig(k=5, mode="approximate", target_recall=0.95)))
    assert audited_recall(folder) >= 0.95
    sample = np.arange(0, 14_000, 140)
    truth = naive(x[sample], x, 5, "cosine", sample, np.arange(14_000))[1]
    assert (
        np.mean([len(set(got[q][1]) & set(t)) / 5 for q, t in zip(sample.tolist(), truth.tolist(), strict=True)])
        >= 0.95
    )


def block_of(rows, tile_rows, first=0, block=0):
    return {
        first + i: Tile("", 0, min(tile_rows, rows - i * tile_rows), block, MEMBERS)
        for i in range(-(-rows // tile_rows))
    }


@pytest.mark.parametrize("slots", [1, 2, 16, 400])
def test_every_pair_of_rows_is_planned_once_and_dealt_evenly(slots):
    tiles = block_of(54_000, 1000) | block_of(6_000, 1000, first=100, block=1)
    work = plan.units(tiles, slots, plan.held_rows(plan.Shape(1280 * 4, 25)))
    seen = [
        tuple(sorted((a, b)))
        for unit, _ in work
        for i, a in enumerate(unit.left)
        for b in (unit.right[i:] if unit.left == unit.right else unit.right)
    ]
    everything = {(a, b) for a in tiles for b in tiles if a <= b and tiles[a].block == tiles[b].block}
    assert len(seen) == len(set(seen))
    assert set(seen) == everything
    costs = [cost for _, cost in work]
    loads = [sum(costs[number] for number, _ in task) for task in plan.tasks(work, slots)]
    assert sum(loads) == sum(costs)
    assert loads == sorted(loads, reverse=True)
    assert max(loads) <= np.mean(loads) + max(costs)
    assert len(plan.tasks(work, slots, done=range(len(work)))) == 0


def test_small_blocks_make_small_tiles_only_where_cores_would_idle():
    assert rows_per_tile({(0, MEMBERS): 60_000}, 8192, 2) == 8192
    assert rows_per_tile({(0, MEMBERS): 5_000}, 8192, 2) == 1767
    assert rows_per_tile({(0, MEMBERS): 100}, 8192, 2) == 512
    assert rows_per_tile({(0, MEMBERS): 100}, 64, 2) == 64
