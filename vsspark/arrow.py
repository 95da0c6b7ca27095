"""Arrow columns as NumPy arrays."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vsspark.errors import DataQualityError


def to_matrix(column: pa.ListArray | pa.ChunkedArray) -> np.ndarray:
    """(n, d) float32 of a column of lists, without a Python object per row.

    Raises DataQualityError for nulls and for lists of differing lengths.
    """
    lists = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    widths = np.diff(to_array(lists.offsets))
    flat = lists.flatten()
    if lists.null_count or flat.null_count or len(np.unique(widths)) > 1:
        raise DataQualityError(
            f"embeddings: expected lists of one length without nulls, got lengths {np.unique(widths)[:5]}, "
            f"{lists.null_count} null rows"
        )
    return to_array(flat).astype(np.float32, copy=False).reshape(len(lists), -1)


def to_array(column: pa.Array | pa.ChunkedArray, null: int = 0) -> np.ndarray:
    """(n,) of a column of integers, floats or booleans; a view where the column is one chunk without nulls and not of
    booleans. null: the number that replaces a null.

    Like the two below it takes no way on which pyarrow imports pandas (`to_numpy`, `pa.array`, `pa.scalar`): half a
    second of a process that answers one query.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
        column = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
    kind = column.type
    column = column.cast(pa.uint8()) if pa.types.is_boolean(kind) else column
    if column.null_count:
        column = pc.coalesce(column, to_integers(np.full(len(column), null)).cast(column.type))
    numbers = np.from_dlpack(column)
    return numbers.astype(bool) if pa.types.is_boolean(kind) else numbers


def to_integers(values: np.ndarray) -> pa.Int64Array:
    """The numbers as Arrow, without a copy where they are int64."""
    values = np.ascontiguousarray(values, np.int64)
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(values)])


def to_scalar(text: str) -> pa.StringScalar:
    """The text as Arrow."""
    data = text.encode()
    return pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, len(data)], np.int32)), pa.py_buffer(data)]
    )[0]
