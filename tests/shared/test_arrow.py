"""Arrow columns of lists as matrices."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from vsspark.arrow import to_matrix
from vsspark.errors import DataQualityError

ROWS = pa.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], pa.list_(pa.float32()))


def test_rows_of_slices_chunks_and_doubles():
    np.testing.assert_array_equal(to_matrix(ROWS[1:]), [[3, 4], [5, 6]])
    np.testing.assert_array_equal(to_matrix(pa.chunked_array([ROWS[:1], ROWS[2:]])), [[1, 2], [5, 6]])
    assert to_matrix(ROWS.cast(pa.list_(pa.float64()))).dtype == np.float32


@pytest.mark.parametrize("rows", [[[1.0, 2.0, 3.0], [4.0]], [[1.0, 2.0], None], [[1.0, None], [2.0, 3.0]]])
def test_lists_of_other_lengths_and_nulls_are_refused(rows):
    with pytest.raises(DataQualityError, match="lists of one length without nulls"):
        to_matrix(pa.array(rows, pa.list_(pa.float32())))
