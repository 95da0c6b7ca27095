"""Pictures from a real web server on loopback: redirects, refusals, slow and short answers, private addresses."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from vsspark.config import ImagesConfig
from vsspark.errors import ImageError, Reason
from vsspark.images.fetch import read_image, stat_image

BODY = b"a picture's bytes" * 100
HOST = ("127.0.0.1",)


class Shop(BaseHTTPRequestHandler):
    """What each name does is written in `do_GET`."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer(head=True)

    def do_GET(self):
        self._answer()

    def _answer(self, head=False):
        server, name = self.server, self.path.lstrip("/")
        with server.counting:
            server.seen.append((self.command, self.path, dict(self.headers)))
            server.now += 1
            server.most = max(server.most, server.now)
        try:
            self._send(server, name, head)
        finally:
            with server.counting:
                server.now -= 1

    def _send(self, server, name, head):
        tries = sum(1 for _, path, _ in server.seen if path == self.path)
        if name.startswith("to/"):
            return self._plain(302, {"Location": name.removeprefix("to/")})
        if name.startswith("busy") and tries < 3:
            return self._plain(429, {"Retry-After": "1"})
        if name == "patience":
            return self._plain(503, {"Retry-After": "3600"})
        if name.startswith("status/"):
            return self._plain(int(name.removeprefix("status/")), {})
        if name == "slow":
            time.sleep(0.05)
        headers = {"Content-Length": str(len(BODY)), "ETag": '"v1"', "Last-Modified": "Sat, 21 Nov 2026 02:00:00 GMT"}
        if name == "untagged":
            del headers["ETag"]
        if name == "unknown":
            headers = {"Content-Length": str(len(BODY))}
        if name == "endless":
            headers = {"Connection": "close"}
        self.send_response(200)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if head:
            return None
        if name == "short" or (name == "short-once" and tries == 1):
            self.wfile.write(BODY[:100])
            self.close_connection = True
        elif name == "dripping":
            for byte in BODY:
                self.wfile.write(bytes([byte]))
                time.sleep(0.02)
        elif name == "endless":
            for _ in range(2000):
                self.wfile.write(BODY)
        else:
            self.wfile.write(BODY)
        return None

    def _plain(self, status, headers):
        self.send_response(status)
        for key, value in {"Content-Length": "0", **headers}.items():
            self.send_header(key, value)
        self.end_headers()


@contextmanager
def serving():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    server.seen, server.counting, server.now, server.most = [], threading.Lock(), 0, 0
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def shop():
    with serving() as served:
        yield served


def config(**more):
    return ImagesConfig(**{"private_hosts": HOST, "timeout_s": 1.0, "attempts": 3, "max_bytes": 10_000, **more})


def refusal(url, settings=None):
    with pytest.raises(ImageError) as caught:
        read_image(url, settings or config())
    return caught.value


def test_a_picture_is_read_and_its_tag_is_its_fingerprint(shop):
    server, root = shop
    assert read_image(f"{root}/red shoe ü.jpg#top", config()) == BODY
    assert server.seen[-1][1] == "/red%20shoe%20%C3%BC.jpg"
    assert read_image(f"{root}/a%20b.jpg?width=300&v=2", config()) == BODY
    assert server.seen[-1][1] == "/a%20b.jpg?width=300&v=2"
    assert server.seen[-1][2]["User-Agent"].startswith("vsspark/")
    assert stat_image(f"{root}/red.jpg", config()) == (len(BODY), "v1")
    assert server.seen[-1][0] == "HEAD"
    size, fingerprint = stat_image(f"{root}/untagged", config())
    assert (size, fingerprint) == (len(BODY), f"Sat, 21 Nov 2026 02:00:00 GMT {len(BODY)}")
    assert stat_image(f"{root}/unknown", config()) is None
    assert stat_image(f"{root}/status/404", config()) is None


