"""Folders that runs keep for themselves, below `_staging` and `_work`; no reader looks there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession

from vsspark import __version__
from vsspark.errors import StorageError
from vsspark.spark import session
from vsspark.storage.files import Files, first_line
from vsspark.storage.filesystems import PLAIN_PATHS, S3_SCHEMES, open_filesystem, split_uri

if TYPE_CHECKING:
    from vsspark.storage.lock import OutputLock

_NOT_WRITABLE = (
    "Permission denied",
    "Mkdirs failed",
    "Not a directory",
    "ParentNotDirectory",
    "AccessDenied",
    "Read-only",
    "No space",
)


class Scratch:
    """`_staging` is deleted at the end of its run; `_work` holds finished pieces and survives a kill.

    lock: of the run that writes. Its staging folder carries the lock's token, so that two runs of one name, of which
    one has lost its lease, never write into each other's files. `_work` is named by release and content: whoever wrote
    a piece, it is the piece that this release would make.
    """

    def __init__(self, spark: SparkSession, root: str, lock: OutputLock | None):
        self.spark, self.root = spark, root
        self._files = Files(spark)
        self._lock = lock

    def check_reachable(self, folders: Sequence[str] = ()) -> None:
        """Raises ConfigError where tasks cannot reach the output's kind of store, or that of a folder on S3, as Spark
        does. No request is made, nothing is written.
        """
        options = session.storage_options(self.spark)
        for uri in (self.root, *(folder for folder in folders if split_uri(folder)[0] in S3_SCHEMES)):
            open_filesystem(uri, options)

    def check_writable(self) -> None:
        """Raises StorageError naming output.path when nothing can be written there, and ConfigError when tasks cannot
        write to that kind of store: checked before hours of work, not after.
        """
        self.check_reachable()
        probe = f"{self.root}/_staging/_probe"
        try:
            self._files.write_text(probe, "")
            self._files.delete(probe)
        except Py4JJavaError as error:
            raise StorageError(f"output.path={self.root} cannot be written: {first_line(error)}") from None

    def staging(self, run_id: str, name: str = "") -> str:
        """A folder of a run, deleted when the run is over."""
        token = f"-{self._lock.token}" if self._lock is not None and self._lock.run_id == run_id else ""
        return f"{self.root}/_staging/{run_id}{token}/{name}".rstrip("/")

    def stage(self, run_id: str, name: str, df: DataFrame) -> DataFrame:
        """Writes a run's intermediate rows and returns them as read back, so that no UDF behind them runs twice."""
        with self._writable():
            df.write.mode("overwrite").parquet(self.staging(run_id, name))
        return self.spark.read.options(**PLAIN_PATHS).schema(df.schema).parquet(self.staging(run_id, name))

    def drop_staging(self, run_id: str | None = None) -> None:
        """Removes a run's own staging folder; without a name those of killed runs: for who has just taken the lock."""
        if run_id is None:
            self._files.delete(f"{self.root}/_staging")
        else:
            self._files.delete(self.staging(run_id))
            self._files.delete_empty(f"{self.root}/_staging")

    def work(self, name: str) -> str:
        """A folder of finished work that the next run of the same release may go on from."""
        return f"{self.root}/_work/{__version__}/{name}"

    def add_work(self, name: str, df: DataFrame) -> None:
        """Appends rows to a folder of finished work, every task's file as soon as the task is done: a killed job leaves
        what it had finished."""
        options = {"mapreduce.fileoutputcommitter.algorithm.version": "2", "compression": "lz4"}
        with self._writable():
            df.write.mode("append").options(**options).parquet(self.work(name))

    def read_work(self, name: str, schema: str) -> DataFrame | None:
        """The rows of a folder of finished work; None where there is none."""
        if not self._files.exists(self.work(name)):
            return None
        return self.spark.read.options(**PLAIN_PATHS).schema(schema).parquet(self.work(name))

    def drop_work(self) -> None:
        """Removes all finished work, that of other releases too."""
        self._files.delete(f"{self.root}/_work")

    def write_json(self, name: str, facts: Mapping[str, object]) -> None:
        """Writes a small file for readers below the root, in place of the one that is there."""
        with self._writable():
            self._files.write_text(f"{self.root}/{name}", f"{json.dumps(facts, indent=1)}\n")

    def drop_root(self) -> None:
        """Removes everything below the root, for a root of one run alone."""
        self._files.delete(self.root)

    @contextmanager
    def _writable(self) -> Iterator[None]:
        """Turns the errors of a path that cannot be written into a StorageError that names output.path."""
        try:
            yield
        except (Py4JJavaError, AnalysisException) as error:
            text = first_line(error)
            if any(sign in text for sign in _NOT_WRITABLE):
                raise StorageError(f"output.path={self.root} cannot be written: {text}") from None
            raise
