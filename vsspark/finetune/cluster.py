"""Several workers at one training: which of them this process is, and how the others wait for the first."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cluster:
    """The workers that TF_CONFIG names, all started with the same command; `strategy` is None where this process is the only one.

    TF_CONFIG = {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}, as tf.distribute defines it. The first worker
    writes the training set, the heads and the checkpoints below `training.path`, which all of them share.
    """

    strategy: Any = None  # tf.distribute.MultiWorkerMirroredStrategy
    first: bool = True

    def await_first(self, ready: Callable[[], bool]) -> None:
        """Returns at once in the first worker, and in the others when it has done what `ready` looks for."""
        while not self.first and not ready():
            time.sleep(0.5)


def join_cluster() -> Cluster:
    """This process's place, once every other worker has come. To be called before TensorFlow has computed anything."""
    workers = json.loads(os.environ.get("TF_CONFIG", "{}"))
    if len(workers.get("cluster", {}).get("worker", ())) < 2:
        return Cluster()
    import tensorflow as tf

    return Cluster(tf.distribute.MultiWorkerMirroredStrategy(), workers["task"]["index"] == 0)
