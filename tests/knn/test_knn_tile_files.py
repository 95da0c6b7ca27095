"""Tile files come back as they were written, from a folder and from object storage."""

from __future__ import annotations

import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer

from vsspark.knn import engine, exact, topk
from vsspark.knn.partials import least_values
from vsspark.knn.tiles import MEMBERS, Tile, TileRows, read_texts, read_tile, write_text, write_tiles


@pytest.fixture(params=["folder", "s3a"])
def scratch(request, tmp_path):
    if request.param == "folder":
        yield (tmp_path / "tiles of a run").as_uri().replace("%20", " "), None
        return
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {
        "fs.s3a.endpoint": f"http://{host}:{port}",
        "fs.s3a.endpoint.region": "us-east-1",
        "fs.s3a.path.style.access": "true",
    }
    options |= {"fs.s3a.access.key": "key", "fs.s3a.secret.key": "secret"}
    given = {
        "endpoint_url": f"http://{host}:{port}",
        "region_name": "us-east-1",
        "aws_access_key_id": "key",
        "aws_secret_access_key": "secret",
    }
    boto3.client("s3", **given).create_bucket(Bucket="bucket")
    yield "s3a://bucket/tiles", options
    server.stop()


def tile(n, words):
    rng = np.random.default_rng(n)
    vectors = (
        rng.integers(0, 2**63, (n, 3)).astype(np.uint64) if words else rng.standard_normal((n, 5)).astype(np.float32)
    )
    ids = np.sort(rng.integers(-(2**62), 2**62, n))
    return TileRows(vectors, ids, rng.integers(0, 9, n), rng.standard_normal(n).astype(np.float32))


@pytest.mark.parametrize("words", [False, True])
def test_tiles_round_trip(scratch, words):
    folder, options = scratch
    written = [tile(4, words), tile(1, words), tile(9, words)]
    for _ in range(2):  # a second attempt of the task replaces the first one's file
        uri = write_tiles(folder, "pack-000001", written, options)
    for batch, expected in enumerate(written):
        got = read_tile(Tile(uri, batch, len(expected.ids), 0, MEMBERS), options)
        for column, wanted in zip(got, expected, strict=True):
            np.testing.assert_array_equal(column, wanted)
        assert got.vectors.dtype == expected.vectors.dtype


def test_small_files_beside_the_tiles(scratch):
    folder, options = scratch
    assert read_texts(folder, "audit-", options) == []
    write_tiles(folder, "pack-000001", [tile(2, False)], options)
    write_text(folder, "audit-2.json", "two", options)
    write_text(folder, "audit-1.json", "one", options)
    assert read_texts(folder, "audit-", options) == ["one", "two"]


@pytest.mark.parametrize("metric", ["cosine", "l2", "l1", "hamming"])
def test_a_floor_is_the_value_that_a_search_gives_for_its_similarity(metric):
    x = np.random.default_rng(0).standard_normal((300, 70)).astype(np.float32)
    top = topk.empty(300, 5)
    rows = exact.Rows(engine.prepared(x, metric), np.arange(300), np.arange(300), top)
    engine.offer(rows, rows, metric, True, similarity=True)
    similarities = (1 / (1 - top.values) if metric == "hamming" else top.values)[:, -1]
    np.testing.assert_array_equal(least_values(similarities, metric), top.values[:, -1])
    assert least_values(np.array([np.nan], np.float32), metric)[0] == -np.inf
