"""How the workers of one training wait for the first of them."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from vsspark.errors import ConfigError
from vsspark.training import cluster


@pytest.fixture
def listening(monkeypatch):
    monkeypatch.setattr(cluster, "_POLL_S", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def waiting_for(server: socket.socket) -> cluster.Cluster:
    return cluster.Cluster(first=False, addresses=(f"127.0.0.1:{server.getsockname()[1]}", "127.0.0.1:1"))


def test_a_worker_waits_as_long_as_the_first_is_there(listening):
    began, done = time.monotonic(), threading.Event()
    threading.Timer(2, done.set).start()
    waiting_for(listening).await_first(done.is_set)
    assert time.monotonic() - began >= 2


def test_a_worker_says_that_the_first_has_ended(listening):
    left = waiting_for(listening)
    listening.close()
    with pytest.raises(ConfigError, match=rf"TF_CONFIG: the first worker, {left.addresses[0]}, has ended"):
        left.await_first(lambda: False)


def test_what_the_first_has_done_counts_though_it_has_ended(listening):
    left, asked = waiting_for(listening), []
    listening.close()
    left.await_first(lambda: asked.append(1) or len(asked) > 60)  # it came while the last call was made
    assert len(asked) == 62
