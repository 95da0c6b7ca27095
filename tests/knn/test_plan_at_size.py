"""Ten million images on 400 slots, planned: reads, lists, memory and idle slots stay within bounds, and the documents
say what the simulation says.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vsspark.knn import layout, plan, simulate
from vsspark.knn.tiles import ITEMS, MEMBERS, QUERIES, Tile

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def costs():
    return simulate.shops()


@pytest.mark.parametrize("mode", ["exact", "approximate", "exact, 4 cores a task", "approximate, 4 cores a task"])
def test_ten_million_images_on_400_slots(costs, mode):
    cost = costs[mode]
    assert cost.embeddings == 10_000_000 * 1280 * 4
    assert cost.embeddings < cost.packed <= 3 * cost.embeddings  # at most one copy for each probe
    assert cost.read <= 10 * cost.packed
    assert cost.lists <= 12
    assert cost.driver <= 200e6
    assert cost.task <= 2e9
    assert cost.busy >= 0.9


def test_the_documents_have_the_figures_of_the_simulation(costs):
    pytest.importorskip("pyspark")
    from vsspark.knn.spark import search_neighbours

    assert simulate.table(costs) in (REPO / "docs" / "knn.md").read_text()
    said = " ".join(search_neighbours.__doc__.split())
    exact, approximate, *_ = costs.values()
    assert f"{exact.packed / 1e9:.0f} GB packed" in said
    assert f"tile reads of {exact.read / exact.packed:.1f} times the packed bytes (approximate: " in said
    assert f"(approximate: {approximate.read / approximate.packed:.1f})" in said
    assert f"{exact.lists:.1f} partial lists a query" in said
    assert f"{exact.task / 1e9:.1f} GB in the largest task (approximate: {approximate.task / 1e9:.1f})" in said


@pytest.mark.parametrize(("probes", "slots"), [(1, 2), (1, 40), (2, 400), (3, 16)])
def test_other_shops_and_clusters_keep_memory_and_slots(probes, slots):
    for cost in simulate.shops(images=1_000_000, categories=100, probes=probes, slots=slots).values():
        assert cost.task <= 2e9
        assert cost.busy >= 0.75
        assert cost.read <= 12 * cost.packed


def test_the_query_with_most_lists_lives_and_probes_where_there_are_most():
    tiles = {i: Tile("", 0, 9, block, role) for i, (block, role) in enumerate([(0, 0), (0, 2), (1, 0), (1, 2), (2, 2)])}
    assert simulate.most_lists(tiles, np.array([5, 1, 2, 7, 4]), 3) == 5 + 7 + 4
    assert simulate.most_lists(tiles, np.array([5, 1, 2, 7, 4]), 2) == 5 + 7


def test_busy_slots_by_hand():
    assert simulate.busy_share([3.0, 1.0, 1.0, 1.0], 2) == 1.0
    assert simulate.busy_share([1.0, 1.0, 1.0, 3.0], 2) == 6 / 8


def random_tiles(rng):
    roles = [MEMBERS, ITEMS, QUERIES]
    sizes = rng.integers(1, 900, rng.integers(1, 60))
    return {i: Tile("", 0, int(n), int(rng.integers(4)), int(rng.choice(roles))) for i, n in enumerate(sizes)}


@pytest.mark.parametrize("seed", range(12))
def test_every_pair_that_must_meet_meets_once(seed):
    rng = np.random.default_rng(seed)
    tiles = random_tiles(rng)
    slots, held = int(rng.integers(1, 50)), int(rng.integers(1, 4000))
    seen = []
    for unit, _ in plan.units(tiles, slots, held):
        for i, a in enumerate(unit.left):
            seen += [tuple(sorted((a, b))) for b in (unit.right[i:] if unit.left == unit.right else unit.right)]
        assert unit.both == (tiles[unit.right[0]].role == MEMBERS == tiles[unit.left[0]].role)
        assert len(unit.left) == 1 or sum(tiles[t].rows for t in unit.left) <= 2 * max(held, plan.PADDED)
    wanted = {
        tuple(sorted((a, b)))
        for a, left in tiles.items()
        for b, right in tiles.items()
        if left.block == right.block
        and (
            (left.role == right.role == MEMBERS)
            or (left.role == MEMBERS and right.role == ITEMS)
            or (left.role == QUERIES and right.role != QUERIES)
        )
    }
    assert len(seen) == len(set(seen))
    assert set(seen) == wanted


def test_every_row_has_a_tile_and_useless_ones_have_none():
    rows = {(0, MEMBERS): 20_000, (0, QUERIES): 5, (1, ITEMS): 7, (2, QUERIES): 9, (3, ITEMS): 8, (3, QUERIES): 1}
    wanted = layout.searched(rows)
    assert wanted == {(0, MEMBERS): 20_000, (0, QUERIES): 5, (3, ITEMS): 8, (3, QUERIES): 1}
    parts = layout.lay_out(wanted, 8192, 8192, 1)
    assert [(part.first, len(part.packs)) for part in parts.values()] == [(0, 3), (3, 1), (4, 1), (5, 1)]
    packs = [pack for part in parts.values() for pack in part.packs]
    assert packs == sorted(packs)
    assert parts[3, QUERIES].packs == parts[3, ITEMS].packs  # small tiles share one
