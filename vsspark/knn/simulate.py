"""What a search of a large shop costs, before anybody runs it: tiles and units as `packing` and `spark` make them, from
row counts.

    python -m vsspark.knn.simulate        # ten million images, 1,000 categories, 400 slots: a table
"""

from __future__ import annotations

import heapq
import pickle
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from vsspark.knn import layout, plan
from vsspark.knn.tiles import MEMBERS, QUERIES, Tile


@dataclass(frozen=True)
class Shop:
    """A catalogue and a cluster."""

    images: int = 10_000_000
    categories: int = 1_000  # their sizes follow Zipf's law
    probes: int = 3  # categories a query searches: its own and others, drawn by their sizes
    floats: int = 1280
    k: int = 25  # places of a list: 20 and the spare ones
    slots: int = 400
    cores: int = 1  # of a slot
    tile_rows: int = 8192
    approximate: bool = False


_DRAWS = 2**22


class Cost(NamedTuple):
    """What the simulation says; bytes, if not said otherwise."""

    tiles: int  # number
    units: int  # number
    embeddings: int  # every image once
    packed: int  # the vectors that packing writes
    read: int  # the vectors that all units read
    lists: float  # partial lists of a query, on average
    most_lists: int  # of the query with most
    driver: int  # the larger of the two objects that the driver sends to tasks: units by task, tiles
    task: int  # the most that a task holds: tiles, copies of the pair that is multiplied, lists, output
    busy: float  # share of slots x time in which a slot has work


def shop_rows(shop: Shop, seed: int = 0) -> dict[tuple[int, int], int]:
    """Rows by (block, role): each image is a member of its category and a query of the others that it probes."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, shop.categories + 1)
    # A category by a uniform integer: ten times as fast as a search among the sums of shares.
    bounds = np.round(np.cumsum(share) / share.sum() * _DRAWS).astype(int)
    category = np.repeat(np.arange(shop.categories, dtype=np.int16), np.diff(bounds, prepend=0))

    def draw(count: int) -> np.ndarray:
        return category[rng.integers(0, _DRAWS, count, np.int32)]

    own = draw(shop.images)
    drawn = [own]
    for _ in range(shop.probes - 1):
        other = draw(shop.images)
        while len(again := np.flatnonzero(np.any([other == before for before in drawn], axis=0))):
            other[again] = draw(len(again))
        drawn.append(other)
    members = np.bincount(own, minlength=shop.categories)
    visits = sum((np.bincount(other, minlength=shop.categories) for other in drawn[1:]), np.zeros_like(members))
    rows = {(block, MEMBERS): int(n) for block, n in enumerate(members) if n}
    return rows | {(block, QUERIES): int(n) for block, n in enumerate(visits) if n}


def simulate(shop: Shop, rows: dict[tuple[int, int], int]) -> Cost:
    """The cost of a search. rows: `shop_rows`."""
    tile_rows = plan.APPROXIMATE_TILE * shop.tile_rows if shop.approximate else shop.tile_rows
    smallest = layout.APPROXIMATE_SMALLEST if shop.approximate else layout.SMALLEST_TILE
    tile_rows = layout.rows_per_tile(rows, tile_rows, shop.slots, smallest)
    tiles: dict[int, Tile] = {}
    for (block, role), part in layout.lay_out(rows, tile_rows, tile_rows, shop.slots).items():
        for i, size in enumerate(layout.tile_sizes(rows[block, role], tile_rows)):
            uri = f"s3a://bucket/vsspark/_work/neighbours/0123456789abcdef/pack-{part.packs[i]:06d}.arrow"
            tiles[part.first + i] = Tile(uri, i, round(size), block, role)
    width = shop.floats * 4
    shape = plan.Shape(width, shop.k, shop.approximate, shop.cores)
    work = plan.units(tiles, shop.slots, plan.held_rows(shape))
    costs = [cost for _, cost in work]
    dealt = plan.tasks(work, shop.slots)
    loads = [sum(costs[number] for number, _ in task) for task in dealt]
    lists = np.zeros(len(tiles), np.int64)  # per row of a tile
    for unit, _ in work:
        lists[list(set(unit.left) | (set(unit.right) if unit.both else set()))] += 1
    total = sum(plan.lists(tiles, unit) for unit, _ in work)
    packed = sum(tile.rows for tile in tiles.values())
    return Cost(
        len(tiles),
        len(work),
        shop.images * width,
        packed * width,
        sum(plan.reads(tiles, unit) for unit, _ in work) * width,
        total / shop.images,
        most_lists(tiles, lists, shop.probes),
        max(len(pickle.dumps(dealt)), len(pickle.dumps(tiles))),
        max(plan.task_bytes(tiles, unit, shape) for unit, _ in work),
        busy_share(loads, shop.slots),
    )


def most_lists(tiles: dict[int, Tile], lists: np.ndarray, probes: int) -> int:
    """Lists of a query that lives in one block and probes those where it gets most."""
    blocks = 1 + max(tile.block for tile in tiles.values())
    most = np.zeros((2, blocks), np.int64)
    for number, tile in tiles.items():
        role = int(tile.role == QUERIES)
        most[role, tile.block] = max(most[role, tile.block], lists[number])
    best = 0
    for home in range(blocks):
        others = np.sort(np.delete(most[1], home))[::-1][: probes - 1]
        best = max(best, int(most[0, home] + others.sum()))
    return best


def busy_share(loads: list[float], slots: int) -> float:
    """Work / (slots x time) where tasks start in their order, each on the slot that is free first, as Spark does."""
    free = [0.0] * slots
    for load in loads:
        heapq.heapreplace(free, free[0] + load)
    return sum(loads) / (slots * max(free))


def table(costs: dict[str, Cost]) -> str:
    """A Markdown table of the costs, a column for each name."""
    lines = {
        "tiles, units": lambda c: f"{c.tiles:,}, {c.units:,}",
        "embeddings, packed, GB": lambda c: f"{c.embeddings / 1e9:.0f}, {c.packed / 1e9:.0f}",
        "tile reads, times the packed bytes": lambda c: f"{c.read / c.packed:.1f}",
        "tile reads, times the embeddings": lambda c: f"{c.read / c.embeddings:.0f}",
        "partial lists of a query, mean": lambda c: f"{c.lists:.1f}",
        "the same, of the query with most": lambda c: f"{c.most_lists}",
        "largest object of the driver, MB": lambda c: f"{c.driver / 1e6:.1f}",
        "memory of the largest task, GB": lambda c: f"{c.task / 1e9:.1f}",
        "slots busy": lambda c: f"{c.busy:.2f}",
    }
    rows = [["", *costs], ["---"] * (len(costs) + 1)]
    rows += [[name, *(text(cost) for cost in costs.values())] for name, text in lines.items()]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def shops(**changes: int) -> dict[str, Cost]:
    """The costs of both modes, with a core a task and with four. changes: fields of `Shop`."""
    one = Shop(**changes)
    rows = shop_rows(one)
    four = replace(one, slots=max(1, one.slots // 4), cores=4)
    named = {
        "exact": one,
        "approximate": replace(one, approximate=True),
        "exact, 4 cores a task": four,
        "approximate, 4 cores a task": replace(four, approximate=True),
    }
    return {name: simulate(shop, rows) for name, shop in named.items()}


if __name__ == "__main__":
    print(table(shops()), end="")
