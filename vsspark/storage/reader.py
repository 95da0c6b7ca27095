"""The published tables without Spark: what `Store.published_run` and `Store.read_published` give, through deltalake, or
through pyarrow where the output is plain Parquet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol
from urllib.parse import quote

import pyarrow as pa
from pyarrow import fs

from vsspark.config import OutputConfig
from vsspark.errors import StorageError
from vsspark.storage.filesystems import open_filesystem, split_uri
from vsspark.storage.s3 import delta_settings, s3_settings

_UNREADABLE = re.compile(r"%[0-9A-Fa-f]{2}|[\t\r\n]")  # deltalake 1.6 takes %20 in a folder's name for a space
Where = tuple[str, str]  # a column and the text that it must hold

_PARTITIONED_BY = {"embeddings": "model_version", "runs": "run_id", "_heads": "head"}  # as schemas.PARTITIONED_BY
_RUN = ("run_id", "status", "model_version", "config", "versions")
_BATCH_ROWS = 4096  # a batch of 1,280 numbers a row: 20 MiB


class _Tables(Protocol):
    def exists(self, table: str) -> bool:
        """Whether any run has written the table."""

    def current_run(self, table: str) -> str | None:
        """The run that readers see; None where nothing is published."""

    def columns(self, table: str, version: int | None) -> list[str]:
        """The names of the columns that the table has."""

    def scan(
        self, table: str, version: int | None, columns: Sequence[str], where: Where | None
    ) -> Iterator[pa.RecordBatch]:
        """The rows, a batch at a time."""

    def state(self, table: str) -> object:
        """A value that changes when the table does."""


class PublishedTables:
    """The tables below `output.path`, for reading.

    storage_options: `fs.s3a.` settings, as `open_filesystem` takes them.
    """

    def __init__(self, output: OutputConfig, storage_options: Mapping[str, str]):
        self.root = output.path.rstrip("/")
        self.storage_options = storage_options
        self._tables: _Tables
        kind = _DeltaTables if output.format == "delta" else _ParquetTables
        self._tables = kind(self.root, storage_options)

    def published_run(self) -> dict[str, Any]:
        """run_id, status, model_version, config (a dict) and versions of the run that readers see.

        Raises StorageError when nothing is published.
        """
        current = self._tables.current_run("similar_products")
        if current is None:
            raise StorageError(f"nothing is published below output.path={self.root} yet: run jobs/recommend.py first")
        rows = self.read("runs", None, _RUN, ("run_id", current)).to_pylist() if self.exists("runs") else []
        if not rows:
            where = f"is published below output.path={self.root}"
            raise StorageError(f"run {current} {where}, but the table runs does not know it")
        return rows[0] | {"config": json.loads(rows[0]["config"]), "versions": dict(rows[0]["versions"] or ())}

    def publish_state(self) -> object:
        """A value that changes with every publish and rollback; one request to the store, no table is read."""
        return self._tables.state("similar_products")

    def exists(self, table: str) -> bool:
        """Whether any run has written the table."""
        return self._tables.exists(table)

    def columns(self, table: str, run: Mapping[str, Any] | None) -> list[str]:
        """The names of the columns that the table has; an earlier release wrote fewer."""
        return self._tables.columns(table, _version(table, run))

    def batches(
        self, table: str, run: Mapping[str, Any] | None, columns: Sequence[str], where: Where | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The rows as the run left them, in any order; strings as string, lists as list. run: None = the newest rows."""
        for batch in self._tables.scan(table, _version(table, run), columns, where):
            if batch.num_rows:
                yield batch.select(columns).cast(_plain(batch.select(columns).schema))

    def read(
        self, table: str, run: Mapping[str, Any] | None, columns: Sequence[str], where: Where | None = None
    ) -> pa.Table:
        """All of `batches`; columns that the table lacks are null."""
        there = [name for name in columns if name in self.columns(table, run)]
        batches = list(self.batches(table, run, there, where))
        found = pa.Table.from_batches(batches) if batches else pa.table({name: pa.nulls(0) for name in there})
        lacking = {name: pa.nulls(len(found)) for name in columns if name not in there}
        for name, nulls in lacking.items():
            found = found.append_column(name, nulls)
        return found.select(list(columns))


def _version(table: str, run: Mapping[str, Any] | None) -> int | None:
    """The version of a table that belongs to a run; None: the newest."""
    if run is None or (table == "similar_products" and run["status"] != "published"):
        return None
    return run["versions"].get(table)


