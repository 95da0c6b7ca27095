"""The names of older pyarrow and NumPy releases that Petastorm 0.13.1 still asks for; import this module before
petastorm.

Petastorm reads Parquet through `pq.ParquetDataset` of pyarrow < 15 (pieces, partitions, common metadata) on pyarrow's
own file systems. Both are restored here in the little that it uses of them: whole files without Hive partitions, on
any fsspec file system. What pyarrow and NumPy have themselves is left alone, except `pq.ParquetDataset`, which keeps
working for calls that do not come from Petastorm. This holds for the whole process, so only `reader` and `spark` of
training import it.

Tried on Petastorm 0.13.1, pyarrow 25.0.1 and NumPy 2.4.6.
"""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

_Modern = pq.ParquetDataset


class ParquetDatasetPiece:
    """A Parquet file, or one row group of it."""

    def __init__(self, path: str, open_file_func=open, row_group: int | None = None, partition_keys=()):
        self.path, self.row_group, self.partition_keys = path, row_group, list(partition_keys)
        self._open = open_file_func

    def get_metadata(self) -> pq.FileMetaData:
        with self._open(self.path, mode="rb") as file:
            return pq.read_metadata(file)

    def read(self, columns=None, partitions=None, **_: Any) -> pa.Table:
        with self._open(self.path, mode="rb") as file:
            parquet, names = pq.ParquetFile(file), None if columns is None else list(columns)
            return parquet.read(names) if self.row_group is None else parquet.read_row_group(self.row_group, names)


class _LegacyDataset:
    """What Petastorm reads of `pq.ParquetDataset`: the data files in the order of their names, and
    `_common_metadata`.
    """

    partitions = None

    def __init__(self, path: str, fs: Any):
        self.paths, self.fs = path, fs
        files = sorted(fs.find(path)) if fs.isdir(path) else [path]
        self.pieces = [
            ParquetDatasetPiece(file, fs.open) for file in files if not file.rpartition("/")[2].startswith(("_", "."))
        ]
        self.metadata = None
        common = f"{path.rstrip('/')}/_common_metadata"
        self.common_metadata = ParquetDatasetPiece(common, fs.open).get_metadata() if fs.exists(common) else None

    @property
    def schema(self) -> pq.ParquetSchema:
        return (self.common_metadata or self.pieces[0].get_metadata()).schema


class _Dataset(_Modern):
    def __new__(cls, path_or_paths, filesystem=None, validate_schema=None, filters=None, **options: Any):
        if validate_schema is None:  # no caller but Petastorm says this
            return _Modern(path_or_paths, filesystem, filters=filters, **options)
        return _LegacyDataset(path_or_paths, filesystem)


def _module(name: str, **contents: Any) -> None:
    parent, _, child = name.rpartition(".")
    module = types.ModuleType(name)
    module.__dict__.update(contents)
    sys.modules[name] = module
    setattr(sys.modules[parent], child, module)


if not hasattr(pa, "localfs"):
    pa.localfs = LocalFileSystem()
    pa.lib.ArrowIOError = OSError
    _module("pyarrow.filesystem", LocalFileSystem=LocalFileSystem, FileSystem=LocalFileSystem)
    _module("pyarrow.hdfs", HadoopFileSystem=type("HadoopFileSystem", (), {}))
    pq.ParquetDatasetPiece = ParquetDatasetPiece
    pq.ParquetDataset = _Dataset
for _old, _new in (("unicode_", np.str_), ("string_", np.bytes_)):
    if _old not in np.__dict__:
        setattr(np, _old, _new)
