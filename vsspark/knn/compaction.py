"""Which tiles of an index are written anew: those with many rows struck out, and small ones when there are several."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from vsspark.knn.index import Entry, Index

MOST_STRUCK = 0.2  # share of a tile's rows
SMALL_TILES = 4  # that are merged: few enough that a search does not feel them
SIMILAR = (
    4  # a tile joins smaller ones that have a quarter of its rows: so a row is written anew a few times, not nightly
)


def worn_tiles(index: Index) -> list[tuple[int, ...]]:
    """The tiles that each new tile is made from."""
    kinds: dict[tuple[int, int], dict[int, Entry]] = defaultdict(dict)
    for number, entry in index.entries.items():
        kinds[entry.block, entry.role][number] = entry
    return [group for _, tiles in sorted(kinds.items()) for group in _groups(tiles, index.tile_rows)]


def most_struck(number: int) -> float:
    """Share of a tile's rows that may be struck out: half of MOST_STRUCK to all of it, by the tile's number, so that
    tiles of one age are not all written anew in one night.
    """
    return MOST_STRUCK * (1 + (number * 2654435761 % 2**32) / 2**32) / 2


def _groups(tiles: Mapping[int, Entry], tile_rows: int) -> Iterator[tuple[int, ...]]:
    worn = [number for number, tile in tiles.items() if tile.struck > most_struck(number) * tile.stored]
    small = [number for number, tile in tiles.items() if tile.rows < tile_rows / 2 and number not in worn]
    small.sort(key=lambda number: (tiles[number].rows, number))
    merged, rows = [], 0
    for number in small:
        if merged and tiles[number].rows > SIMILAR * rows:
            break
        merged.append(number)
        rows += tiles[number].rows
    chosen = worn + (merged if len(merged) >= SMALL_TILES or worn else [])
    group: list[int] = []
    rows = 0
    for number in sorted(chosen, key=lambda number: (-tiles[number].rows, number)):
        if group and rows + tiles[number].rows > tile_rows:
            yield tuple(group)
            group, rows = [], 0
        group.append(number)
        rows += tiles[number].rows
    if group and (len(group) > 1 or group[0] in worn):
        yield tuple(group)
