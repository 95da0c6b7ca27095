"""Files found under another form of their names: decomposed by a Mac, or percent-encoded by Spark."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from vsspark.config import ImagesConfig
from vsspark.errors import ImageError, Reason
from vsspark.images.fetch import read_image, stat_image
from vsspark.images.names import object_keys, percent_decoded

CONFIG = ImagesConfig()
WORDS = "Größe/Café müde.jpg"


def form(kind: str, name: str) -> str:
    return "/".join(
        unicodedata.normalize("NFC" if letter == "C" else "NFD", part)
        for letter, part in zip(kind, name.split("/"), strict=True)
    )


def missing(uri: str, config: ImagesConfig = CONFIG) -> str:
    with pytest.raises(ImageError) as caught:
        read_image(uri, config)
    assert caught.value.reason is Reason.MISSING
    assert stat_image(uri, config) is None
    return caught.value.detail


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(path.name.encode("utf-8", "surrogateescape"))
    return path


@pytest.mark.parametrize("given", ["CC", "DD", "CD", "DC"])
@pytest.mark.parametrize("stored", ["CC", "DD", "CD", "DC"])
@pytest.mark.parametrize("scheme", ["", "file:", "file://"])
def test_a_name_is_found_in_either_form_of_its_letters(tmp_path, given, stored, scheme):
    path = write(tmp_path / form(stored, WORDS))
    uri = f"{scheme}{tmp_path}/{form(given, WORDS)}"
    assert read_image(uri, CONFIG) == path.read_bytes()
    assert stat_image(uri, CONFIG) == stat_image(str(path), CONFIG)


def test_the_very_name_comes_first(tmp_path):
    composed, decomposed = (write(tmp_path / form(kind, "x/ü.jpg")) for kind in ("CC", "CD"))
    for path in (composed, decomposed):
        assert read_image(str(path), CONFIG) == path.name.encode()
    write(tmp_path / form("CC", "ü/a.jpg"))
    other = write(tmp_path / form("DC", "ü/b.jpg"))
    assert read_image(f"{tmp_path}/{form('CC', 'ü/b.jpg')}", CONFIG) == other.read_bytes()


def test_the_roots_hold_for_the_file_that_is_found(tmp_path):
    path = write(tmp_path / form("DD", WORDS))
    outside = CONFIG.model_copy(update={"link_roots": (f"{tmp_path}/elsewhere",)})
    uri = f"{tmp_path}/{form('CC', WORDS)}"
    with pytest.raises(ImageError) as caught:
        read_image(uri, outside)
    assert caught.value.reason is Reason.OUTSIDE_ROOT
    assert stat_image(uri, outside) is None
    for root in (form("CC", WORDS), form("DD", WORDS)):
        within = CONFIG.model_copy(update={"link_roots": (f"{tmp_path}/{root.partition('/')[0]}",)})
        assert read_image(uri, within) == path.read_bytes()


@pytest.mark.parametrize("name", ["two words.jpg", "100%.jpg", "50%25.jpg", "a#1?.jpg", "größe ü.jpg", "[1]{2}.jpg"])
@pytest.mark.parametrize("decomposed", [False, True])
def test_a_name_that_spark_encoded_is_found(tmp_path, name, decomposed):
    path = write(tmp_path / "my shop" / unicodedata.normalize("NFD" if decomposed else "NFC", name))
    encoded = path.as_uri()  # RFC 8089: every letter outside ASCII too
    assert "%20" in encoded
    for uri in (encoded, encoded.replace("file://", "file:"), f"file:{tmp_path}/my%20shop/{name.replace('%', '%25')}"):
        assert read_image(uri, CONFIG) == path.read_bytes()
        assert stat_image(uri, CONFIG) == stat_image(str(path), CONFIG)


@pytest.mark.parametrize("name", ["two words.jpg", "größe.jpg"])
def test_the_encoded_name_of_a_plain_path_is_not_read_but_explained(tmp_path, name):
    path = write(tmp_path / name)
    detail = missing(path.as_uri().removeprefix("file://"))
    assert str(path) in detail
    assert "write the name decoded, or file: before the path" in detail


def test_an_encoded_name_leads_nowhere_else(tmp_path):
    write(tmp_path / "secret.jpg")
    write(tmp_path / "shop" / "a.jpg")
    for name in ("%2e%2e/secret.jpg", ".%2E/secret.jpg", "..%2fsecret.jpg", "%2e%2e%2fsecret.jpg", "a%00.jpg"):
        assert "secret" not in missing(f"file:{tmp_path}/shop/{name}").replace(name, "")
        assert percent_decoded(f"shop/{name}") is None


def test_a_name_that_is_nowhere_is_missing(tmp_path):
    for name in ("none.jpg", "größe.jpg", "a%20b.jpg", "%", "%zz.jpg", "%ff.jpg", "ü" * 90):
        for scheme in ("", "file:"):
            detail = missing(f"{scheme}{tmp_path}/{name}")
            assert "write the name decoded" not in detail


def test_the_other_names_of_objects():
    assert object_keys("photos/plain.jpg") == []
    assert object_keys("100%.jpg") == []
    assert object_keys("a%20b.jpg") == ["a b.jpg"]
    assert object_keys("ü.jpg") == ["u\u0308.jpg"]
    assert object_keys("u\u0308%20.jpg") == ["ü%20.jpg", "u\u0308 .jpg", "ü .jpg"]
    assert object_keys("%ff.jpg") == []