def _plain(schema: pa.Schema) -> pa.Schema:
    """The schema with Arrow's usual types in place of DataFusion's views and large types."""
    return pa.schema([field.with_type(_plain_type(field.type)) for field in schema])


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_string_view(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
        return pa.string()
    if pa.types.is_binary_view(kind) or pa.types.is_large_binary(kind):
        return pa.binary()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_list_view(kind):
        return pa.list_(_plain_type(kind.value_type))
    if pa.types.is_map(kind):
        return pa.map_(_plain_type(kind.key_type), _plain_type(kind.item_type))
    return kind


class _DeltaTables:
    """The tables of reader version 1 and of any other: deletion vectors and renamed columns are read as Delta means."""

    def __init__(self, root: str, storage_options: Mapping[str, str]):
        self._named, self._options = root, delta_options(root, storage_options)
        self._root = _delta_root(root)
        if split_uri(root)[0] == "file" and _UNREADABLE.search(self._root):
            raise StorageError(
                f"output.path={root}: without Spark a folder cannot be read whose name has a percent sign before two "
                "hexadecimal digits, a tab or a line break: give it another name"
            )

    def exists(self, table: str) -> bool:
        from deltalake import DeltaTable

        with self._storage_errors(table):
            return DeltaTable.is_deltatable(self._path(table), storage_options=self._options)

    def current_run(self, table: str) -> str | None:
        if not self.exists(table):
            return None
        row = next(self.scan(table, None, ["run_id"], None), None)
        if row is not None and row.num_rows:
            return row.column("run_id")[0].as_py()
        notes = (entry.get("userMetadata") or "" for entry in self._open(table).history())
        return next((json.loads(note)["run_id"] for note in notes if note.startswith('{"run_id"')), None)

    def columns(self, table: str, version: int | None) -> list[str]:
        return [field.name for field in self._open(table, version).schema().fields]

    def scan(
        self, table: str, version: int | None, columns: Sequence[str], where: Where | None
    ) -> Iterator[pa.RecordBatch]:
        predicate = None
        if where is not None:
            text = where[1].replace("'", "''")
            predicate = f"{where[0]} = '{text}'"
        delta = self._open(table, version)
        with self._storage_errors(table):
            yield from pa.RecordBatchReader.from_stream(delta.scan(list(columns), predicate))

    def state(self, table: str) -> object:
        return self._open(table).version() if self.exists(table) else None

    def _open(self, table: str, version: int | None = None):
        from deltalake import DeltaTable

        with self._storage_errors(table, "" if version is None else f", version {version}"):
            return DeltaTable(self._path(table), version=version, storage_options=self._options, skip_stats=True)

    def _path(self, table: str) -> str:
        return f"{self._root}/{table}"

    @contextmanager
    def _storage_errors(self, table: str, version: str = "") -> Iterator[None]:
        from deltalake.exceptions import DeltaError, TableNotFoundError

        try:
            yield
        except TableNotFoundError:
            raise StorageError(f"{self._named}/{table} does not exist{version}") from None
        except (DeltaError, OSError, pa.ArrowException) as error:
            first = str(error).strip().splitlines()[0]
            raise StorageError(f"{self._named}/{table}{version} cannot be read: {first}") from None


class _ParquetTables:
    """Plain folders: the tables as they are now."""

    def __init__(self, root: str, storage_options: Mapping[str, str]):
        self._store, self._root = open_filesystem(root, storage_options)

    def exists(self, table: str) -> bool:
        return self._store.get_file_info(f"{self._root}/{table}").type == fs.FileType.Directory

    def current_run(self, table: str) -> str | None:
        marker = self._json(f"{table}/_published.json") or {}
        ledger = self._json(f"_history/{table}/ledger.json") or {}
        return marker.get("run_id") or ledger.get("current")

    def columns(self, table: str, version: int | None) -> list[str]:
        return self._dataset(table).schema.names

    def scan(
        self, table: str, version: int | None, columns: Sequence[str], where: Where | None
    ) -> Iterator[pa.RecordBatch]:
        import pyarrow.dataset as ds

        chosen = None if where is None else ds.field(where[0]) == where[1]
        yield from self._dataset(table).to_batches(columns=list(columns), filter=chosen, batch_size=_BATCH_ROWS)

    def state(self, table: str) -> object:
        info = self._store.get_file_info(f"{self._root}/{table}/_published.json")
        return (info.mtime_ns, self.current_run(table))

    def _dataset(self, table: str):
        import pyarrow.dataset as ds

        column = _PARTITIONED_BY.get(table)
        by = ds.partitioning(pa.schema([(column, pa.string())]), flavor="hive") if column else None
        return ds.dataset(f"{self._root}/{table}", filesystem=self._store, format="parquet", partitioning=by)

    def _json(self, name: str) -> dict | None:
        path = f"{self._root}/{name}"
        if self._store.get_file_info(path).type != fs.FileType.File:
            return None
        with self._store.open_input_file(path) as file:
            return json.loads(file.read())


def _delta_root(root: str) -> str:
    """The root as delta-rs takes it: an absolute path, or a URI whose path is percent-encoded."""
    scheme, _ = split_uri(root)
    if scheme == "file":
        return open_filesystem(root)[1]
    return f"{scheme}://{quote(split_uri(root)[1])}"


def delta_options(root: str, storage_options: Mapping[str, str]) -> dict[str, str]:
    """Settings of delta-rs that mean what `fs.s3a.*` mean for the bucket of a root; empty for a local one."""
    scheme, path = split_uri(root)
    if scheme == "file":
        return {}
    return delta_settings(s3_settings(path.partition("/")[0], storage_options))
