"""Reading local files by their plain names."""

from __future__ import annotations

import os

import pytest

from vsspark.config import ImagesConfig
from vsspark.errors import ImageError, Reason
from vsspark.images.fetch import read_image, stat_image

CONFIG = ImagesConfig(max_bytes=1000)


def refusal(uri: str) -> ImageError:
    with pytest.raises(ImageError) as caught:
        read_image(uri, CONFIG)
    return caught.value


@pytest.mark.parametrize(
    "name",
    [
        "plain.jpg",
        "two words.jpg",
        "100%.jpg",
        "a%20b.jpg",
        "no#1.jpg",
        "why?.jpg",
        "Größe–ル.jpg",
        "c:d.jpg",
        " lead.jpg",
        "new\nline.jpg",
    ],
)
def test_names_stand_for_themselves(tmp_path, name):
    (tmp_path / name).write_bytes(b"bytes of " + name.encode())
    for uri in (
        str(tmp_path / name),
        f"file:{tmp_path / name}",
        f"file://{tmp_path / name}",
        f"file://localhost{tmp_path / name}",
    ):
        assert read_image(uri, CONFIG) == b"bytes of " + name.encode()


def test_a_name_that_looks_encoded_is_not_decoded(tmp_path):
    (tmp_path / "a b.jpg").write_bytes(b"the decoded name")
    assert refusal(str(tmp_path / "a%20b.jpg")).reason is Reason.MISSING


def test_what_cannot_be_read_has_its_reason(tmp_path):
    assert refusal(str(tmp_path / "none.jpg")).reason is Reason.MISSING
    assert refusal(str(tmp_path / "none" / "none.jpg")).reason is Reason.MISSING
    assert refusal(str(tmp_path)).reason is Reason.UNREADABLE
    (tmp_path / "empty.jpg").touch()
    assert refusal(str(tmp_path / "empty.jpg")).reason is Reason.EMPTY
    assert refusal(str(tmp_path / "empty.jpg" / "x.jpg")).reason is Reason.UNREADABLE
    assert refusal("/x" * 3000).reason is Reason.UNREADABLE
    assert refusal("null\x00character.jpg").reason is Reason.UNREADABLE
    assert refusal("https://example.com/a.jpg").reason is Reason.UNREADABLE


def test_a_file_is_measured_before_it_is_read(tmp_path):
    (tmp_path / "fits.jpg").write_bytes(bytes(1000))
    assert len(read_image(str(tmp_path / "fits.jpg"), CONFIG)) == 1000
    with (tmp_path / "huge.jpg").open("wb") as sparse:
        sparse.truncate(2**40)
    error = refusal(str(tmp_path / "huge.jpg"))
    assert error.reason is Reason.TOO_MANY_BYTES
    assert "1099511627776" in error.detail


def test_a_named_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert refusal(str(tmp_path / "pipe.jpg")).reason is Reason.UNREADABLE


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (tmp_path / "secret.jpg").chmod(0)
    assert refusal(str(tmp_path / "secret.jpg")).reason is Reason.UNREADABLE


def test_links_lead_nowhere_but_below_the_roots(tmp_path):
    shop, private = tmp_path / "shop", tmp_path / "shop-private"
    (shop / "photos").mkdir(parents=True)
    private.mkdir()
    (private / "secret.jpg").write_bytes(b"secret")
    (shop / "photos" / "a.jpg").write_bytes(b"photo")
    (shop / "inside.jpg").symlink_to("photos/a.jpg")
    (shop / "file.jpg").symlink_to(private / "secret.jpg")
    (shop / "folder").symlink_to(private)
    (shop / "chain.jpg").symlink_to("file.jpg")
    (tmp_path / "alias").symlink_to(shop)
    bound = CONFIG.model_copy(update={"link_roots": (str(tmp_path / "alias"), "s3a://shop/photos")})
    for name in ("photos/a.jpg", "inside.jpg"):
        for root in (shop, tmp_path / "alias"):
            assert read_image(str(root / name), bound) == b"photo"
            assert stat_image(str(root / name), bound) == stat_image(str(root / name), CONFIG) != None  # noqa: E711
    for name in ("file.jpg", "folder/secret.jpg", "chain.jpg", "../shop-private/secret.jpg"):
        assert read_image(str(shop / name), CONFIG) == b"secret"
        with pytest.raises(ImageError) as caught:
            read_image(str(shop / name), bound)
        assert caught.value.reason is Reason.OUTSIDE_ROOT
        assert stat_image(str(shop / name), bound) is None


@pytest.mark.parametrize("scheme", ["ftp", "gs", "hdfs", "git+ssh", "S3A", "data"])
def test_other_schemes_are_neither_read_nor_taken_for_files(tmp_path, monkeypatch, scheme):
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"{scheme}:" / "host").mkdir(parents=True)
    (tmp_path / f"{scheme}:" / "host" / "a.jpg").write_bytes(b"a file of that very name")
    error = refusal(f"{scheme}://host/a.jpg")
    assert error.reason is Reason.REFUSED
    assert f"{scheme}:// is not read here" in error.detail
    assert stat_image(f"{scheme}://host/a.jpg", CONFIG) is None


def test_refused_files_leave_no_open_descriptor(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        refusal(str(tmp_path))
    assert len(os.listdir("/proc/self/fd")) == before
