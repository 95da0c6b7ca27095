"""A kept index: what a manifest says is what its files hold, a killed commit changes nothing, a misfit says why."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from vsspark.knn.compaction import MOST_STRUCK, SMALL_TILES, most_struck, worn_tiles
from vsspark.knn.index import Change, Entry, Settings, commit, delete_unused, new_index, open_index, struck_rows
from vsspark.knn.tiles import ITEMS, MEMBERS, TileRows, read_facts, read_tile, write_tiles

SETTINGS = Settings("cosine", "model-1", 6)


def rows(first, n):
    ids = np.arange(first, first + n)
    vectors = np.random.default_rng(first).standard_normal((n, 6)).astype(np.float32)
    floors = np.full(n, -np.inf, np.float32)
    return TileRows(vectors, ids, ids // 2, floors, pa.array([f"content-{i}" for i in ids]))


def entry(index, name, first, n, block=0, role=MEMBERS):
    write_tiles(f"{index.folder}/tiles", name, [rows(first, n)], None)
    return Entry(f"{name}.arrow", 0, n, block, role)


@pytest.fixture
def index(tmp_path):
    empty = new_index(str(tmp_path / "index"), SETTINGS)._replace(tile_rows=100)
    added = [entry(empty, "a", 0, 10), entry(empty, "b", 100, 5, 1, ITEMS)]
    return commit(empty, Change(added, blocks=("bag", "hat"), label="first"), "struck-1")


def reopened(index, settings=SETTINGS):
    found, why = open_index(index.folder, settings)
    assert why == ""
    return found


def test_what_was_committed_is_what_is_opened(index):
    assert reopened(index) == index
    changed = commit(index, Change([entry(index, "c", 50, 3)], {0: np.array([7, 2])}, label="second"), "struck-2")
    assert reopened(changed) == changed
    assert (changed.version, changed.rows(), changed.label, changed.next_tile) == (2, 16, "second", 3)
    tile = changed.tiles()[0]
    assert tile.rows == 8
    assert read_tile(tile, None).ids.tolist() == [0, 1, 3, 4, 5, 6, 8, 9]
    np.testing.assert_array_equal(read_tile(tile, None).vectors, rows(0, 10).vectors[[0, 1, 3, 4, 5, 6, 8, 9]])
    facts = read_facts(tile, None)
    assert facts.column("position").to_pylist() == [0, 1, 3, 4, 5, 6, 8, 9]
    assert facts.column("content").to_pylist()[2] == "content-3"
    assert read_tile(changed.tiles()[1], None).ids.tolist() == [100, 101, 102, 103, 104]
    again = commit(changed, Change(struck={0: np.array([0, 7]), 2: np.arange(3)}), "struck-3")
    assert struck_rows(again)[0].tolist() == [0, 2, 7]
    assert sorted(again.entries) == [0, 1]  # a tile without rows is gone
    assert reopened(again) == again


def test_a_run_that_is_killed_before_its_manifest_changes_nothing(index):
    entry(index, "half", 70, 4)
    assert reopened(index) == index
    changed = commit(index, Change([entry(index, "c", 50, 3)], {1: np.array([1])}), "struck-2")
    later = commit(changed, Change(struck={0: np.array([1])}), "struck-3")
    assert delete_unused(later) == 2  # the first manifest, and what the killed run left
    assert reopened(later) == later
    assert read_tile(later.tiles()[1], None).ids.tolist() == [100, 102, 103, 104]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (Settings("l2", "model-1", 6), "made with metric cosine, not l2"),
        (Settings("cosine", "model-2", 6), "made with model version model-1, not model-2"),
        (Settings("cosine", "model-1", 7), "made with dimension 6, not 7"),
        (Settings("hamming", "model-1", 6), "no index is kept for metric hamming"),
    ],
)
def test_an_index_that_does_not_fit_says_why(index, settings, why):
    found, reason = open_index(index.folder, settings)
    assert found is None
    assert why in reason


def test_a_damaged_index_says_why_and_a_new_one_takes_its_place(index, tmp_path):
    folder = tmp_path / "index"
    (folder / "tiles" / "a.arrow").rename(folder / "tiles" / "elsewhere")
    assert open_index(index.folder, SETTINGS) == (None, "1 of its tile files are missing, such as a.arrow")
    (folder / "tiles" / "elsewhere").rename(folder / "tiles" / "a.arrow")
    changed = commit(index, Change(struck={0: np.array([1])}), "struck-2")
    (folder / "struck" / "struck-2.arrow").unlink()
    assert "file of struck-out rows is missing" in open_index(index.folder, SETTINGS)[1]
    manifest = folder / "manifest-0000000002.json"
    manifest.write_text(manifest.read_text()[:100])
    assert "manifest-0000000002.json cannot be read" in open_index(index.folder, SETTINGS)[1]
    empty = new_index(index.folder, SETTINGS)
    assert (empty.version, empty.rows()) == (changed.version, 0)
    fresh = commit(empty, Change([entry(empty, "new", 0, 4)]), "struck-3")
    assert reopened(fresh) == fresh
    assert open_index(str(tmp_path / "none"), SETTINGS)[1].startswith("there is no index at")


def entries(index, *sizes, struck=0):
    found = {i: Entry(f"{i}.arrow", 0, n, 0, MEMBERS, struck) for i, n in enumerate(sizes)}
    return index._replace(entries=found, tile_rows=100)


def test_tiles_with_many_rows_struck_out_are_written_anew(index):
    assert all(MOST_STRUCK / 2 <= most_struck(n) <= MOST_STRUCK for n in range(1000))
    assert len({round(most_struck(n), 2) for n in range(100)}) > 5
    assert worn_tiles(entries(index, 100, 100, struck=5)) == []
    assert worn_tiles(entries(index, 100, 100, struck=25)) == [(0,), (1,)]
    assert worn_tiles(entries(index, 60, 60, struck=25)) == [(0, 1)]  # 35 rows each fit one tile


def test_small_tiles_are_merged_when_there_are_several_of_a_size(index):
    assert worn_tiles(entries(index, *[3] * (SMALL_TILES - 1))) == []
    assert worn_tiles(entries(index, *[3] * SMALL_TILES, 49)) == [(0, 1, 2, 3)]
    assert worn_tiles(entries(index, *[4] * SMALL_TILES, 49)) == [(4, 0, 1, 2, 3)]
    assert worn_tiles(entries(index, 90, 40, 41, 42, 43)) == [(4, 3), (2, 1)]


@pytest.mark.parametrize("seed", range(3))
def test_a_year_of_small_changes_leaves_few_tiles_and_writes_little(index, seed):
    rng = np.random.default_rng(seed)
    index = entries(index, *[100] * 20)
    number, written, changed = 20, 0, 0
    for _ in range(365):
        fresh, gone = 5, 5
        changed += fresh
        held = dict(index.entries)
        for _ in range(gone):
            rows_of = np.array([e.rows for e in held.values()])
            tile = int(rng.choice(list(held), p=rows_of / rows_of.sum()))
            held[tile] = held[tile]._replace(struck=held[tile].struck + 1)
            held = {n: e for n, e in held.items() if e.rows}
        held[number] = Entry("new", 0, fresh, 0, MEMBERS)
        number += 1
        for group in worn_tiles(index._replace(entries=held)):
            merged = sum(held[n].rows for n in group)
            written += merged
            for n in group:
                del held[n]
            held[number] = Entry("merged", 0, merged, 0, MEMBERS)
            number += 1
        index = index._replace(entries=held)
        assert sum(e.struck for e in held.values()) <= MOST_STRUCK * sum(e.stored for e in held.values())
        assert len(held) <= 20 / 0.5 + 8
    assert index.rows() == 2000
    assert written <= 8 * changed
