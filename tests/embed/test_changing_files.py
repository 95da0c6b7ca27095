"""Files that somebody goes on writing while they are read."""

from __future__ import annotations

import hashlib
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from vsspark.config import EncoderConfig, ImagesConfig
from vsspark.embed.kernel.files import hash_files, stat_files
from vsspark.embed.kernel.frame import embed_batches
from vsspark.encoders.engines import OnnxEngine

sys.path.insert(0, str(Path(__file__).parent))
from colours import SIZE, write_network

IMAGES = ImagesConfig(fetch_threads=4)
RED, BLUE = (200, 40, 50), (60, 70, 220)
PARTIAL = {"truncated", "corrupt", "empty", "not_an_image", "missing"}


def test_a_file_that_is_rewritten_all_the_time(tmp_path):
    """Each reading is one whole picture, or is refused: never the hash of one picture with the embedding of the other."""
    path, pictures = tmp_path / "restless.png", {}
    for name, colour in (("red", RED), ("blue", BLUE)):
        noise = np.random.default_rng(1).integers(-30, 30, (300, 300, 1)) + np.array(colour)  # large enough to be caught half written
        Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(tmp_path / f"{name}.png")
        pictures[hashlib.sha256((tmp_path / f"{name}.png").read_bytes()).hexdigest()] = colour
    contents = [(tmp_path / f"{name}.png").read_bytes() for name in ("red", "blue")]
    stop = threading.Event()

    def rewrite() -> None:
        turn = 0
        while not stop.wait(0.0005):
            turn += 1
            if turn % 3 == 0:
                path.unlink()
            with path.open("wb", buffering=0) as file:
                for start in range(0, len(contents[turn % 2]), 16_384):
                    file.write(contents[turn % 2][start : start + 16_384])

    path.write_bytes(contents[0])
    writer = threading.Thread(target=rewrite, daemon=True)
    writer.start()
    count = 300
    asked = pa.table({"image_id": pa.array(range(count), pa.int64()), "uri": pa.array([str(path)] * count)}).to_batches(max_chunksize=50)
    try:
        stated = [row for batch in stat_files(asked, IMAGES, {}) for row in batch.to_pylist()]
        hashed = [row for batch in hash_files(asked, IMAGES, {}) for row in batch.to_pylist()]
        engine = OnnxEngine(str(write_network(tmp_path / "colours.onnx")), 4, 1)
        embedded, rounds = [], 0
        # On a busy machine the writer and the reader may miss each other for a while.
        while rounds < 30 and len({row["reason"] is None for row in embedded}) < 2:
            batches = embed_batches(asked, engine, SIZE, IMAGES, EncoderConfig(unit_norm=False), {}, threads=2)
            embedded += [row for batch in batches for row in batch.to_pylist()]
            rounds += 1
    finally:
        stop.set()
        writer.join()
    assert [len(rows) for rows in (stated, hashed, embedded)] == [count, count, rounds * count]
    good = [row for row in embedded if row["reason"] is None]
    assert {row["reason"] for row in embedded} - {None} <= PARTIAL
    assert 0 < len(good) < len(embedded), "the writer never met the reader"
    for row in good:
        np.testing.assert_allclose(row["embedding"], np.subtract(pictures[row["content_hash"]], 20), atol=4)
