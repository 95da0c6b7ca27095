"""URIs and the file systems behind them, without Spark."""

from __future__ import annotations

import pytest

from vsspark.errors import ConfigError
from vsspark.storage.filesystems import open_filesystem, split_uri


def test_split_uri():
    assert split_uri("s3a://bucket/a b#%41.jpg") == ("s3a", "bucket/a b#%41.jpg")
    assert split_uri("file:///a/b.jpg") == ("file", "/a/b.jpg")
    assert split_uri("file:/a/b.jpg") == ("file", "/a/b.jpg")
    assert split_uri("a:b/c.jpg") == ("file", "a:b/c.jpg")


def test_open_filesystem_of_a_folder(tmp_path):
    (tmp_path / "x y%.txt").write_bytes(b"hello")
    filesystem, path = open_filesystem(f"file:{tmp_path}")
    with filesystem.open_input_stream(f"{path}/x y%.txt") as stream:
        assert stream.read() == b"hello"
    with pytest.raises(ConfigError, match="gs:// is not handled"):
        open_filesystem("gs://bucket/folder")
