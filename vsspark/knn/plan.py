"""The work of a search, from tile sizes alone: rectangles of tile pairs of about equal cost, dealt to tasks.

A unit holds its left tiles in memory and reads its right tiles one after the other, so it reads left + right tiles for
left x right pairs. A row is in one partial list for each unit that its tile takes part in.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from vsspark.knn.tiles import Tile

# By the simulation: more units mean more reads and lists, fewer leave slots idle at the end.
UNITS_PER_SLOT = 3
TASKS_PER_SLOT = 8  # small units share a task
HELD_BYTES = 640 * 2**20  # left tiles and their lists that a task holds
# Right rows for each left row where queries meet items: only queries have lists, so the item side is longer.
LONGER = 2.0
SQUARE = 2.0  # cost of a unit within a block, in units: a row is in a list for each strip of its block
SMALLEST_TASK = 2**22  # pairs: at 1280 floats .1 s of a core; starting a Python task costs up to .07 s (over TCP)
APPROXIMATE_TILE = 4  # times tile_rows: cells pay off on large tiles
APPROXIMATE_ROW = 4096  # bytes: a row of an approximate join, projected (twice 256 floats), and its list of candidates
APPROXIMATE_PLACES = 70  # most candidates beyond k
PROCESS_BYTES = 256 * 2**20  # a Python worker with NumPy, Numba and Arrow
EMITTED = 16_384  # lists per Arrow batch
PADDED = 256  # rows a tiny tile costs as much as


class Unit(NamedTuple):
    """Tiles `left` search tiles `right`. Numbers index the plan's tiles."""

    left: tuple[int, ...]
    right: tuple[int, ...]
    both: bool  # right also searches left; left == right: every pair of tiles once


class Shape(NamedTuple):
    """What a task's memory depends on besides the rows of its tiles."""

    row_bytes: int  # of a vector
    k: int
    approximate: bool = False
    threads: int = 1  # cores of a task


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


def tasks(work: Sequence[tuple[Unit, float]], slots: int, done: Collection[int] = ()) -> list[list[tuple[int, Unit]]]:
    """The numbered units of each task, but for those that are done; the costliest task first."""
    todo = [(number, unit, cost) for number, (unit, cost) in enumerate(work) if number not in done]
    costs = [cost for _, _, cost in todo]
    bins = min(len(todo), TASKS_PER_SLOT * slots, max(1, round(sum(costs) / SMALLEST_TASK)))
    dealt: list[list[tuple[int, Unit]]] = [[] for _ in range(bins)]
    loads = [0.0] * bins
    for b, (number, unit, cost) in zip(deal(costs, bins), todo, strict=True):
        dealt[b].append((number, unit))
        loads[b] += cost
    return [dealt[b] for b in sorted(range(bins), key=lambda b: (-loads[b], b))]


