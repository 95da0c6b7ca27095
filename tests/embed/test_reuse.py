"""Which files the network must see, and what becomes of each: copies, refused copies, files that vanish or change
between the hash and the picture.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
from PIL import Image

from vsspark.config import EncoderConfig, ImagesConfig
from vsspark.embed.reuse import outcomes, possible_copies, to_embed, unchanged, with_content
from vsspark.embed.spark import embed_images, hash_images, prepare, stat_images

sys.path.insert(0, str(Path(__file__).parent))
from colours import colour_encoder, colour_of

FILES = "image_id long, uri string, size_bytes long, fingerprint string, box string"
KNOWN = "uri string, fingerprint string, size_bytes long, content string, box string"
HASHED = "image_id long, content string"
EMBEDDED = "image_id long, content string, stage string, reason string, detail string"
NOTHING = (None, None, None, None)


@pytest.fixture
def table(spark):
    """Rows of a schema; the last columns may be left out and are null."""
    return lambda schema, *rows: spark.createDataFrame(
        [row + (None,) * (schema.count(",") + 1 - len(row)) for row in rows], schema
    )


def ids(frame) -> list[int]:
    return sorted(row.image_id for row in frame.collect())


def settled(frame) -> dict[int, tuple]:
    rows = frame.collect()
    assert len({row.image_id for row in rows}) == len(rows)
    return {row.image_id: (row.content, row.stage, row.reason, row.detail) for row in rows}


def test_a_file_is_unchanged_where_its_fingerprint_is_known(table):
    files = table(
        FILES, (1, "a", 9, "f1"), (2, "a", 9, "f1"), (3, "b", 9, "f9"), (4, "c", None, None), (5, "d", 9, "f1")
    )
    known = table(KNOWN, ("a", "f1", 9, "A"), ("a", "f1", 9, "A"), ("b", "f2", 9, "B"), ("c", None, None, "C"))
    # Unknown equals nothing, another place is another file.
    assert sorted(map(tuple, unchanged(files, known).collect())) == [(1, "A"), (2, "A")]


def test_a_file_with_another_box_is_another_picture(table):
    files = table(FILES, *[(i, "a", 9, "f1", box) for i, box in enumerate(("0 0 9 9", "1 1 9 9", None))])
    known = table(
        KNOWN, ("a", "f1", 9, "A 0 0 9 9", "0 0 9 9"), ("a", "f1", 9, "A", None), ("b", "f1", 9, "A 1 1 9 9", "1 1 9 9")
    )
    assert sorted(map(tuple, unchanged(files, known).collect())) == [(0, "A 0 0 9 9"), (2, "A")]


def test_a_content_is_the_bytes_and_the_box(table):
    rows = table(
        "image_id long, content_hash string, box string", (1, "A"), (2, "A", "0 0 9 9"), (3, None, "0 0 9 9"), (4,)
    )
    assert [row.content for row in with_content(rows).orderBy("image_id").collect()] == ["A", "A 0 0 9 9", None, None]


def test_only_sizes_that_occur_twice_or_are_known_are_hashed(table):
    changed = table(
        FILES,
        (1, "a", 10, "x"),
        (2, "b", 10, "x"),
        (3, "c", 20, "x"),
        (4, "d", 20, "x"),
        (5, "e", 30, "x"),
        (6, "f", 40, "x"),
    )
    alike = changed.union(
        table(FILES, (7, "g", 50, "x"), (8, "g", 50, "x"), (9, "h", None, None), (10, "i", None, None))
    )
    known = table(KNOWN, ("z", "f", 40, "Z"), ("y", None, None, "Y"))
    assert ids(possible_copies(alike, known)) == [1, 2, 3, 4, 6, 7, 8]  # 7, 8: one file of two products


def test_of_every_new_content_one_file_is_embedded(table):
    changed = table(FILES, *[(i, f"u{i}", 9, None) for i in range(1, 8)])
    hashed = table(HASHED, (1, "A"), (2, "A"), (3, "known"), (4, None), (5, None))
    known = table(KNOWN, ("z", "f", 9, "known"), ("z2", "f", 9, "known"))
    assert ids(to_embed(changed, hashed, known)) == [1, 4, 5, 6, 7]  # unreadable and not hashed: each by itself


def test_what_becomes_of_copies(table):
    files = table(FILES, *[(i, f"u{i}", 9, None) for i in range(1, 12)])
    same = table(HASHED, (1, "old"))
    hashed = table(
        HASHED,
        (1, "other"),
        (2, "A"),
        (3, "A"),
        (4, "B"),
        (5, "B"),
        (6, "C"),
        (7, "C"),
        (8, "old"),
        (9, None),
        (10, "D"),
    )
    cut, gone = ("decode", "truncated", "100 bytes"), ("fetch", "missing", "no such file")
    embedded = table(
        EMBEDDED,
        (2, "A", None, None, None),
        (4, "B", *cut),
        (6, None, *gone),
        (9, None, *gone),
        (10, "now D2", None, None, None),
        (11, "E", *cut),
    )
    known = table(KNOWN, ("u1", "f", 9, "old"), ("u2", None, 9, "A"), ("u2", None, 9, "A"), ("u10", None, 9, "now D2"))
    assert settled(outcomes(files, same, hashed, embedded, known)) == {
        1: ("old", None, None, None),  # known by its fingerprint, whatever a hash says
        2: ("A", None, None, None),
        3: ("A", None, None, None),  # a copy has what the other got
        4: (None, *cut),
        5: (None, *cut),  # a copy of a refused file is refused for the same reason
        6: (None, *gone),
        7: NOTHING,  # the file that stood for it vanished: it must be looked at itself
        8: ("old", None, None, None),
        9: (None, *gone),
        10: ("now D2", None, None, None),  # what the network saw, not what was hashed before
        11: (None, *cut),
    }


def test_a_content_that_was_refused_and_is_known_good_is_good(table):
    """Two readings of one file: one was cut short on its way, the other was not."""
    files, none = table(FILES, (1, "a", 9, None), (2, "b", 9, None)), table(HASHED)
    known = table(KNOWN, ("b", None, 9, "A"))
    found = outcomes(
        files, none, table(HASHED, (1, "A"), (2, "A")), table(EMBEDDED, (1, "A", "encode", "not_finite", "NaN")), known
    )
    assert settled(found) == {1: (None, "encode", "not_finite", "NaN"), 2: ("A", None, None, None)}


def test_files_that_change_between_their_hash_and_their_picture(spark, tmp_path):
    """Real files, hashed, then changed, then embedded; the stage asks once more for those that are left without an
    outcome.
    """
    paths = [tmp_path / f"{i}.bmp" for i in range(8)]

    def draw(i: int, colour: int) -> str:
        Image.new("RGB", (20, 20), colour_of(colour)).save(paths[i])
        return hashlib.sha256(paths[i].read_bytes()).hexdigest()

    first = [draw(i, 0) for i in range(4)] + [draw(i, 1) for i in (4, 5)] + [draw(i, i) for i in (6, 7)]
    config, images = EncoderConfig(unit_norm=False), ImagesConfig()
    model = prepare(spark, colour_encoder(tmp_path), config)
    names = spark.createDataFrame([(i, str(path)) for i, path in enumerate(paths)], "image_id long, uri string")
    files = stat_images(names, images, {}).localCheckpoint()
    nothing = spark.createDataFrame([], KNOWN)
    hashed = (
        with_content(hash_images(possible_copies(files, nothing), images, {}))
        .select("image_id", "content")
        .localCheckpoint()
    )
    wanted = to_embed(files, hashed, nothing)
    assert ids(wanted) == [0, 4, 6, 7]

    now = draw(0, 3)  # stood for 1, 2 and 3
    paths[4].unlink()  # stood for 5
    paths[6].write_bytes(paths[6].read_bytes()[:60])
    found = embed_images(wanted, model, images, config, {}).collect()
    embedded = [(row.image_id, row.content_hash, row.stage, row.reason, row.detail) for row in found]
    known = [
        (row.uri, row.fingerprint, row.size_bytes, row.content_hash, row.box) for row in found if row.reason is None
    ]
    none = spark.createDataFrame([], HASHED)
    outcome = settled(
        outcomes(files, none, hashed, spark.createDataFrame(embedded, EMBEDDED), spark.createDataFrame(known, KNOWN))
    )
    assert {i for i, row in outcome.items() if row == NOTHING} == {1, 2, 3, 5}
    assert (outcome[0][0], outcome[4][2], outcome[6][2], outcome[7][0]) == (now, "missing", "truncated", first[7])

    left = files.where("image_id IN (1, 2, 3, 5)")
    more = embed_images(left, model, images, config, {}).collect()
    embedded += [(row.image_id, row.content_hash, row.stage, row.reason, row.detail) for row in more]
    known += [(row.uri, row.fingerprint, row.size_bytes, row.content_hash, row.box) for row in more]
    outcome = settled(
        outcomes(files, none, hashed, spark.createDataFrame(embedded, EMBEDDED), spark.createDataFrame(known, KNOWN))
    )
    assert {i: row[0] for i, row in outcome.items() if i in (1, 2, 3, 5)} == {i: first[i] for i in (1, 2, 3, 5)}
