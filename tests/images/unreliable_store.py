"""A real S3 endpoint (moto's server, a process of its own) behind a proxy on loopback that damages a share of the
answers.
"""

from __future__ import annotations

import http.client
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
from botocore.exceptions import EndpointConnectionError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

KEYS = {"access": "testing", "secret": "canary-secret"}
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"

FORBIDDEN = b"<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>"


@dataclass
class Faults:
    """What goes wrong, and how often it did. `failing` of the requests get one of `kinds`, `truncated` of the GETs
    lose the end of their body.
    """

    failing: float = 0.0
    truncated: float = 0.0
    kinds: tuple[str, ...] = ("slow_down", "reset", "silent", "slow_body", "reset_in_body")
    silent_s: float = 1.0  # longer than the reader's timeout
    # Part of an object's name -> the fault each of its requests meets.
    always: dict[str, str] = field(default_factory=dict)
    seen: Counter = field(default_factory=Counter)
    dice: random.Random = field(default_factory=lambda: random.Random(1))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, path: str, method: str) -> str:
        with self.lock:
            fault = next((fault for name, fault in self.always.items() if name in path), None)
            if fault is None:
                chance = self.dice.random()
                if chance < self.failing:
                    fault = self.dice.choice([kind for kind in self.kinds if method == "GET" or "body" not in kind])
                else:
                    fault = "truncated" if method == "GET" and chance < self.failing + self.truncated else "none"
            self.seen[f"{method} {fault}"] += 1
            return fault


@contextmanager
def s3_server() -> Iterator[tuple[int, object]]:
    """(port, boto3 client) of an S3 server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], **quiet)
    try:
        client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name="us-east-1",
            aws_access_key_id=KEYS["access"],
            aws_secret_access_key=KEYS["secret"],
        )
        for attempt in Retrying(
            stop=stop_after_delay(60),
            wait=wait_fixed(0.2),
            retry=retry_if_exception_type(EndpointConnectionError),
            reraise=True,
        ):
            with attempt:
                client.create_bucket(Bucket="shop")
        yield port, client
    finally:
        server.terminate()
        server.wait()


@contextmanager
def unreliable(port: int, faults: Faults) -> Iterator[dict[str, str]]:
    """Storage options of a proxy in front of the server on `port`."""

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            fault = faults.of(self.path, self.command)
            if fault == "silent":
                time.sleep(faults.silent_s)
            if fault in ("reset", "silent"):
                return self.reset()
            if fault == "forbidden":
                return self.answer(403, {"Content-Type": "application/xml"}, FORBIDDEN)
            if fault == "slow_down":
                return self.answer(503, {"Content-Type": "application/xml"}, SLOW_DOWN)
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request(self.command, self.path, headers=dict(self.headers))
            response = connection.getresponse()
            body, headers = response.read(), dict(response.getheaders())
            connection.close()
            self.answer(response.status, headers, body, fault)

        do_GET = do_HEAD = forward

        def answer(self, status: int, headers: dict[str, str], body: bytes, fault: str = "none") -> None:
            self.send_response_only(status)
            own = {"connection", "transfer-encoding"} | ({"content-length"} if self.command == "GET" else set())
            for name, value in headers.items():
                if name.lower() not in own:
                    self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "HEAD":
                return
            half = len(body) // 2
            if fault == "truncated":  # the sender is done, and says so politely
                self.wfile.write(body[:half])
                self.close_connection = True
            elif fault == "reset_in_body":
                self.wfile.write(body[:half])
                self.wfile.flush()
                self.reset()
            elif fault == "slow_body":
                for start in range(0, len(body), max(1, len(body) // 4)):
                    self.wfile.write(body[start : start + max(1, len(body) // 4)])
                    self.wfile.flush()
                    time.sleep(0.1)
            else:
                self.wfile.write(body)

        def reset(self) -> None:
            # RST instead of FIN.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True

        def finish(self) -> None:
            with suppress(OSError, ValueError):  # cut on purpose
                super().finish()

        def log_message(self, *args) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request, client_address) -> None:
            pass  # the reader hung up first

    server = Server(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield {
            "fs.s3a.endpoint": f"http://127.0.0.1:{server.server_address[1]}",
            "fs.s3a.endpoint.region": "us-east-1",
            "fs.s3a.access.key": KEYS["access"],
            "fs.s3a.secret.key": KEYS["secret"],
            "fs.s3a.path.style.access": "true",
            "fs.s3a.connection.ssl.enabled": "false",
        }
    finally:
        server.shutdown()
        server.server_close()
