"""The published vectors, mapped into memory: from the kept index, and from `embeddings` where that lacks some.

Cost: of the index 30 bytes a row are read and compared; vectors are read when a search touches them, and the pages are
the operating system's, shared by all processes. Vectors from `embeddings` are written to an unnamed temporary file,
d * 4 bytes a content, and mapped as well.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vsspark.arrow import to_array, to_integers, to_matrix
from vsspark.knn.index import Index, Settings, open_index
from vsspark.knn.index_copy import local_copy
from vsspark.knn.tiles import kept_positions, stored_rows
from vsspark.query.products import Products, contents
from vsspark.storage.filesystems import split_uri
from vsspark.storage.reader import PublishedTables

log = logging.getLogger("vsspark")


class Part:
    """Vectors that lie together, and the images that have them."""

    def __init__(self, vectors: np.ndarray, rows: np.ndarray, images: np.ndarray):
        self.vectors = vectors  # (m, d) float32
        self.rows = rows  # (n,) int64: the vector of each image
        self.images = images  # (n,) int64: places in `Products`

    def only(self, wanted: np.ndarray) -> Part:
        """The part with some of its images. wanted: (images of the shop,) bool."""
        kept = wanted[self.images]
        return Part(self.vectors, self.rows[kept], self.images[kept])

    @cached_property
    def squares(self) -> np.ndarray:
        """(m,) float32: about the squared lengths of the vectors. The first use reads all of them."""
        return np.einsum("md,md->m", self.vectors, self.vectors)


def read_vectors(tables: PublishedTables, run: Mapping[str, Any], products: Products, wanted: np.ndarray) -> list[Part]:
    """The vectors of the wanted images. wanted: (images,) bool, all of them embedded."""
    settings = Settings(run["config"]["knn"]["metric"], run["model_version"])
    index, reason = open_index(f"{tables.root}/_index/neighbours", settings, tables.storage_options)
    parts: list[Part] = []
    if index is not None:
        if split_uri(tables.root)[0] != "file":
            index = local_copy(index)
        parts = list(_indexed_parts(index, products, wanted))
    missing = wanted.copy()
    for part in parts:
        missing[part.images] = False
    lacking = int(missing.sum())
    if index is not None and lacking:
        reason = f"it lacks {lacking:,} of {int(wanted.sum()):,} pictures"
    if lacking:
        log.info("index      not used for all: %s; the table embeddings is read instead", reason)
        parts += _table_parts(tables, run, products, missing)
    return parts


def _indexed_parts(index: Index, products: Products, wanted: np.ndarray) -> Iterator[Part]:
    """A part for each tile: its rows that are wanted and of the same content."""
    if not len(products.image_ids):
        return
    for tile in index.tiles().values():
        stored = stored_rows(tile, index.storage_options)
        kept = np.arange(len(stored.ids))
        if tile.struck is not None:
            kept = kept_positions(tile, len(stored.ids), index.storage_options)
        images = np.searchsorted(products.image_ids, stored.ids[kept])
        images = np.minimum(images, len(products.image_ids) - 1)
        same = (products.image_ids[images] == stored.ids[kept]) & wanted[images]
        kept, images = kept[same], images[same]
        there, known = stored.contents.take(to_integers(kept)), products.contents.take(to_integers(images))
        same = to_array(pc.equal(there, known))
        if same.any():
            yield Part(stored.vectors, kept[same], images[same])


def _table_parts(
    tables: PublishedTables, run: Mapping[str, Any], products: Products, missing: np.ndarray
) -> list[Part]:
    """One part with the vectors of the missing images; an image whose content `embeddings` lacks is left out."""
    images = np.flatnonzero(missing)
    coded = products.contents.take(to_integers(images)).dictionary_encode()
    vectors, there = None, np.zeros(len(coded.dictionary), bool)
    lookup = coded.dictionary
    names = ["content_hash", "box", "embedding"]
    names = [name for name in names if name in tables.columns("embeddings", run)]
    for batch in tables.batches("embeddings", run, names, ("model_version", run["model_version"])):
        boxes = batch.column("box") if "box" in names else pa.nulls(batch.num_rows, pa.string())
        row = pc.index_in(contents(batch.column("content_hash"), boxes), value_set=lookup)
        wanted = row.is_valid()
        row = to_array(row.filter(wanted))
        if not len(row):
            continue
        x = to_matrix(batch.column("embedding").filter(wanted))
        if vectors is None:
            vectors = _temporary_rows(len(lookup), x.shape[1])
        vectors[row] = x
        there[row] = True
    rows = to_array(coded.indices).astype(np.int64)
    kept = there[rows]
    if not kept.all():
        log.warning("embeddings has no vector of %d pictures of run %s: left out", (~kept).sum(), run["run_id"])
    return [] if vectors is None else [Part(vectors, rows[kept], images[kept])]


def _temporary_rows(n: int, d: int) -> np.ndarray:
    with tempfile.TemporaryFile(prefix="vsspark-vectors-") as file:
        return np.memmap(file, np.float32, "w+", shape=(n, d))  # the file is gone when the last page is
