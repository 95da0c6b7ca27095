"""Arrow columns as NumPy arrays."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from vsspark.errors import DataQualityError


def to_matrix(column: pa.ListArray | pa.ChunkedArray) -> np.ndarray:
    """(n, d) float32 of a column of lists, without a Python object per row.

    Raises DataQualityError for nulls and for lists of differing lengths.
    """
    lists = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    widths = np.diff(lists.offsets.to_numpy())
    flat = lists.flatten()
    if lists.null_count or flat.null_count or len(np.unique(widths)) > 1:
        raise DataQualityError(
            f"embeddings: expected lists of one length without nulls, got lengths {np.unique(widths)[:5]}, "
            f"{lists.null_count} null rows"
        )
    return flat.to_numpy().astype(np.float32, copy=False).reshape(len(lists), -1)