def held_rows(shape: Shape) -> int:
    """Rows of left tiles that fit a task's memory with their lists."""
    return max(1, HELD_BYTES // (shape.row_bytes + list_bytes(shape.k)))


def list_bytes(k: int) -> int:
    """Bytes of a list of k values, ids and groups."""
    return k * 20


def units(tiles: Mapping[int, Tile], slots: int, held: int) -> list[tuple[Unit, float]]:
    """All units of work with their costs, pairs of rows compared. held: `held_rows`.

    Members of a block join with themselves, each pair of tiles once, serving both; its members and the queries from
    other blocks search its other items one way, and the queries its members, too.
    """
    blocks: dict[int, tuple[list[int], list[int], list[int]]] = defaultdict(lambda: ([], [], []))
    for number, tile in sorted(tiles.items()):
        blocks[tile.block][tile.role].append(number)
    sizes = {number: max(PADDED, tile.rows) for number, tile in tiles.items()}
    target = sum(_block_cost(sizes, *members) for members in blocks.values()) / (UNITS_PER_SLOT * slots)
    found: list[Unit] = []
    for _, (members, items, queries) in sorted(blocks.items()):
        found += _triangle(sizes, members, SQUARE * target, held)
        found += _rectangle(sizes, members, items, target, held)
        found += _rectangle(sizes, queries, members + items, target, held)
    return [(unit, cost(tiles, unit)) for unit in found]


def cost(tiles: Mapping[int, Tile], unit: Unit) -> float:
    """Pairs of rows a unit compares; tiny tiles are padded, so none counts for fewer than PADDED rows."""
    left, right = (sum(max(PADDED, tiles[t].rows) for t in side) for side in (unit.left, unit.right))
    return left * right / 2 if unit.left == unit.right else float(left * right)


def lists(tiles: Mapping[int, Tile], unit: Unit) -> int:
    """How many partial lists a unit emits at most."""
    return sum(tiles[t].rows for t in set(unit.left) | (set(unit.right) if unit.both else set()))


def reads(tiles: Mapping[int, Tile], unit: Unit) -> int:
    """How many rows a unit reads."""
    return sum(tiles[t].rows for t in set(unit.left) | set(unit.right))


def task_bytes(tiles: Mapping[int, Tile], unit: Unit, shape: Shape) -> int:
    """The most that the Python process of a task holds for a unit."""
    left, right = (max(tiles[t].rows for t in side) for side in (unit.left, unit.right))
    held = sum(tiles[t].rows for t in unit.left)
    return _process_bytes(held, left, 0 if unit.left == unit.right else right, shape)


def most_task_bytes(shape: Shape, tile_rows: int) -> int:
    """The most that the Python process of a task holds in any search with tiles of so many rows."""
    return _process_bytes(max(tile_rows, held_rows(shape)), tile_rows, tile_rows, shape)


def _process_bytes(held: int, left: int, right: int, shape: Shape) -> int:
    """The process itself; the held rows and their lists; a right tile and its lists; what is computed of the two tiles
    of a pair (a copy: l2, and cosine of rows that are not of unit length); two batches of lists.
    """
    pair = left + (right or left)
    computed = pair * shape.row_bytes
    if shape.approximate:
        computed += pair * APPROXIMATE_ROW
        computed += (shape.threads - 1) * max(left, right) * list_bytes(shape.k + APPROXIMATE_PLACES)
    rows = (held + right) * (shape.row_bytes + list_bytes(shape.k))
    return PROCESS_BYTES + rows + computed + 2 * EMITTED * list_bytes(shape.k)


def _block_cost(sizes: Mapping[int, int], members: list[int], items: list[int], queries: list[int]) -> float:
    asking, passive, visiting = (sum(sizes[t] for t in side) for side in (members, items, queries))
    return asking * asking / 2 + asking * passive + visiting * (asking + passive)


def _triangle(sizes: Mapping[int, int], members: list[int], target: float, held: int) -> Iterator[Unit]:
    """Squares on and above the diagonal: a square has the fewest reads and the fewest lists for its pairs."""
    side = min(held, math.sqrt(target))
    strips = _strips(sizes, members, side)
    # Where memory keeps the left strip shorter, the right one is longer.
    longer = max(1, int(target / side / side))
    for i, left in enumerate(strips):
        yield Unit(left, left, True)
        for j in range(i + 1, len(strips), longer):
            yield Unit(left, tuple(t for strip in strips[j : j + longer] for t in strip), True)


def _rectangle(
    sizes: Mapping[int, int], queries: list[int], items: list[int], target: float, held: int
) -> Iterator[Unit]:
    """Queries held, items read past them."""
    if not queries or not items:
        return
    there = sum(sizes[t] for t in items)
    right = min(there, math.sqrt(target * LONGER))
    left = min(held, target / right)
    rights = _strips(sizes, items, max(right, target / min(left, sum(sizes[t] for t in queries))))
    for strip in _strips(sizes, queries, left):
        yield from (Unit(strip, other, False) for other in rights)


def _strips(sizes: Mapping[int, int], numbers: list[int], rows: float) -> list[tuple[int, ...]]:
    """The tiles cut into strips of about even length, of at most so many rows or of one tile."""
    if not numbers:
        return []
    mean = sum(sizes[t] for t in numbers) / len(numbers)
    count = -(-len(numbers) // max(1, int(rows / mean * 1.001)))
    bounds = [round(i * len(numbers) / count) for i in range(count + 1)]
    return [tuple(numbers[a:b]) for a, b in itertools.pairwise(bounds)]
