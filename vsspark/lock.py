"""One run at a time below an `output.path`.

A local folder: an advisory lock of the operating system, which it takes back the moment the process dies, however it dies.
An object store or HDFS: a lease, a small object created only if it is not there, renewed while the run lives and free for others when it
has not been renewed for LEASE_S. A run whose lease was taken over finds out before it publishes (`check`).
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

NAME = "_lock"
LEASE_S = 120.0  # without a renewal for so long, the run that held the lease is taken for dead
_RENEW_S = 20.0
_SETTLE_S = 2.0  # a taken-over lease is looked at once more after this, in case two runs took it over at once


class OutputLock:
    """`acquire()` or StorageError saying who holds it; `release()` when the run is over."""

    def __init__(self, spark: SparkSession, root: str, run_id: str):
        self._spark, self._root = spark, root
        self._mine = {"run_id": run_id, "host": socket.gethostname(), "pid": os.getpid(), "token": uuid.uuid4().hex}
        scheme, path = split_uri(root)
        self._file = Path(path) / NAME if scheme == "file" else None
        self._descriptor: int | None = None
        self._over = threading.Event()
        self._renewing: threading.Thread | None = None

    def acquire(self) -> None:
        if self._file is not None:
            self._acquire_file()
        else:
            self._acquire_lease()

    def check(self) -> None:
        """Raises StorageError when another run has taken the lease over: this one must not publish any more."""
        if self._renewing is not None and (holder := self._holder()) is not None and holder.get("token") != self._mine["token"]:
            raise StorageError(f"run {holder.get('run_id')} has taken over output.path={self._root} while this run could not renew its lease; start it again")

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
                self._fs().delete(self._path(), False)
            self._renewing = None

    def _acquire_file(self) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StorageError(f"output.path={self._root} cannot be written: {error}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            text = os.read(descriptor, 4096)
            os.close(descriptor)
            raise self._busy(json.loads(text) if text else {}) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(self._mine).encode(), 0)
        self._descriptor = descriptor

    def _acquire_lease(self) -> None:
        if not self._create():
            status = self._status()
            holder = self._holder() or {}
            if status is not None and time.time() - status.getModificationTime() / 1000 < LEASE_S:
                raise self._busy(holder)
            self._write(overwrite=True)
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
                if holder is not None and holder.get("token") != self._mine["token"]:
                    return
                self._write(overwrite=True)

    def _create(self) -> bool:
        try:
            self._write(overwrite=False)
        except Py4JJavaError as error:
            if self._status() is None:
                raise StorageError(f"output.path={self._root} cannot be written: {str(error.java_exception).splitlines()[0]}") from None
            return False
        return True

    def _write(self, overwrite: bool) -> None:
        builder = self._fs().createFile(self._path()).overwrite(overwrite)
        if not overwrite:
            # An object store checks and writes in two steps unless it is asked for a conditional write; file systems ignore the option.
            builder = builder.opt("fs.option.create.conditional.overwrite", True)
        out = builder.build()
        out.writeBytes(json.dumps(self._mine))
        out.close()

    def _holder(self) -> dict | None:
        try:
            stream = self._fs().open(self._path())
            text = self._spark._jvm.org.apache.commons.io.IOUtils.toString(stream, "UTF-8")
            stream.close()
            return json.loads(text)
        except (Py4JJavaError, ValueError):
            return None

    def _status(self):
        try:
            return self._fs().getFileStatus(self._path())
        except Py4JJavaError:
            return None

    def _path(self):
        return self._spark._jvm.org.apache.hadoop.fs.Path(f"{self._root}/{NAME}")

    def _fs(self):
        return self._path().getFileSystem(self._spark.sparkContext._jsc.hadoopConfiguration())

    def _busy(self, holder: dict) -> StorageError:
        who = f"run {holder['run_id']} (process {holder['pid']} on {holder['host']})" if holder else "another run"
        return StorageError(f"{who} is writing below output.path={self._root}: nothing was done; start this run again when it is over")
