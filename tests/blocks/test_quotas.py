from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsspark.blocks.quotas import category_quotas
from vsspark.errors import ConfigError


def test_a_thousand_uneven_categories_are_all_in_the_sample():
    images = {f"c{i}": max(1, 200_000 // (i + 1) ** 2) for i in range(1000)}
    quotas = category_quotas(images, 20_000)
    assert min(quotas.values()) == 1
    assert sum(quotas.values()) <= 20_000
    assert quotas["c0"] > 8_000
    assert quotas["c100"] == 10  # its 19 images: half of the sample allows ten of each of a thousand categories


def test_all_rows_are_taken_where_they_fit():
    assert category_quotas({"hat": 3, "bag": 7}, 10) == {"hat": 3, "bag": 7}


def test_more_categories_than_rows_are_refused_by_name():
    with pytest.raises(ConfigError, match=r"blocking\.fit_sample: got 2, expected 3 or more"):
        category_quotas({"hat": 3, "bag": 7, "shoe": 1}, 2)


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=60), st.integers(60, 5_000))
def test_quotas_fill_the_sample_and_leave_no_category_out(counts, rows):
    images = {str(i): count for i, count in enumerate(counts)}
    quotas = category_quotas(images, rows)
    assert all(1 <= quotas[name] <= images[name] for name in images)
    assert min(rows, sum(counts)) - len(counts) <= sum(quotas.values()) <= rows
    taken, given_ = np.array([quotas[name] for name in images]), np.array(counts)
    order = np.argsort(given_, kind="stable")
    assert (np.diff(taken[order]) >= 0).all()  # a larger category never gets fewer
