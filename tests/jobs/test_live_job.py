"""`vsspark live`: a server on loopback, asked over HTTP and by a real browser of a phone's size."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from browser import CHROMIUM, open_browser
from shops import REPO, arguments

from jobs import query
from vsspark.config import OutputConfig
from vsspark.schemas import RUNS, SIMILAR_PRODUCTS
from vsspark.storage.store import Store


class Server(NamedTuple):
    host: str
    port: int
    process: subprocess.Popen
    output: str
    photos: Path
    rows: list[dict]

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/"

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str):
        """(status, headers, body) of one request."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def similar(self, picture: bytes, options: str = "") -> tuple[int, dict]:
        status, _, body = self.ask("POST", f"/similar{options}", picture)
        return status, json.loads(body)

    def photo(self, row: int) -> bytes:
        return (self.photos / self.rows[row]["photo"]).read_bytes()

    def memory(self) -> int:
        """Resident bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(re.search(r"VmRSS:\s*(\d+)", status)[1])


@contextmanager
def _serving(published, output: str, *sets: str):
    photos, _, rows = published
    own = arguments(photos, output, "live.poll_s=0.2", *sets)
    command = [sys.executable, "-m", "vsspark", "live", "--port", "0", *own]
    process = subprocess.Popen(command, cwd=REPO, stderr=subprocess.PIPE, text=True)
    try:
        line = next((line for line in process.stderr if "answers from run" in line), "")
        address = urlsplit(re.search(r"http://\S+", line)[0])
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield Server(address.hostname, address.port, process, output, photos, rows)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, 143, -signal.SIGTERM)


@pytest.fixture(scope="module")
def server(published, tmp_path_factory):
    output = tmp_path_factory.mktemp("live") / "out"
    shutil.copytree(published[1], output)
    with _serving(published, str(output), "live.max_upload_bytes=300000", "live.requests=2", "live.upload_s=1") as up:
        yield up


def test_a_picture_gets_the_answer_of_the_query_job(server, capsys):
    status, said = server.similar(server.photo(0), "?k=4")
    assert (status, said["run_id"]) == (200, "night-1")
    own = arguments(server.photos, server.output)
    capsys.readouterr()
    assert query.main([*own, "--json", "--k", "4", str(server.photos / server.rows[0]["photo"])]) == 0
    (expected,) = json.loads(capsys.readouterr().out)["answers"]
    assert [s["product_id"] for s in said["similar"]] == [s["product_id"] for s in expected["similar"]]
    first = said["similar"][0]
    assert (first["product_id"], first["price"]) == (server.rows[0]["sku"], float(server.rows[0]["cost"]))
    assert first["similarity"] == pytest.approx(1, abs=1e-5)
    assert "uri" not in json.dumps(said)
    status, headers, jpeg = server.ask("GET", first["picture"])
    assert (status, headers["content-type"]) == (200, "image/jpeg")
    assert max(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape[:2]) <= 400


def test_a_box_chooses_the_garment(server):
    """Two products side by side: each half finds its own."""
    halves = [
        cv2.resize(cv2.imdecode(np.frombuffer(server.photo(i), np.uint8), cv2.IMREAD_COLOR), (300, 300)) for i in (0, 8)
    ]
    both = cv2.imencode(".jpg", np.hstack(halves))[1].tobytes()
    for box, row in (("0+0+300+300", 0), ("300+0+600+300", 8)):
        _, said = server.similar(both, f"?k=3&box={box}")
        assert said["similar"][0]["product_id"] == server.rows[row]["sku"], box
    status, said = server.similar(both, "?box=10+10+5+5")
    assert (status, said["reason"]) == (422, "bad_box")


@pytest.mark.parametrize(
    ("picture", "options", "status", "reason"),
    [
        (b"", "", 422, "empty"),
        (b"<!DOCTYPE html>", "", 422, "not_an_image"),
        (b"\xff\xd8\xff\xe0 no picture", "", 422, None),
        (b"x" * 300_001, "", 413, "too_many_bytes"),
        (b"x", "?k=0", 400, "bad_k"),
        (b"x", "?k=9999", 400, "bad_k"),
        (b"x", "?k=%C2%B2", 400, "bad_k"),
        (b"x", "?box=a+b", 422, "bad_box"),
    ],
)
def test_what_cannot_be_used_says_why(server, picture, options, status, reason):
    got, said = server.similar(picture, options)
    assert (got, said["message"] != "") == (status, True), said
    assert reason is None or said["reason"] == reason


def test_a_bomb_takes_no_memory(server):
    before = server.memory()
    assert server.similar((server.photos / "bomb.png").read_bytes())[1]["reason"] == "too_many_pixels"
    for _ in range(30):
        assert server.similar(server.photo(1))[0] == 200
    assert server.memory() - before < 100 * 2**20


def test_other_sites_and_other_names_cannot_ask(server):
    assert server.ask("POST", "/similar", server.photo(0), **{"Sec-Fetch-Site": "cross-site"})[0] == 403
    assert server.ask("GET", "/health", Host="shop.example")[0] == 400
    status, headers, _ = server.ask("GET", "/")
    assert (status, headers["x-content-type-options"]) == (200, "nosniff")
    assert headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize("path", ["/picture/1", f"/picture/{2**63}", "/picture/..%2f..%2fetc", "/page.py", "/nothing"])
def test_what_is_not_there_is_404(server, path):
    assert server.ask("GET", path)[0] == 404


def test_a_picture_that_never_ends_is_given_up_and_others_wait_for_a_second(server):
    slow = [socket.create_connection((server.host, server.port)) for _ in range(2)]
    for connection in slow:
        connection.sendall(b"POST /similar HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc")
    time.sleep(0.3)
    status, headers, body = server.ask("POST", "/similar", server.photo(0))
    assert (status, headers["retry-after"], json.loads(body)["reason"]) == (503, "1", "busy")
    assert [connection.recv(100).split()[1] for connection in slow] == [b"408", b"408"]
    for connection in slow:
        connection.close()
    assert server.similar(server.photo(0))[0] == 200


def test_a_new_publish_answers_without_a_restart(spark, server):
    store = Store(spark, OutputConfig(path=server.output))
    row = store.run_row("night-1") | {"run_id": "night-2"}
    lists = store.read("similar_products").localCheckpoint()
    store.write_run_row({name: row[name] for name in RUNS.names})
    changed = lists.selectExpr(*[f"'night-2' AS {n}" if n == "run_id" else n for n in lists.columns])
    store.publish("similar_products", changed, SIMILAR_PRODUCTS, "night-2")
    deadline = time.monotonic() + 30
    while json.loads(server.ask("GET", "/health")[2])["run_id"] != "night-2":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert server.similar(server.photo(0))[1]["run_id"] == "night-2"


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_on_a_phone(server, tmp_path):
    with open_browser(tmp_path) as page:
        page.as_phone()
        page.open(server.url)
        page.choose_file("#choose", server.photos / server.rows[0]["photo"])
        page.wait_for("document.querySelectorAll('#products li').length == 12")
        first = page.value("document.querySelector('#products li').innerText")
        assert f"{float(server.rows[0]['cost']):.2f}" in first
        page.value("window.scrollTo(0, document.body.scrollHeight)")
        page.wait_for("[...document.images].filter((i) => i.naturalWidth > 0).length >= 6")
        assert page.value("document.documentElement.scrollWidth") <= 390
        page.value("window.scrollTo(0, 0)")
        left, top, width, height = page.value(
            "(() => { const r = document.querySelector('#picture').getBoundingClientRect();"
            " return [r.left, r.top, r.width, r.height]; })()"
        )
        page.value(
            "window.asked = []; const f = window.fetch; window.fetch = (u, o) => { asked.push(u); return f(u, o); }"
        )
        page.drag_finger((left + 0.2 * width, top + 0.3 * height), (left + 0.7 * width, top + 0.6 * height))
        page.wait_for("asked.length == 1 && document.querySelector('#status').innerText == '12 similar products'")
        box = page.value("decodeURIComponent(asked[0])").partition("?box=")[2].split()
        side = page.value("[document.querySelector('#picture').width, document.querySelector('#picture').height]")
        shares = [int(edge) / side[i % 2] for i, edge in enumerate(box)]
        assert shares == pytest.approx([0.2, 0.3, 0.7, 0.6], abs=0.02)
        page.choose_file("#take", server.photos / "page.jpg")
        page.wait_for("document.querySelector('#status').classList.contains('bad')")
        assert page.value("document.querySelectorAll('#products li').length") == 0
        assert [error for error in page.errors if "422" not in error] == []


def test_an_address_in_use_and_nothing_published_are_one_message(server, tmp_path):
    for sets, message in (
        ([f"live.port={server.port}"], f"live: cannot listen on 127.0.0.1:{server.port}: Address already in use"),
        ([f"output.path={tmp_path}/none"], "nothing is published below output.path="),
    ):
        given = [part for item in sets for part in ("--set", item)]
        own = [*arguments(server.photos, server.output), *given]
        process = subprocess.run(
            [sys.executable, "-m", "vsspark", "live", *own], cwd=REPO, capture_output=True, text=True, timeout=60
        )
        assert process.returncode == 2, process.stderr
        assert message in process.stderr
        assert "Traceback" not in process.stderr
