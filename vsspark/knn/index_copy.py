"""An index in an object store, copied to the local disk, where its tiles are mapped into memory."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from pyarrow import fs

from vsspark.knn.index import Index
from vsspark.storage.filesystems import open_filesystem

_COPIES = Path("build/index")  # relative to where the process was started, as everything generated is


def local_copy(index: Index) -> Index:
    """The index with its files on the local disk. A file that an earlier call has copied is not read again: files of an
    index never change. Copies of files that it does not name any more are deleted.
    """
    folder = _COPIES.absolute() / hashlib.sha256(index.folder.encode()).hexdigest()[:16]
    names = {f"tiles/{entry.file}" for entry in index.entries.values()}
    names |= {f"struck/{index.struck_file}"} if index.struck_file else set()
    store, root = open_filesystem(index.folder, index.storage_options)
    for name in sorted(names):
        if not (folder / name).is_file():
            _copy(store, f"{root}/{name}", folder / name)
    for file in folder.glob("*/*.arrow"):
        if f"{file.parent.name}/{file.name}" not in names:
            file.unlink(missing_ok=True)  # who has mapped it keeps its pages
    return index._replace(folder=str(folder), storage_options=None)


def _copy(store: fs.FileSystem, source: str, target: Path) -> None:
    """The file appears whole or not at all, so that two processes that copy at once do no harm."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, suffix=".part", delete=False) as copy:
        try:
            with store.open_input_stream(source) as stream:
                shutil.copyfileobj(stream, copy, 2**20)
            os.replace(copy.name, target)
        except BaseException:
            os.unlink(copy.name)
            raise
