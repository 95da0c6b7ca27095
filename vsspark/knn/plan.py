"""The work of a search, from tile sizes alone: rectangles of tile pairs of about equal cost, dealt to tasks."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from vsspark.knn.tiles import NO_BLOCK, Tile

UNITS_PER_SLOT = 4  # units of work per task slot: enough that the last ones to finish leave no core idle for long
WIDEST = 16  # tiles along a unit's side: bounds its lists at 2 * WIDEST * tile_rows * k * 20 bytes
SMALLEST_TILE = 512  # rows: below this the products lose speed
SMALLEST_TASK = 2**22  # pairs: at 1280 floats .1 s of a core; starting a Python task costs up to .07 s (over TCP)
SMALLEST_PACK = 4096  # rows a packing task is started for, 20 MB at 1280 floats


class Unit(NamedTuple):
    """Tiles `left` search tiles `right`. Numbers index the plan's tiles."""

    left: tuple[int, ...]
    right: tuple[int, ...]
    both: bool  # right also searches left; left == right: every pair of tiles once
    probe: int | None  # only the rows of left that probe this block search; None: all of them


def rows_per_tile(block_rows: Sequence[int], tile_rows: int, slots: int, smallest: int = SMALLEST_TILE) -> int:
    """Rows per tile: tile_rows, or fewer, but not below `smallest`, where that would leave too few pairs of tiles for
    all slots.
    """
    enough = math.isqrt(sum(n * n for n in block_rows) // (UNITS_PER_SLOT * slots))
    return min(tile_rows, max(smallest, enough))


def deal(costs: Sequence[float], bins: int) -> list[int]:
    """The bin of each piece of work, largest first to the bin with least so far: no bin exceeds 4/3 of the best
    possible split.
    """
    loads = [(0.0, b) for b in range(bins)]
    chosen = [0] * len(costs)
    for piece in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        load, b = heapq.heappop(loads)
        chosen[piece] = b
        heapq.heappush(loads, (load + costs[piece], b))
    return chosen


def units(tiles: Mapping[int, Tile], slots: int, tile_rows: int, widest: int = WIDEST) -> list[tuple[Unit, float]]:
    """All units of work with their costs, pairs of rows compared.

    Blocks join with themselves: each pair of tiles of searching rows once, serving both; rows that are only items are
    searched one way. Rows of other tiles that probe the block are gathered, tile_rows at a time, and search all of
    its tiles.
    """
    asking, answering, visitors = defaultdict(list), defaultdict(list), defaultdict(list)
    for number, tile in sorted(tiles.items()):
        if tile.block != NO_BLOCK:
            (asking if tile.asks else answering)[tile.block].append(number)
    for number, tile in sorted(tiles.items()):
        for block in tile.probed:
            if block in asking or block in answering:
                visitors[block].append(number)
    blocks = sorted(set(asking) | set(answering))
    whole = [
        unit for b in blocks for unit in _block_units(tiles, b, asking[b], answering[b], visitors[b], widest, tile_rows)
    ]
    target = sum(cost(tiles, unit) for unit in whole) / (UNITS_PER_SLOT * slots)
    found = []
    for b in blocks:
        members = asking[b] + answering[b]
        mean = sum(tiles[t].rows for t in members) / len(members)
        side = max(1, min(widest, int(math.sqrt(target) / mean)))
        found += _block_units(tiles, b, asking[b], answering[b], visitors[b], side, tile_rows)
    return [(unit, cost(tiles, unit)) for unit in found]


def cost(tiles: Mapping[int, Tile], unit: Unit) -> float:
    """Pairs of rows a unit compares; tiny tiles are padded, so no side counts for fewer than 256 rows."""
    right = sum(max(256, tiles[t].rows) for t in unit.right)
    if unit.probe is not None:
        return float(max(256, sum(tiles[t].probed[unit.probe] for t in unit.left)) * right)
    left = sum(max(256, tiles[t].rows) for t in unit.left)
    return left * right / 2 if unit.left == unit.right else float(left * right)


def lists(tiles: Mapping[int, Tile], unit: Unit) -> int:
    """How many partial lists a unit emits at most."""
    if unit.probe is not None:
        return sum(tiles[t].probed[unit.probe] for t in unit.left)
    return sum(tiles[t].rows for t in set(unit.left) | (set(unit.right) if unit.both else set()))


def _block_units(
    tiles: Mapping[int, Tile],
    block: int,
    asking: list[int],
    answering: list[int],
    visitors: list[int],
    side: int,
    tile_rows: int,
) -> Iterator[Unit]:
    strips = [tuple(asking[i : i + side]) for i in range(0, len(asking), side)]
    passive = [tuple(answering[i : i + side]) for i in range(0, len(answering), side)]
    for i, left in enumerate(strips):
        yield from (Unit(left, right, True, None) for right in strips[i:])
        yield from (Unit(left, right, False, None) for right in passive)
    gathered: list[int] = []
    rows = 0
    for number in [*visitors, None]:
        more = 0 if number is None else tiles[number].probed[block]
        if gathered and (number is None or rows + more > tile_rows):
            yield from (Unit(tuple(gathered), right, False, block) for right in strips + passive)
            gathered, rows = [], 0
        if number is not None:
            gathered.append(number)
            rows += more
