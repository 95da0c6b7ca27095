"""Pictures that are replaced while the job reads them, some of them in place and piece by piece."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from invariants import connect, content
from shops import arguments, draw_shop

from jobs import recommend
from vsspark import encoders
from vsspark.config import EncoderConfig, ImagesConfig
from vsspark.embed.kernel.frame import embed_batches
from vsspark.embed.kernel.photos import PhotoSource
from vsspark.encoders.engines import OnnxEngine

ANY = [
    "gate.max_quarantined=1.0",
    "gate.min_coverage=0.0",
    "gate.max_changed=1.0",
    "gate.max_drift=1.0",
    "gate.max_products_lost=1.0",
]


def _vectors(files: list[Path]) -> dict[str, np.ndarray]:
    """The embedding of every file that shows a picture, by its SHA-256, without Spark."""
    encoder = encoders.load("default")
    engine = OnnxEngine(str(encoder.files["onnxruntime"]), 4, 2)
    rows = pa.record_batch({"image_id": pa.array(range(len(files)), pa.int64()), "uri": [str(file) for file in files]})
    photos = PhotoSource(encoder.input_size, ImagesConfig(), {}, 2)
    found = [row for batch in embed_batches([rows], engine, EncoderConfig(), photos) for row in batch.to_pylist()]
    return {row["content_hash"]: np.array(row["embedding"]) for row in found if row["reason"] is None}


def _padded(*folders: Path) -> None:
    """All pictures of one size: no change can be seen by it."""
    photos = [photo for folder in folders for photo in folder.glob("p*.jpg")]
    size = max(photo.stat().st_size for photo in photos)
    for photo in photos:
        photo.write_bytes(photo.read_bytes().ljust(size, b"\0"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_what_was_embedded_is_what_was_read_and_the_next_night_makes_up_for_the_rest(spark, tmp_path):
    folder, contents, seen = tmp_path / "shop", tmp_path / "contents", tmp_path / "seen"
    rows = draw_shop(folder, products=50, images=2)
    draw_shop(contents, products=60, images=1)
    (contents / "catalogue.csv").unlink()
    _padded(contents, folder)
    seen.mkdir()
    own = arguments(folder, f"{tmp_path}/out", *ANY)
    met = 0
    for night in range(int(os.environ.get("VSSPARK_REWRITTEN", "2"))):
        script = [
            sys.executable,
            str(Path(__file__).with_name("rewrite_photos.py")),
            str(folder),
            str(contents),
            str(seen),
            str(night),
        ]
        first = {photo.read_bytes() for photo in folder.glob("p*.jpg")}
        rewriter = subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert recommend.main([*own, "--run-id", f"moving-{night}"]) == 0
        finally:
            rewritten, _ = rewriter.communicate("\n", timeout=60)
        con = connect(f"{tmp_path}/out")
        embedded = con.sql("select image_id, content_hash, embedding from image_embeddings").fetchall()
        refused = con.sql(f"select image_id, reason from quarantine where run_id = 'moving-{night}'").fetchall()
        images = [image for (image,) in con.sql("select image_id from images").fetchall()]
        assert sorted([row[0] for row in embedded] + [row[0] for row in refused]) == sorted(images)
        assert {reason for _, reason in refused} <= {"missing", "empty", "truncated", "corrupt", "not_an_image"}
        for number, picture in enumerate(first):
            (seen / f"first-{number}").write_bytes(picture)
        vectors = _vectors(list(seen.iterdir()))
        for _, content_hash, embedding in embedded:
            np.testing.assert_allclose(embedding, vectors[content_hash], atol=1e-3)
        print(f"night {night}: {int(rewritten)} files rewritten, {len(embedded)} embedded, {len(refused)} set aside")
        assert int(rewritten) > 200
        met += len(refused)
    assert met > 0  # else nothing was read while it was in pieces
    # At rest: some were replaced once more, by a file of the same size and of the same second.
    dice = random.Random(2)
    pictures = [path.read_bytes() for path in sorted(contents.iterdir())]
    for row in rows[:20]:
        photo = folder / row["photo"]
        second = photo.stat().st_mtime_ns // 10**9 * 10**9
        photo.write_bytes(dice.choice(pictures))
        os.utime(photo, ns=(second, second + dice.randrange(10**9)))
    assert recommend.main([*own, "--run-id", "rest"]) == 0
    fresh = [f"output.path={tmp_path}/fresh" if part.startswith("output.path=") else part for part in own]
    assert recommend.main([*fresh, "--run-id", "fresh"]) == 0
    assert content(f"{tmp_path}/out") == content(f"{tmp_path}/fresh")
    assert connect(f"{tmp_path}/out").sql("select count(*) from image_embeddings").fetchall() == [(len(rows),)]
