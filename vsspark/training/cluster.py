"""Several workers at one training: which of them this process is, and how the others wait for the first."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vsspark.errors import ConfigError

# How often a file is looked for, and how seldom the first worker is called meanwhile.
_POLL_S, _POLLS_PER_CALL = 0.5, 20
_CALLS = 3  # without an answer, in a row: a busy machine may miss one


@dataclass(frozen=True)
class Cluster:
    """The workers that TF_CONFIG names, all started with the same command; `strategy` is None where this process is
    the only one.

    TF_CONFIG = {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}, as tf.distribute
    defines it. The first worker writes the training set, the heads and the checkpoints below `training.path`, which
    all of them share.
    """

    strategy: Any = None  # tf.distribute.MultiWorkerMirroredStrategy
    first: bool = True
    addresses: tuple[str, ...] = ()  # host:port of the workers, in their order

    def await_first(self, ready: Callable[[], bool]) -> None:
        """Returns at once in the first worker, and in the others when it has done what `ready` looks for.

        Raises ConfigError when the first worker is gone and has not done it.
        """
        polls = failures = 0
        while not self.first and not ready():
            time.sleep(_POLL_S)
            polls += 1
            if polls % _POLLS_PER_CALL == 0:
                failures = 0 if _answers(self.addresses[0]) else failures + 1
            if failures >= _CALLS and not ready():
                raise ConfigError(
                    f"TF_CONFIG: the first worker, {self.addresses[0]}, has ended before its part was done; "
                    "see why there, and start all again"
                )


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=5):
            return True
    except OSError:
        return False


def join_cluster() -> Cluster:
    """This process's place, once every other worker has come. To be called before TensorFlow has computed anything."""
    workers = json.loads(os.environ.get("TF_CONFIG", "{}"))
    addresses = tuple(workers.get("cluster", {}).get("worker", ()))
    if len(addresses) < 2:
        return Cluster()
    import tensorflow as tf

    return Cluster(tf.distribute.MultiWorkerMirroredStrategy(), workers["task"]["index"] == 0, addresses)
