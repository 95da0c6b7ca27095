"""The embed stage without Spark: nothing lost, nothing mixed up, bad pictures set aside one by one."""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from vsspark.config import EncoderConfig, ImagesConfig
from vsspark.embed.kernel.frame import RESULTS, embed_batches
from vsspark.embed.kernel.photos import PhotoSource, load_photos
from vsspark.encoders.engines import OnnxEngine

sys.path.insert(0, str(Path(__file__).parent))
from colours import SIZE, colour_of, write_network, write_pictures

IMAGES = ImagesConfig(fetch_threads=3)
RAW = EncoderConfig(unit_norm=False)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return OnnxEngine(str(write_network(tmp_path_factory.mktemp("network") / "colours.onnx")), 4, 1)


def record_batches(uris: list[str], rows: int = 5) -> list[pa.RecordBatch]:
    table = pa.table(
        {"image_id": pa.array(range(1000, 1000 + len(uris)), pa.int64()), "uri": pa.array(uris, pa.string())}
    )
    return table.to_batches(max_chunksize=rows)


def embed(uris, engine, encoder=RAW, images=IMAGES, storage_options=None) -> dict[int, dict]:
    found = list(
        embed_batches(record_batches(uris), engine, encoder, PhotoSource(SIZE, images, storage_options or {}, 2))
    )
    assert all(batch.schema == RESULTS for batch in found)
    assert all(batch.num_rows for batch in found)
    rows = [row for batch in found for row in batch.to_pylist()]
    assert sorted(row["image_id"] for row in rows) == list(range(1000, 1000 + len(uris)))
    return {row["image_id"] - 1000: row for row in rows}


@pytest.mark.parametrize("n", [1, 4, 5, 37])
def test_every_picture_has_its_own_embedding(tmp_path, engine, n):
    paths = write_pictures(tmp_path, n)
    rows = embed(paths, engine)
    for i, row in rows.items():
        np.testing.assert_allclose(row["embedding"], np.subtract(colour_of(i), 20), atol=0.01)
        assert (row["reason"], row["stage"], row["detail"], row["probabilities"]) == (None, None, None, None)
        assert (row["width"], row["height"]) == (20 + i % 5 * 13, 20 + i % 7 * 9)
        data = Path(paths[i]).read_bytes()
        assert (row["size_bytes"], row["content_hash"]) == (len(data), hashlib.sha256(data).hexdigest())


def test_bad_pictures_are_set_aside_one_by_one(tmp_path, engine):
    paths = write_pictures(tmp_path, 12)
    (tmp_path / "page.jpg").write_bytes(b"<html>")
    (tmp_path / "empty.jpg").touch()
    Image.new("RGB", (30, 30), (200, 200, 0)).save(tmp_path / "nan.png")  # blue 0 - 20 has no square root
    bad = {
        2: ("fetch", "missing"),
        5: ("decode", "not_an_image"),
        6: ("fetch", "empty"),
        7: ("encode", "not_finite"),
        11: ("fetch", "unreadable"),
    }
    paths[2], paths[5], paths[6] = str(tmp_path / "none.jpg"), str(tmp_path / "page.jpg"), str(tmp_path / "empty.jpg")
    paths[7], paths[11] = str(tmp_path / "nan.png"), str(tmp_path)
    rows = embed(paths, engine)
    for i, row in rows.items():
        if i in bad:
            assert (row["stage"], row["reason"]) == bad[i]
            assert row["detail"]
            assert (row["embedding"], row["width"]) == (None, None)
            assert (row["content_hash"] is None) == (row["stage"] == "fetch")
        else:
            np.testing.assert_allclose(row["embedding"], np.subtract(colour_of(i), 20), atol=0.01)


def test_a_picture_that_takes_too_long_holds_up_nothing_but_itself(tmp_path, engine):
    paths = write_pictures(tmp_path, 12)
    Image.new("P", (4000, 4000)).save(tmp_path / "runs.bmp")
    bitmap = bytearray((tmp_path / "runs.bmp").read_bytes()[:1078])
    bitmap[30:34] = (1).to_bytes(4, "little")  # run-length encoded, every run one pixel: 15 s in PIL's Python
    (tmp_path / "runs.bmp").write_bytes(bytes(bitmap) + b"\x01\x00" * 4000 * 4000)
    paths[3] = str(tmp_path / "runs.bmp")
    started = time.monotonic()
    rows = embed(paths, engine, images=ImagesConfig(fetch_threads=3, decode_timeout_s=1))
    assert time.monotonic() - started < 12
    assert {i: (row["stage"], row["reason"]) for i, row in rows.items() if row["reason"]} == {3: ("decode", "too_slow")}
    assert rows[3]["size_bytes"] > 32_000_000


