"""One run at a time below an `output.path`, and no commit of a run that has lost its turn.

Local folder: an advisory lock of the operating system, which takes it back the moment the process dies.

Object store: a lease. `_lock` is created only if it is not there, renewed every 20 s while the run lives, and free for
others when it has not been renewed for LEASE_S. Both times, now and of the last renewal, are read from the store's own
clock, so the clocks of the machines do not matter.

What is guaranteed of a run whose lease was taken over:
- Every write looks at the lease first (`check`) and raises StorageError.
- A Delta commit that was on its way fails. Each one carries the holder's `token` as Delta's transaction id; who takes
  over commits, to every table, that this id is used up (`Store.revoke`). Delta refuses a commit that began before that
  and skips one that begins later. This is as strong as the table's log store: atomic on HDFS, ABFS and GCS; on S3
  Delta's default log store looks whether a version exists before it writes it, so a driver that stands still between
  these two requests for LEASE_S can still replace that one version. S3DynamoDBLogStore closes this.
- RESTORE (a rollback, or the end of a failed run) carries no token. `check` comes directly before it, and Delta refuses
  it when another commit comes between its start and its end. Published runs name the versions of their tables, so a
  late RESTORE never mixes two of them.
- Parquet has no commits: `check` comes directly before the renames, nothing guards the renames themselves.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import socket
import threading
import time
import uuid
from pathlib import Path

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from vsspark.errors import StorageError
from vsspark.storage.files import Files, first_line
from vsspark.storage.filesystems import split_uri

log = logging.getLogger("vsspark")

NAME = "_lock"
LEASE_S = 120.0  # without a renewal for so long, the run that held the lease is taken for dead
_RENEW_S = 20.0
_SETTLE_S = 2.0  # a lease that was taken over is read once more after this, for stores without conditional writes


class OutputLock:
    """`acquire()` or StorageError saying who holds it; `release()` when the run is over.

    token: names this holder; two runs of one name have two.
    """

    def __init__(self, spark: SparkSession, root: str, run_id: str):
        self.run_id, self.token = run_id, uuid.uuid4().hex
        self._files, self._root, self._path = Files(spark), root, f"{root}/{NAME}"
        self._mine = {"run_id": run_id, "host": socket.gethostname(), "pid": os.getpid(), "token": self.token}
        scheme, path = split_uri(root)
        self._local = Path(path) / NAME if scheme == "file" else None
        self._descriptor: int | None = None
        self._over = threading.Event()
        self._renewing: threading.Thread | None = None

    def acquire(self) -> list[str]:
        """The tokens of the holders that were taken for dead and may still have commits on their way; mostly none."""
        if self._local is not None:
            self._acquire_file()
            return []
        return self._acquire_lease()

    def check(self) -> None:
        """Raises StorageError when another run has taken the lease over: this one must not write any more."""
        if self.lost():
            taker = (self._holder() or {}).get("run_id")
            how = f"run {taker} has taken over output.path={self._root}"
            if not taker:
                how = f"the lease below output.path={self._root} is gone or cannot be read"
            raise StorageError(f"{how} while this run could not renew its lease; start it again")

    def lost(self) -> bool:
        """Whether another run has taken the lease over, or the lease cannot be read."""
        return self._renewing is not None and not self._is_mine(self._holder())

    def release(self) -> None:
        """Frees the output for others; a lease that was lost stays its new holder's."""
        if self._descriptor is not None:
            # The file stays: removing it would let two runs lock two files of one name.
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None
        if self._renewing is not None:
            self._over.set()
            self._renewing.join()
            if self._is_mine(self._holder()):
                self._files.delete(self._path)
            self._renewing = None

    def _acquire_file(self) -> None:
        try:
            self._local.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._local, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StorageError(f"output.path={self._root} cannot be written: {error}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.read(descriptor, 4096)
            os.close(descriptor)
            raise self._busy(json.loads(text) if text else {}) from None
        except OSError as error:  # a file system without locks
            os.close(descriptor)
            raise StorageError(f"output.path={self._root} cannot be locked: {error}") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(self._mine).encode(), 0)
        self._descriptor = descriptor

    def _acquire_lease(self) -> list[str]:
        dead = [] if self._create() else self._take_over()
        self._renewing = threading.Thread(target=self._renew, name="output-lease", daemon=True)
        self._renewing.start()
        return dead

    def _take_over(self) -> list[str]:
        """Makes an old lease this run's. Raises StorageError where it is not old, or another run was quicker."""
        try:
            etag, age = self._files.etag(self._path), self._age()
            holder = self._holder() or {}
            if age is not None and age < LEASE_S:
                raise self._busy(holder)
        except Py4JJavaError as error:
            text = first_line(error)
            raise StorageError(f"output.path={self._root}: nobody can say who is writing there: {text}") from None
        # A dead run may have died before it had revoked the one before it.
        dead = [token for token in (*holder.get("dead", ()), holder.get("token")) if token]
        self._mine["dead"] = dead
        with contextlib.suppress(Py4JJavaError):  # refused where another run was quicker: what is read next says so
            self._files.write_text(self._path, json.dumps(self._mine), etag)
        time.sleep(_SETTLE_S)
        if not self._is_mine(self._holder()):
            raise self._busy(self._holder() or {})
        if dead:
            log.warning("lock       taken over from run %s, silent for %.0f s", holder.get("run_id"), age or 0)
        return dead

    def _age(self) -> float | None:
        """Seconds since the lease was written, both by the store's clock; None where it is not there any more."""
        then = self._files.modified(self._path)
        if then is None:
            return None
        probe = f"{self._path}-{self.token}"
        self._files.write_text(probe, "")
        now = self._files.modified(probe)
        self._files.delete(probe)
        return now - then

    def _renew(self) -> None:
        while not self._over.wait(_RENEW_S):
            # A store that fails for a while costs nothing before LEASE_S; `check` finds out what came of it.
            with contextlib.suppress(Py4JJavaError):
                etag, holder = self._files.etag(self._path), self._holder()  # in this order: what is read is not older
                if holder is None:
                    continue  # it may be another's by now
                if not self._is_mine(holder):
                    return
                self._files.write_text(self._path, json.dumps(self._mine), etag)

    def _create(self) -> bool:
        try:
            return self._files.create_text(self._path, json.dumps(self._mine))
        except Py4JJavaError as error:
            raise StorageError(f"output.path={self._root} cannot be written: {first_line(error)}") from None

    def _holder(self) -> dict | None:
        try:
            return json.loads(self._files.read_text(self._path))
        except (Py4JJavaError, ValueError):
            return None

    def _is_mine(self, holder: dict | None) -> bool:
        return holder is not None and holder.get("token") == self.token

    def _busy(self, holder: dict) -> StorageError:
        who = f"run {holder['run_id']} (process {holder['pid']} on {holder['host']})" if holder else "another run"
        what = "nothing was done; start this run again when it is over"
        return StorageError(f"{who} is writing below output.path={self._root}: {what}")
