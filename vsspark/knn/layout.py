"""Which tiles a search packs, from the number of rows in each block alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vsspark.knn.tiles import MEMBERS, QUERIES

PAIRS_PER_SLOT = 4  # pairs of tiles for each task slot, at least: with fewer, some slots would have no work
SMALLEST_TILE = 512  # rows: below this the products lose speed
APPROXIMATE_SMALLEST = 16_384  # rows: in smaller tiles cells gain little
SMALLEST_PACK = 4096  # rows a packing task is started for, 20 MB at 1280 floats

Rows = Mapping[tuple[int, int], int]  # (block, role) -> rows


class Part(NamedTuple):
    """The tiles of one role in one block."""

    first: int  # number of the first tile; the others follow
    packs: tuple[int, ...]  # the pack of each tile: one file, written by one task


def rows_per_tile(rows: Rows, tile_rows: int, slots: int, smallest: int = SMALLEST_TILE) -> int:
    """Rows per tile: tile_rows, or fewer, but not below `smallest`, where that would leave too few pairs of tiles for
    all slots.
    """
    items: dict[int, int] = {}
    for (block, role), count in rows.items():
        items[block] = items.get(block, 0) + (count if role != QUERIES else 0)
    pairs = sum(n * n + 2 * n * rows.get((block, QUERIES), 0) for block, n in items.items())
    return min(tile_rows, max(smallest, math.isqrt(pairs // (PAIRS_PER_SLOT * slots))))


def searched(rows: Rows) -> dict[tuple[int, int], int]:
    """The rows without items that nobody searches and without queries of blocks that hold no item."""
    queried = {block for block, role in rows if role in (MEMBERS, QUERIES)}
    filled = {block for block, role in rows if role != QUERIES}
    return {(block, role): count for (block, role), count in sorted(rows.items()) if block in queried & filled}


def lay_out(rows: Rows, tile_rows: int, most_pack_rows: int, slots: int, first: int = 0) -> dict[tuple[int, int], Part]:
    """The tiles of each (block, role), of at most tile_rows rows, numbered from `first`; small tiles share a pack."""
    capacity = min(most_pack_rows, max(SMALLEST_PACK, sum(rows.values()) // (2 * slots)))
    parts: dict[tuple[int, int], Part] = {}
    number, pack, filled = first, 0, 0.0
    for key, count in sorted(rows.items()):
        sizes = tile_sizes(count, tile_rows)
        packs = []
        for size in sizes:
            if filled and filled + size > capacity:
                pack, filled = pack + 1, 0.0
            filled += size
            packs.append(pack)
        parts[key] = Part(number, tuple(packs))
        number += len(sizes)
    return parts


def tile_sizes(count: int, tile_rows: int) -> Sequence[float]:
    """The expected rows of each tile that so many rows are dealt to."""
    tiles = -(-count // tile_rows)
    return [count / tiles] * tiles