def test_what_a_server_says_becomes_a_reason(shop):
    _, root = shop
    assert refusal(f"{root}/status/404").reason is Reason.MISSING
    assert refusal(f"{root}/status/410").reason is Reason.MISSING
    assert refusal(f"{root}/status/403").reason is Reason.UNREADABLE
    assert "HTTP 403" in refusal(f"{root}/status/403").detail
    assert refusal(f"{root}/status/500").reason is Reason.UNREADABLE
    assert refusal(f"{root}/large", config(max_bytes=1000)).reason is Reason.TOO_MANY_BYTES
    assert refusal(f"{root}/endless").reason is Reason.TOO_MANY_BYTES
    assert refusal("http://[::1").reason is Reason.UNREADABLE
    assert refusal("ftp://127.0.0.1/x.jpg").reason is Reason.REFUSED
    assert refusal(root.replace("//", "//me:secret@") + "/x.jpg").reason is Reason.REFUSED
    assert "secret" not in refusal(root.replace("//", "//me:secret@") + "/x.jpg").detail


def test_a_busy_server_is_asked_again_when_it_says_so(shop):
    server, root = shop
    begun = time.monotonic()
    assert read_image(f"{root}/busy", config()) == BODY
    assert time.monotonic() - begun >= 2
    assert len(server.seen) == 3
    assert "patience" in refusal(f"{root}/patience").detail
    assert len(server.seen) == 4


def test_an_answer_that_ends_early_or_never_is_asked_for_again(shop):
    _, root = shop
    assert read_image(f"{root}/short-once", config()) == BODY
    assert refusal(f"{root}/short").reason is Reason.UNREADABLE
    begun = time.monotonic()
    assert refusal(f"{root}/dripping", config(attempts=1, timeout_s=0.2)).reason is Reason.UNREADABLE
    assert time.monotonic() - begun < 5


def test_a_redirect_leads_to_the_same_host_or_to_those_that_are_named(shop):
    _, root = shop
    assert read_image(f"{root}/to//other.jpg", config()) == BODY
    with serving() as (_, elsewhere):
        away = f"{root}/to/{elsewhere.replace('127.0.0.1', 'localhost')}/cdn.jpg"
        both = {"private_hosts": ("127.0.0.1", "localhost")}
        assert refusal(away, config(**both)).reason is Reason.REFUSED
        assert "images.redirect_hosts" in refusal(away, config(**both)).detail
        assert read_image(away, config(**both, redirect_hosts=("local*",))) == BODY
        roots = config(**both, redirect_hosts=("local*",), link_roots=(root,))
        assert refusal(away, roots).reason is Reason.REFUSED
    assert refusal(f"{root}/to/file:///etc/passwd").reason is Reason.REFUSED
    assert refusal(f"{root}/to/x.jpg", config(attempts=1)).reason is Reason.UNREADABLE  # a circle


def test_an_address_inside_a_network_is_refused_before_anything_is_sent(shop):
    server, root = shop
    closed = config(private_hosts=())
    for url in (f"{root}/x.jpg", root.replace("127.0.0.1", "localhost") + "/x.jpg", "http://127.0.0.1:9/x.jpg"):
        assert refusal(url, closed).reason is Reason.REFUSED
        assert "images.private_hosts" in refusal(url, closed).detail
        assert stat_image(url, closed) is None
    assert server.seen == []
    for url in ("http://[::1]:9/x", "http://[::ffff:127.0.0.1]:9/x", "http://2130706433:9/x", "http://0.0.0.0:9/x"):
        assert refusal(url, closed).reason is Reason.REFUSED, url
    # By a redirect, too.
    away = f"{root}/to/http://localhost:{server.server_port}/x.jpg"
    assert refusal(away, config(redirect_hosts=("*",))).reason is Reason.REFUSED


def test_no_more_requests_than_allowed_are_in_flight_to_a_host(shop):
    server, root = shop
    settings = config(host_requests=3, timeout_s=5.0)
    threads = [threading.Thread(target=read_image, args=(f"{root}/slow", settings)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.seen) == 16
    assert server.most <= 3
