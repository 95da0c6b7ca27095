"""Which files are read and which contents the network sees, and what becomes of each: copies, refused copies."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from vsspark.config import EncoderConfig, ImagesConfig
from vsspark.embed.reuse import BUNDLE, known_contents, outcomes, to_read, unchanged, with_bundles, with_content
from vsspark.embed.spark import embed_images, prepare, stat_images

sys.path.insert(0, str(Path(__file__).parent))
from colours import colour_encoder, colour_of

FILES = "image_id long, uri string, size_bytes long, fingerprint string, box string"
KNOWN = "uri string, fingerprint string, size_bytes long, content string, box string"
CONTENTS = "image_id long, content string"
READ = "uri string, turn int, content string, stage string, reason string, detail string, box string"
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


def test_a_file_is_read_once_and_not_where_its_embedding_is_there(table):
    files = table(
        FILES,
        (1, "a", 9, "f"),
        (2, "a", 9, "f"),
        (3, "a", 9, "f", "0 0 9 9"),
        (4, "b", 9, "f"),
        (5, "c", 9, "f"),
        (6, "d", None, None),
    )
    same = table(CONTENTS, (4, "B"), (5, "C"))
    stored = table("content string", ("B",), ("B",))  # C was embedded by another model version, or under other limits
    assert ids(to_read(files, same, stored)) == [1, 3, 5, 6]


def test_a_task_is_told_which_contents_a_file_may_be_a_copy_of(table):
    wanted = table(FILES, (1, "a", 9, "f"), (2, "b", 9, "f", "0 0 9 9"), (3, "c", 8, "f"), (4, "d", None, None))
    stored = table(
        "content_hash string, box string, size_bytes long",
        ("0" * 15 + "f" * 49, None, 9),
        ("0" * 14 + "1" + "e" * 49, None, 9),
        ("f" * 64, "0 0 9 9", 9),
        ("1" * 64, None, 7),
        ("2" * 64, None, None),
    )
    found = {row.image_id: sorted(row.known) for row in known_contents(wanted, stored).collect()}
    assert found == {1: [0, 1], 2: [2**60 - 1], 3: [], 4: []}
    many = table(
        "content_hash string, box string, size_bytes long", *[(f"{i:064x}"[::-1], None, 9) for i in range(1100)]
    )
    assert {row.image_id: len(row.known) for row in known_contents(wanted, many).collect()} == {1: 0, 2: 0, 3: 0, 4: 0}


def test_files_of_one_size_stay_together_in_bundles_of_bounded_size(table):
    wanted = table(
        FILES,
        *[(i, f"few-{i % 3}", 10, "f") for i in range(20)],
        *[(100 + i, f"many-{i}", 20, "f") for i in range(640)],
        *[(1000 + i, f"unknown-{i}", None, None) for i in range(50)],
        *[(2000 + i, f"single-{i}", 10_000 + i, "f") for i in range(50)],
    )
    bundles = {row.image_id: row.bundle for row in with_bundles(wanted).collect()}
    assert len({bundles[i] for i in range(20)}) == 1
    many = Counter(bundles[100 + i] for i in range(640))
    assert len(many) == 10
    assert max(many.values()) < 2 * BUNDLE
    assert len({bundles[1000 + i] for i in range(50)}) == len({bundles[2000 + i] for i in range(50)}) == 50


def test_what_becomes_of_copies(table):
    files = table(
        FILES, *[(i, f"u{i}", 9, None) for i in range(1, 12)], (12, "u11", 9, None), (13, "u1", 9, None, "0 0 9 9")
    )
    same = table(CONTENTS, (1, "old"), (8, "old"))
    cut, gone = ("decode", "truncated", "100 bytes"), ("fetch", "missing", "no such file")
    read = table(
        READ,
        ("u2", 1, "A"),
        ("u3", 1, "A"),
        ("u4", 1, "B", *cut),
        ("u5", 1, "B"),
        ("u6", 1, None, *gone),
        ("u7", 1, "lost"),
        ("u9", 0, None, *gone),
        ("u9", 1, "A"),
        ("u10", 0, "A"),
        ("u10", 1, None, *gone),
        ("u11", 1, "A"),
    )
    stored = table("content string", ("old",), ("A",), ("A",))
    assert settled(outcomes(files, same, read, stored)) == {
        1: ("old", None, None, None),  # known by its fingerprint
        2: ("A", None, None, None),
        3: ("A", None, None, None),  # a copy has what the other got
        4: (None, *cut),
        5: (None, *cut),  # a copy of a refused file is refused for the same reason
        6: (None, *gone),
        7: NOTHING,  # taken for a copy of a content that is stored nowhere: it is read again
        8: ("old", None, None, None),
        9: ("A", None, None, None),  # of two readings the later one counts
        10: (None, *gone),
        11: ("A", None, None, None),
        12: ("A", None, None, None),  # one file of two images
        13: NOTHING,  # another box is another picture
    }


def test_a_content_that_was_refused_and_is_stored_is_good(table):
    """Two readings of one file: one was cut short on its way, the other was not."""
    files = table(FILES, (1, "a", 9, None), (2, "b", 9, None))
    read = table(READ, ("a", 1, "A", "encode", "not_finite", "NaN"), ("b", 1, "A"))
    found = outcomes(files, table(CONTENTS), read, table("content string", ("A",)))
    assert settled(found) == {1: (None, "encode", "not_finite", "NaN"), 2: ("A", None, None, None)}


@pytest.mark.parametrize("partitions", [1, 4])
def test_each_file_is_read_once_and_each_content_embedded_once(spark, tmp_path, partitions):
    """Real files: twenty copies of one picture, a known one, two refused copies of one broken file, two single ones."""
    same = Image.new("RGB", (20, 20), colour_of(0))
    names = []
    for i in range(20):
        same.save(tmp_path / f"copy-{i}.bmp")
        names.append(f"copy-{i}.bmp")
    for i, colour in (("known", 1), ("one", 2), ("two", 3)):
        Image.new("RGB", (20, 20), colour_of(colour)).save(tmp_path / f"{i}.bmp")
    for i in range(2):
        (tmp_path / f"cut-{i}.bmp").write_bytes((tmp_path / "one.bmp").read_bytes()[:60])
    names += ["known.bmp", "one.bmp", "two.bmp", "cut-0.bmp", "cut-1.bmp"]
    config, images = EncoderConfig(unit_norm=False), ImagesConfig()
    model = prepare(spark, colour_encoder(tmp_path), config)
    rows = [(i, str(tmp_path / name), None) for i, name in enumerate(names)]
    files = stat_images(spark.createDataFrame(rows, "image_id long, uri string, box string"), images, {})
    known = hashlib.sha256((tmp_path / "known.bmp").read_bytes()).hexdigest()
    stored = spark.createDataFrame([(known, None, 1254)], "content_hash string, box string, size_bytes long")
    assert (tmp_path / "known.bmp").stat().st_size == 1254
    wanted = with_bundles(known_contents(files, stored)).repartition(partitions, "bundle")
    found = {Path(row.uri).name: row for row in embed_images(wanted, model, images, config, {}).collect()}
    assert len(found) == len(names)
    embedded = {name for name, row in found.items() if row.embedding is not None}
    assert {"one.bmp", "two.bmp"} < embedded
    assert len(embedded) == 3  # and one of the twenty copies
    assert (found["known.bmp"].content_hash, found["known.bmp"].reason) == (known, None)
    assert {found[f"cut-{i}.bmp"].reason for i in range(2)} <= {"truncated", "not_an_image", "corrupt", None}
    assert sum(found[f"cut-{i}.bmp"].reason is None for i in range(2)) == 1
    for name, row in found.items():
        assert row.content_hash == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