def test_a_box_is_embedded_in_place_of_the_picture_and_a_wrong_one_is_set_aside(tmp_path, engine):
    """Left half (90, 60, 60), right half (60, 120, 60)."""
    picture = Image.new("RGB", (60, 40), (90, 60, 60))
    picture.paste((60, 120, 60), (30, 0, 60, 40))
    picture.save(tmp_path / "halves.png")
    boxes = ["0 0 30 40", "30 0 60 40", "45 10 400 400", None, "12 30 8 90", "60 0 90 40", "left top"]
    ids, uris = range(len(boxes)), [str(tmp_path / "halves.png")] * len(boxes)
    batch = pa.record_batch(
        [pa.array(ids, pa.int64()), pa.array(uris), pa.array(boxes)], names=["image_id", "uri", "box"]
    )
    rows = {
        row["image_id"]: row
        for found in embed_batches([batch], engine, RAW, PhotoSource(SIZE, IMAGES, {}, 1))
        for row in found.to_pylist()
    }
    for i, colour in enumerate([(90, 60, 60), (60, 120, 60), (60, 120, 60), (75, 90, 60)]):
        np.testing.assert_allclose(rows[i]["embedding"], np.subtract(colour, 20), atol=0.5)
        assert (rows[i]["width"], rows[i]["height"]) == (60, 40)
    for i in (4, 5, 6):
        assert (rows[i]["stage"], rows[i]["reason"], rows[i]["embedding"]) == ("decode", "bad_box", None)
        assert boxes[i] in rows[i]["detail"]


def test_nothing_but_bad_pictures_and_nothing_at_all(tmp_path, engine):
    rows = embed([str(tmp_path / f"{i}.jpg") for i in range(600)], engine)
    assert {row["reason"] for row in rows.values()} == {"missing"}
    assert embed([], engine) == {}
    assert embed([str(write_pictures(tmp_path, 1)[0])], engine)[0]["reason"] is None


def test_unit_norm_and_the_picture_that_excites_nothing(tmp_path, engine):
    Image.new("RGB", (30, 30), (20, 20, 20)).save(tmp_path / "nothing.png")
    rows = embed([*write_pictures(tmp_path, 3), str(tmp_path / "nothing.png")], engine, EncoderConfig(unit_norm=True))
    for i in range(3):
        direction = np.subtract(colour_of(i), 20) / np.linalg.norm(np.subtract(colour_of(i), 20))
        np.testing.assert_allclose(rows[i]["embedding"], direction, atol=1e-4)
    assert rows[3]["embedding"] == [0, 0, 0]


def test_a_head_gives_probabilities(tmp_path):
    headed = OnnxEngine(str(write_network(tmp_path / "headed.onnx", head=True)), 4, 1)
    rows = embed([*write_pictures(tmp_path, 6), "none.jpg"], headed)
    assert all(rows[i]["probabilities"] == [0.5, 0.25, 0.25] for i in range(6))
    assert rows[6]["probabilities"] is None


def test_no_more_photos_are_asked_for_than_may_wait(tmp_path):
    paths = write_pictures(tmp_path, 40)
    asked = []

    def rows():
        for i, path in enumerate(paths):
            asked.append(i)
            yield i, path, None

    photos = load_photos(rows(), PhotoSource(SIZE, IMAGES, {}, 1), ahead=6)
    for taken in range(1, 41):
        next(photos)
        assert len(asked) <= taken + 6
    assert next(photos, None) is None


def test_a_task_that_ends_early_leaves_no_thread(tmp_path):
    photos = load_photos(
        ((i, path, None) for i, path in enumerate(write_pictures(tmp_path, 40))),
        PhotoSource(SIZE, IMAGES, {}, 1),
        ahead=30,
    )
    next(photos)
    photos.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("photos")]


@pytest.fixture
def slow_store(tmp_path):
    """An S3 endpoint that serves one picture under every name, and `slow` only after forty others, or 20 seconds."""
    body = Path(write_pictures(tmp_path, 1)[0]).read_bytes()
    served, counted = [], threading.Condition()

    class Store(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self.answer(200, b"")

        def do_GET(self):
            if "slow" in self.path:
                with counted:
                    counted.wait_for(lambda: len(served) >= 40, timeout=20)
            self.answer(206, body)
            with counted:
                served.append(self.path)
                counted.notify_all()

        def answer(self, code, content):
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {
        "fs.s3a.endpoint": f"http://127.0.0.1:{server.server_address[1]}",
        "fs.s3a.access.key": "x",
        "fs.s3a.secret.key": "x",
        "fs.s3a.path.style.access": "true",
    }
    server.shutdown()
    server.server_close()


def test_one_slow_object_holds_up_nothing_but_itself(slow_store, engine):
    uris = ["s3a://shop/slow.png", *(f"s3a://shop/{i}.png" for i in range(40))]
    order = []
    for batch in embed_batches(record_batches(uris), engine, RAW, PhotoSource(SIZE, IMAGES, slow_store, 1)):
        order += batch.column("image_id").to_pylist()
    assert len(order) == 41
    assert order.index(1000) >= 36, order
