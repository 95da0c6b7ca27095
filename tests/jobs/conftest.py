"""One finished shop for every test of the jobs that reads a published run, or goes on from a copy of it."""

from __future__ import annotations

import pytest
from shops import add_bad_files, arguments, draw_shop

from jobs import recommend


@pytest.fixture(scope="session")
def published(spark, tmp_path_factory):
    """(folder of pictures, output, catalogue rows) of a shop with every kind of bad and odd file, published as night-1.

    For reading only: a test that writes copies the output, and gives its own catalogue. A third of the files are bad.
    """
    folder = tmp_path_factory.mktemp("shop") / "photos"
    rows = add_bad_files(folder, draw_shop(folder))
    output = f"{folder.parent}/out"
    own = arguments(folder, output, "gate.max_quarantined=0.5")
    assert recommend.main([*own, "--run-id", "night-1", "--run-date", "2026-03-01"]) == 0
    return folder, output, rows
