"""Reading objects from a real S3 endpoint on loopback, and from one that misbehaves."""

from __future__ import annotations

import hashlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from moto.server import ThreadedMotoServer

from vsspark.config import ImagesConfig
from vsspark.errors import ImageError, Reason
from vsspark.images.fetch import read_image, stat_image
from vsspark.storage.filesystems import open_filesystem

CONFIG = ImagesConfig(max_bytes=100_000, timeout_s=2, attempts=3)
NAMES = ["plain.jpg", "two words.jpg", "100%.jpg", "a%20b.jpg", "no#1.jpg", "why?.jpg", "Größe–ル.jpg", "plus+and&.jpg"]


def options(port: int) -> dict[str, str]:
    return {
        "fs.s3a.endpoint": f"http://127.0.0.1:{port}",
        "fs.s3a.endpoint.region": "us-east-1",
        "fs.s3a.access.key": "testing",
        "fs.s3a.secret.key": "very-secret",
        "fs.s3a.path.style.access": "true",
        "fs.s3a.connection.ssl.enabled": "false",
    }


@pytest.fixture(scope="module")
def moto():
    import boto3

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    port = server.get_host_and_port()[1]
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="very-secret",
    )
    client.create_bucket(Bucket="shop")
    for name in NAMES:
        client.put_object(Bucket="shop", Key=f"photos/{name}", Body=b"bytes of " + name.encode())
    client.put_object(Bucket="shop", Key="photos/empty.jpg", Body=b"")
    client.put_object(Bucket="shop", Key="photos/large.jpg", Body=bytes(100_001))
    yield options(port)
    server.stop()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scheme", ["s3a", "s3"])
def test_objects_by_their_plain_names(moto, scheme, name):
    assert read_image(f"{scheme}://shop/photos/{name}", CONFIG, moto) == b"bytes of " + name.encode()


@pytest.mark.parametrize("name", ["two%20words.jpg", "Gro\u0308ße–ル.jpg", "Gro%CC%88%C3%9Fe%E2%80%93%E3%83%AB.jpg"])
def test_objects_by_other_forms_of_their_names(moto, name):
    plain = "two words.jpg" if "words" in name else "Größe–ル.jpg"
    assert read_image(f"s3a://shop/photos/{name}", CONFIG, moto) == b"bytes of " + plain.encode()
    about = stat_image(f"s3a://shop/photos/{name}", CONFIG, moto)
    assert about == stat_image(f"s3a://shop/photos/{plain}", CONFIG, moto)


def test_what_cannot_be_read_has_its_reason(moto):
    for uri, reason in {
        "s3a://shop/photos/none.jpg": Reason.MISSING,
        "s3a://shop/photos/no%20größe.jpg": Reason.MISSING,
        "s3a://no-such-bucket/none.jpg": Reason.MISSING,
        "s3a://shop/photos": Reason.UNREADABLE,
        "s3a://shop/photos/": Reason.UNREADABLE,
        "s3a://shop": Reason.UNREADABLE,
        "s3a://shop/photos/empty.jpg": Reason.EMPTY,
        "s3a://shop/photos/large.jpg": Reason.TOO_MANY_BYTES,
    }.items():
        with pytest.raises(ImageError) as caught:
            read_image(uri, CONFIG, moto)
        assert caught.value.reason is reason, uri
        assert "very-secret" not in str(caught.value)


def test_an_objects_fingerprint_is_its_etag(moto):
    size, fingerprint = stat_image("s3a://shop/photos/two words.jpg", CONFIG, moto)
    body = b"bytes of two words.jpg"
    # What S3 says of an object uploaded in one part.
    assert (size, fingerprint) == (len(body), hashlib.md5(body).hexdigest())
    for nothing in (
        "s3a://shop/photos/none.jpg",
        "s3a://shop/photos/",
        "s3a://shop",
        "s3a://",
        "s3a://shop/a//b.jpg",
        "gs://shop/photos/plain.jpg",
    ):
        assert stat_image(nothing, CONFIG, moto) is None, nothing


def test_one_buckets_settings_win_over_all_buckets(moto):
    elsewhere = {
        **moto,
        "fs.s3a.endpoint": "http://127.0.0.1:9",
        "fs.s3a.bucket.shop.endpoint": moto["fs.s3a.endpoint"],
    }
    assert read_image("s3a://shop/photos/plain.jpg", CONFIG, elsewhere) == b"bytes of plain.jpg"


def test_open_filesystem_lists_a_folder(moto):
    from pyarrow.fs import FileSelector

    filesystem, path = open_filesystem("s3a://shop/photos/", moto)
    assert path == "shop/photos"
    assert {info.base_name for info in filesystem.get_file_info(FileSelector(path))} == {
        *NAMES,
        "empty.jpg",
        "large.jpg",
    }


BODY = b"a photo" * 1000


class Misbehaving(BaseHTTPRequestHandler):
    """Each object's name says what goes wrong with its first requests; `requests` counts the GETs per object."""

    protocol_version = "HTTP/1.1"
    requests: ClassVar[dict[str, int]] = {}
    lock: ClassVar = threading.Lock()

    def do_HEAD(self):
        if "forbidden" in self.path:
            return self._answer(403, b"")
        self._answer(200, BODY, body=False)

    def do_GET(self):
        with self.lock:
            times = self.requests[self.path] = self.requests.get(self.path, 0) + 1
        if "always" not in self.path and times > 2:
            return self._answer(206, BODY)
        if "throttled" in self.path:
            return self._answer(
                503, b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
            )
        self.send_response(206)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY[:1000])
        self.wfile.flush()
        if "hanging" in self.path:
            time.sleep(4)
        self.close_connection = True

    def _answer(self, code: int, content: bytes, body: bool = True) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def misbehaving():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Misbehaving)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield options(server.server_address[1])
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("fault", ["throttled", "cut-short", "hanging"])
def test_a_store_that_recovers_is_asked_again(misbehaving, fault):
    assert read_image(f"s3a://shop/{fault}.jpg", CONFIG, misbehaving) == BODY
    assert Misbehaving.requests[f"/shop/{fault}.jpg"] == 3


@pytest.mark.parametrize("fault", ["throttled", "cut-short"])
def test_a_store_that_keeps_failing_is_given_up(misbehaving, fault):
    with pytest.raises(ImageError, match="failed 3 times") as caught:
        read_image(f"s3a://shop/always-{fault}.jpg", CONFIG, misbehaving)
    assert caught.value.reason is Reason.UNREADABLE
    assert Misbehaving.requests[f"/shop/always-{fault}.jpg"] == 3


def test_no_permission_is_not_asked_again(misbehaving):
    started = time.monotonic()
    with pytest.raises(ImageError) as caught:
        read_image("s3a://shop/forbidden.jpg", CONFIG, misbehaving)
    assert caught.value.reason is Reason.UNREADABLE
    assert "failed 3 times" not in caught.value.detail
    assert time.monotonic() - started < 1.5


def test_nobody_listening_is_unreadable():
    with pytest.raises(ImageError) as caught:
        read_image("s3a://shop/a.jpg", ImagesConfig(timeout_s=1, attempts=2), options(9))
    assert caught.value.reason is Reason.UNREADABLE
