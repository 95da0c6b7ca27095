"""Sizes and ETags from listings, of a real S3 endpoint: the same as one question each, for a fraction of the requests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vsspark.config import ImagesConfig
from vsspark.images import listing
from vsspark.images.fetch import stat_image

sys.path.insert(0, str(Path(__file__).parent))
from unreliable_store import Faults, s3_server, unreliable

IMAGES = ImagesConfig(timeout_s=1.0, attempts=6)
FOLDER = "s3a://shop/feed"
ODD = ["a b+c.jpg", "100%25 wool.jpg", "größe-日本.jpg", "x&y=z.jpg", "~.jpg", "Z.jpg"]


@pytest.fixture(scope="module")
def port():
    """A bucket of 200 pictures, six with odd names, and 300 objects between them that no catalogue names."""
    with s3_server() as (port, client):
        for i in range(200):
            client.put_object(Bucket="shop", Key=f"feed/img-{i:03d}.jpg", Body=b"x" * (i + 1))
        for name in ODD:
            client.put_object(Bucket="shop", Key=f"feed/{name}", Body=name.encode())
        for i in range(300):
            client.put_object(Bucket="shop", Key=f"feed/img-050-thumb-{i:03d}.jpg", Body=b"thumb")
        yield port


@pytest.fixture(autouse=True)
def short_pages(monkeypatch):
    monkeypatch.setattr(listing, "_PAGE", 40)


def test_a_folder_is_told_by_its_pages(port):
    uris = [f"{FOLDER}/img-{i:03d}.jpg" for i in range(200)] + [f"{FOLDER}/{name}" for name in ODD]
    faults = Faults()
    with unreliable(port, faults) as options:
        stated = listing.list_objects(uris, IMAGES, options)
        pages = sum(faults.seen.values())
        alone = {uri: stat_image(uri, IMAGES, options) for uri in uris}
    missed = set(uris) - set(stated)
    assert {uri: stated[uri] for uri in stated} == {uri: alone[uri] for uri in stated}
    assert stated[f"{FOLDER}/img-007.jpg"][0] == 8
    assert len(missed) <= listing._PAUSE  # a page of thumbnails told of none
    assert pages <= 8


def test_what_is_not_there_is_told_too(port):
    uris = [f"{FOLDER}/img-{i:03d}.jpg" for i in range(100, 200, 2)] + [
        f"{FOLDER}/img-{i:03d}x.jpg" for i in range(100, 140)
    ]
    with unreliable(port, Faults()) as options:
        stated = listing.list_objects(uris, IMAGES, options)
    assert len(set(uris) - set(stated)) < listing.WORTH_A_PAGE  # the last few are not worth a page
    assert {uri for uri, found in stated.items() if found is None} == set(uris[50:])


def test_a_key_that_may_be_there_under_another_name_is_left_to_a_single_question(port):
    encoded = f"{FOLDER}/a%20b+c.jpg"
    uris = [f"{FOLDER}/img-{i:03d}.jpg" for i in range(100, 200)] + [encoded, f"{FOLDER}/a b+c.jpg"]
    with unreliable(port, Faults()) as options:
        stated = listing.list_objects(uris, IMAGES, options)
        assert encoded not in stated
        assert stat_image(encoded, IMAGES, options) == stat_image(f"{FOLDER}/a b+c.jpg", IMAGES, options)


def test_few_names_in_a_large_folder_are_left_to_single_questions(port):
    few = [f"{FOLDER}/img-{i:03d}.jpg" for i in range(0, 200, 20)]
    faults = Faults()
    with unreliable(port, faults) as options:
        assert listing.list_objects(few, IMAGES, options) == {}
        assert not faults.seen
        assert listing.list_objects([*few, "/local/file.jpg", "s3a://shop/feed/", "http://x/y"], IMAGES, options) == {}


def test_a_store_that_throttles_is_asked_again_and_one_that_never_answers_is_left_out(port):
    uris = [f"{FOLDER}/img-{i:03d}.jpg" for i in range(100, 200)]
    with unreliable(port, Faults(failing=0.3)) as options:
        assert len(listing.list_objects(uris, IMAGES, options)) > len(uris) - listing.WORTH_A_PAGE
    hasty = IMAGES.model_copy(update={"attempts": 2})
    with unreliable(port, Faults(always={"list-type": "slow_down"})) as options:
        assert listing.list_objects(uris, hasty, options) == {}


def test_without_boto3_nothing_is_listed(port, monkeypatch):
    monkeypatch.setattr(listing, "has_boto3", lambda: False)
    assert listing.list_objects([f"{FOLDER}/img-{i:03d}.jpg" for i in range(99)], IMAGES, {}) == {}
