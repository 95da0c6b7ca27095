"""One run at a time below an `output.path`.

A local folder: an advisory lock of the operating system, which it takes back the moment the process dies, however it dies.
An object store: a lease, a small object created only if it is not there, renewed while the run lives and free for others when it
has not been renewed for LEASE_S. A run whose lease was taken over finds out before it publishes (`check`), and touches nothing that the other
one writes, too (`lost`).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from vsspark.errors import StorageError
from vsspark.images.fetch import split_uri
from vsspark.store.files import Files, first_line

NAME = "_lock"
LEASE_S = 120.0  # without a renewal for so long, the run that held the lease is taken for dead
_RENEW_S = 20.0
_SETTLE_S = 2.0  # a taken-over lease is looked at once more after this, in case two runs took it over at once


class OutputLock:
    """`acquire()` or StorageError saying who holds it; `release()` when the run is over."""

    def __init__(self, spark: SparkSession, root: str, run_id: str):
        self._files, self._root, self._path = Files(spark), root, f"{root}/{NAME}"
        self._mine = {"run_id": run_id, "host": socket.gethostname(), "pid": os.getpid(), "token": uuid.uuid4().hex}
        scheme, path = split_uri(root)
        self._local = Path(path) / NAME if scheme == "file" else None
        self._descriptor: int | None = None
        self._over = threading.Event()
        self._renewing: threading.Thread | None = None

    def acquire(self) -> None:
        if self._local is not None:
            self._acquire_file()
        else:
            self._acquire_lease()

    def check(self) -> None:
        """Raises StorageError when another run has taken the lease over: this one must not publish any more."""
        holder = self._holder() or {}
        if self._renewing is not None and holder.get("token") != self._mine["token"]:
            taker = holder.get("run_id")
            how = f"run {taker} has taken over output.path={self._root}" if taker else f"the lease below output.path={self._root} is gone or cannot be read"
            raise StorageError(f"{how} while this run could not renew its lease; start it again")

    def lost(self) -> bool:
        """Whether another run has taken the lease over, or nobody can say that none has."""
        return self._renewing is not None and (self._holder() or {}).get("token") != self._mine["token"]

    def release(self) -> None:
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)  # the file stays: removing it would let two runs lock two files of one name
            os.close(self._descriptor)
            self._descriptor = None
        if self._renewing is not None:
            self._over.set()
            self._renewing.join()
            holder = self._holder()
            if holder is not None and holder.get("token") == self._mine["token"]:
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

    def _acquire_lease(self) -> None:
        if not self._create():
            try:
                renewed = self._files.modified(self._path)
            except Py4JJavaError as error:
                raise StorageError(f"output.path={self._root}: nobody can say who is writing there: {first_line(error)}") from None
            holder = self._holder() or {}
            if renewed is not None and time.time() - renewed < LEASE_S:
                raise self._busy(holder)
            self._files.write_text(self._path, json.dumps(self._mine))
            time.sleep(_SETTLE_S)
            holder = self._holder() or {}
            if holder.get("token") != self._mine["token"]:
                raise self._busy(holder)
        self._renewing = threading.Thread(target=self._renew, name="output-lease", daemon=True)
        self._renewing.start()

    def _renew(self) -> None:
        while not self._over.wait(_RENEW_S):
            with contextlib.suppress(Py4JJavaError):  # a store that fails for a while costs nothing before LEASE_S; `check` sees what came of it
                holder = self._holder()
                if holder is None:
                    continue  # it may be another's by now
                if holder.get("token") != self._mine["token"]:
                    return
                self._files.write_text(self._path, json.dumps(self._mine))

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

    def _busy(self, holder: dict) -> StorageError:
        who = f"run {holder['run_id']} (process {holder['pid']} on {holder['host']})" if holder else "another run"
        return StorageError(f"{who} is writing below output.path={self._root}: nothing was done; start this run again when it is over")
