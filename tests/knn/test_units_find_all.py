"""Packs, units and merges without Spark: whatever the slots and the memory, the lists are those of the definition."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from naive_neighbours import naive

from vsspark.config import KnnConfig
from vsspark.knn import layout, partials, plan
from vsspark.knn.tiles import ITEMS, MEMBERS, QUERIES, Tile


def random_shop(rng, n=260, d=7):
    x = rng.standard_normal((n, d)).astype(np.float32)
    x[20:40] = x[:20]
    block = rng.choice([-1, 0, 1, 2], n, p=[0.1, 0.6, 0.2, 0.1])
    probes = [
        [] if rng.random() < 0.1 else sorted({int(b), *rng.integers(0, 4, rng.integers(0, 3)).tolist()} - {-1})
        for b in block
    ]
    return x, rng.permutation(10 * n)[:n], rng.integers(0, n // 2, n), block, probes


def places(block, probes):
    rows = []
    for i, (b, own) in enumerate(zip(block.tolist(), probes, strict=True)):
        if b >= 0:
            rows.append((i, b, MEMBERS if b in own else ITEMS))
        rows += [(i, p, QUERIES) for p in own if p != b]
    return rows


def pack(folder, shop, metric, tile_rows, slots):
    x, ids, groups, block, probes = shop
    rows = places(block, probes)
    counts = {}
    for _, b, role in rows:
        counts[b, role] = counts.get((b, role), 0) + 1
    parts = layout.lay_out(layout.searched(counts), tile_rows, tile_rows, slots)
    packs, kinds = {}, {}
    for i, b, role in rows:
        if (part := parts.get((b, role))) is not None:
            place = int(ids[i]) % len(part.packs)
            packs.setdefault(part.packs[place], []).append((i, part.first + place))
            kinds[part.first + place] = (b, role)
    tiles = {}
    target = partials.PackTarget(folder, "pack", metric, None, None)
    for number, placed in packs.items():
        at, tile = np.array(placed).T
        table = pa.table(
            {
                "image_id": ids[at],
                "group_id": groups[at],
                "embedding": pa.array(list(x[at]), pa.list_(pa.float32())),
                "floor": np.full(len(at), np.nan, np.float32),
                "tile": tile.astype(np.int32),
                "pack": np.full(len(at), number, np.int32),
            }
        )
        for row in partials.write_pack(table, target).to_pylist():
            tiles[row["tile"]] = Tile(row["uri"], row["batch"], row["rows"], *kinds[row["tile"]])
    return tiles


@pytest.mark.parametrize("seed", range(8))
def test_lists_are_those_of_the_definition(tmp_path, seed):
    rng = np.random.default_rng(seed)
    shop = x, ids, groups, block, probes = random_shop(rng)
    slots, held, k = int(rng.integers(1, 9)), int(rng.choice([1, 30, 300])), int(rng.integers(1, 6))
    metric = ["cosine", "l2"][seed % 2]
    tiles = pack(str(tmp_path), shop, metric, int(rng.choice([11, 40, 500])), slots)
    work = plan.units(tiles, slots, held)
    search = partials.Search(tiles, KnnConfig(k=k, metric=metric), 1, str(tmp_path), None)
    batches = []
    for task in plan.tasks(work, slots):
        floors = {}
        for number, unit in task:
            batches += partials.search_unit(number, unit, search, floors)
    emitted = sum(batch.num_rows for batch in batches)
    assert emitted <= sum(plan.lists(tiles, unit) for unit, _ in work)
    found = {}
    for batch in partials.merge(batches, metric):
        for row in batch.to_pylist():
            found.setdefault(row["query_image_id"], []).append(row["item_image_id"])
    for i, own in enumerate(probes):
        items = np.isin(block, own)
        one = slice(i, i + 1)
        _, near = naive(x[one], x[items], k, metric, ids[one], ids[items], groups[one], groups[items])
        assert found.get(int(ids[i]), []) == near[0][near[0] >= 0].tolist()
