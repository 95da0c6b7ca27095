"""Pictures in an object store that throttles, hangs up, dawdles and loses the end of what it sends: every one
embedded, or set aside with its reason.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from vsspark.config import EncoderConfig, ImagesConfig
from vsspark.embed.kernel.files import stat_files
from vsspark.embed.kernel.frame import embed_batches
from vsspark.embed.kernel.photos import PhotoSource
from vsspark.encoders.engines import OnnxEngine

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "images"))
from colours import SIZE, colour_of, write_network, write_pictures
from unreliable_store import KEYS, Faults, s3_server, unreliable

# A reading is two requests: one in two million fails eight times.
IMAGES = ImagesConfig(timeout_s=0.5, attempts=8, fetch_threads=8)
FOLDER = "s3a://shop/a folder"


@pytest.fixture(scope="module")
def store():
    with s3_server() as found:
        yield found


def batches(names: list[str]) -> list[pa.RecordBatch]:
    table = pa.table(
        {
            "image_id": pa.array(range(len(names)), pa.int64()),
            "uri": pa.array([f"{FOLDER}/{name}" for name in names], pa.string()),
        }
    )
    return table.to_batches(max_chunksize=64)


def rows_of(found) -> dict[int, dict]:
    rows = [row for batch in found for row in batch.to_pylist()]
    by_id = {row["image_id"]: row for row in rows}
    assert len(by_id) == len(rows)
    return by_id


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_tenth_of_the_requests_fail(store, tmp_path, count):
    port, client = store
    pictures = [Path(path).read_bytes() for path in write_pictures(tmp_path, 60)]
    names = [f"{count} {i}.png" for i in range(count)]
    bad = {
        3: "missing",
        7: "empty",
        11: "not_an_image",
        19: "missing",
        23: "unreadable",
        29: "unreadable",
        31: "truncated",
    }
    contents = {i: pictures[i % 60] for i in range(count)} | {7: b"", 11: b"<html>", 31: pictures[0][:60]}
    for i, name in enumerate(names):
        if i != 3:
            client.put_object(Bucket="shop", Key=f"a folder/{name}", Body=contents[i])
    faults = Faults(failing=0.1, truncated=0.01 if count > 1000 else 0.05, always={f"{count}%2023.png": "forbidden"})
    if count > 1000:
        faults.always[f"{count}%2029.png"] = "slow_down"  # asked eight times, with pauses, by both
    else:
        del bad[29]
    engine = OnnxEngine(str(write_network(tmp_path / "colours.onnx")), 8, 1)
    with unreliable(port, faults) as options:
        started = time.monotonic()
        stated = rows_of(stat_files(batches(names), IMAGES, options))
        client.delete_object(Bucket="shop", Key=f"a folder/{names[19]}")  # gone between the check and the reading
        embedded = rows_of(
            embed_batches(batches(names), engine, EncoderConfig(unit_norm=False), PhotoSource(SIZE, IMAGES, options, 2))
        )
        seconds = time.monotonic() - started
    assert set(stated) == set(embedded) == set(range(count))
    for i in range(count):
        known = i != 3  # a listing tells of an object that may not be read, too
        assert (stated[i]["size_bytes"], stated[i]["fingerprint"] is None) == (
            (len(contents[i]), False) if known else (None, True)
        ), i
        readable = bad.get(i) not in ("missing", "empty", "unreadable")
        digest = hashlib.sha256(contents[i]).hexdigest() if readable else None
        assert embedded[i]["content_hash"] == digest, i
        assert embedded[i]["reason"] == bad.get(i), embedded[i]
        assert KEYS["secret"] not in str(embedded[i]["detail"])
        if i not in bad:
            np.testing.assert_allclose(embedded[i]["embedding"], np.subtract(colour_of(i % 60), 20), atol=0.01)
    failed = sum(times for fault, times in faults.seen.items() if not fault.endswith("none"))
    print(
        f"{count} objects in {seconds:.0f} s, {faults.seen.total()} requests of which {failed} failed: "
        f"{dict(faults.seen)}"
    )
    print(Counter(row["reason"] for row in embedded.values()))
    assert failed > 0.08 * faults.seen.total()
    assert faults.seen["GET truncated"] > 0
