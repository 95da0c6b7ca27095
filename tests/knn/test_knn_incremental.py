"""Lists updated night by night are those of a full search: 200 small shops, each with its own random history, side by
side in one table.
"""

from __future__ import annotations

import numpy as np
import pytest
from naive_neighbours import naive
from pyspark.sql import functions as F

from vsspark.blocks.spark import number_blocks
from vsspark.config import KnnConfig
from vsspark.knn.incremental import SPARE_PLACES, changes, gone_items, halved_blocks, kept_lists, merged_lists, state_of
from vsspark.knn.spark import search_neighbours

SHOPS, IMAGES, NIGHTS, K = 200, 24, 3, 2  # more groups than places, so that lists are cut off, and lose items
ROWS = "image_id long, group_id long, content_hash string, embedding array<float>, block string, probes array<string>"
CATEGORIES = ("bag", "hat", "shoe")


class Shops:
    """Rows of all shops; a shop's blocks carry its number, so that no shop sees another's images."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.rows: dict[int, dict] = {}
        self.next_id = 1
        for shop in range(SHOPS):
            for _ in range(IMAGES):
                self._add(shop)

    def _add(self, shop: int) -> None:
        image_id, self.next_id = self.next_id, self.next_id + 1
        self.rows[image_id] = {"shop": shop, "group_id": 1000 * shop + int(self.rng.integers(14))}
        self._picture(image_id)
        self._category(image_id)

    def _picture(self, image_id: int) -> None:
        # Few distinct pictures: ties and exact duplicates are the rule.
        self.rows[image_id]["content_hash"] = f"picture-{self.rng.integers(40)}"

    def _category(self, image_id: int) -> None:
        probes = self.rng.permutation(CATEGORIES)[: self.rng.integers(1, 3)].tolist()
        self.rows[image_id] |= {"block": None if self.rng.random() < 0.1 else probes[0], "probes": probes}

    def night(self) -> None:
        """Images come, go, get another picture, another category, or are left alone; some shops sleep."""
        for shop in range(SHOPS):
            members = [i for i, row in self.rows.items() if row["shop"] == shop]
            for _ in range(self.rng.integers(0, 4)):
                change = self.rng.integers(4)
                one = int(self.rng.choice(members)) if members else None
                if change == 0 or one not in self.rows:
                    self._add(shop)
                elif change == 1:
                    del self.rows[one]
                elif change == 2:
                    self._picture(one)
                else:
                    self._category(one)

    def vector(self, row: dict) -> np.ndarray:
        x = np.random.default_rng(abs(int(row["content_hash"].split("-")[1]))).standard_normal(8)
        return (x / np.linalg.norm(x)).astype(np.float32)

    def frame(self, spark):
        named = lambda row, name: None if name is None else f"{row['shop']:03d} {name}"  # noqa: E731
        rows = [
            (
                i,
                r["group_id"],
                r["content_hash"],
                self.vector(r).tolist(),
                named(r, r["block"]),
                [named(r, p) for p in r["probes"]],
            )
            for i, r in self.rows.items()
        ]
        return spark.createDataFrame(rows, ROWS).repartition(2)

    def expected(self, k: int = K) -> dict[int, list[int]]:
        found = {}
        for shop in range(SHOPS):
            ids = np.array([i for i, row in self.rows.items() if row["shop"] == shop])
            rows = [self.rows[i] for i in ids]
            x = np.array([self.vector(row) for row in rows]).reshape(len(rows), 8)
            groups = np.array([row["group_id"] for row in rows])
            for at, row in enumerate(rows):
                items = np.array([other["block"] in row["probes"] for other in rows])
                q = slice(at, at + 1)
                _, near = naive(x[q], x[items], k, "cosine", ids[q], ids[items], groups[q], groups[items])
                if (near[0] >= 0).any():
                    found[int(ids[at])] = near[0][near[0] >= 0].tolist()
        return found


def _lists(df) -> dict[int, list[int]]:
    found: dict[int, list[tuple[int, int]]] = {}
    for row in df.collect():
        found.setdefault(row.query_image_id, []).append((row.rank, row.item_image_id))
    assert all([rank for rank, _ in sorted(ranks)] == list(range(1, len(ranks) + 1)) for ranks in found.values())
    return {query: [item for _, item in sorted(ranks)] for query, ranks in found.items()}


def _check_state(state, lists, shops) -> None:
    """Every list is as long as it says, and as far as that the true one; one that calls itself complete is all there
    is.
    """
    stored, true = _lists(lists), shops.expected(K + SPARE_PLACES)
    for row in state.collect():
        mine, all_of_them = stored.get(row.image_id, []), true.get(row.image_id, [])
        assert row.length == len(mine)
        assert mine == all_of_them[: len(mine)]
        assert len(mine) >= min(K, len(all_of_them))
        assert not row.complete or len(mine) == len(all_of_them)


def _readers(lists):
    return lists.where(f"rank <= {K}")


@pytest.mark.parametrize(
    ("seed", "nights"),
    [(0, 1), pytest.param(0, NIGHTS, marks=pytest.mark.slow), pytest.param(1, NIGHTS, marks=pytest.mark.slow)],
)
def test_two_hundred_histories_end_where_full_searches_end(spark, tmp_path, seed, nights):
    shops, config = Shops(seed), KnnConfig(k=K + SPARE_PLACES)
    now = shops.frame(spark).cache()
    found = search_neighbours(number_blocks(now), str(tmp_path / "full"), config).cache()
    assert _lists(_readers(found)) == shops.expected()
    state = state_of(found, now, K + SPARE_PLACES, K).localCheckpoint()
    trimmed = 0
    for night in range(nights):
        before, lists = state, kept_lists(_readers(found), state)
        shops.night()
        now = shops.frame(spark).cache()
        gone = gone_items(now, before).cache()
        changed = changes(now, before, lists, gone, K).cache()
        searched = changed.where("full").count()
        assert 0 < searched < 0.9 * now.count()  # some shops slept
        trimmed += changed.where("trimmed AND NOT complete").count()
        tonight = search_neighbours(
            number_blocks(halved_blocks(now, changed)), str(tmp_path / f"night-{night}"), config
        )
        found = merged_lists(tonight, lists, gone, changed, now, K + SPARE_PLACES).localCheckpoint()
        state = state_of(found, now, K + SPARE_PLACES, K, changed).localCheckpoint()
        assert _lists(_readers(found)) == shops.expected()
        _check_state(state, found, shops)
        everything = halved_blocks(now, changed).withColumn("floor", F.lit(None).cast("float"))
        without = search_neighbours(number_blocks(everything), str(tmp_path / f"no-floor-{night}"), config)
        assert tonight.count() < without.count()  # floors keep out what would not enter a list
    assert trimmed > 0  # spare places were used


def test_a_night_without_changes_searches_nothing(spark, tmp_path):
    shops = Shops(2)
    now = shops.frame(spark).cache()
    found = search_neighbours(number_blocks(now), str(tmp_path / "full"), KnnConfig(k=K + SPARE_PLACES)).cache()
    state = state_of(found, now, K + SPARE_PLACES, K)
    assert gone_items(now, state).isEmpty()
    assert (
        changes(now, state, kept_lists(_readers(found), state), gone_items(now, state), K)
        .where("full OR fresh OR trimmed")
        .isEmpty()
    )
