"""Adaptive execution runs parts of a query before the rest is planned: nothing may depend on it."""

from __future__ import annotations

import shutil

import pytest
from invariants import content
from shops import arguments

from jobs import publish


@pytest.mark.slow
def test_lists_are_the_same_without_adaptive_execution(spark, published, tmp_path):
    """Products of small categories are filled from the whole catalogue: once that read files the write had deleted."""
    folder, output, _ = published
    own = f"{tmp_path}/out"
    shutil.copytree(output, own)
    places = (f"report.path={tmp_path}/report.html", f"mlflow.tracking_uri=sqlite:///{tmp_path}/mlflow.db")
    args = arguments(folder, own, "gate.max_quarantined=0.5", *places)
    spark.conf.set("spark.sql.adaptive.enabled", "false")
    try:
        assert publish.main([*args, "--run-id", "again", "--force", "to compare"]) == 0
    finally:
        spark.conf.unset("spark.sql.adaptive.enabled")
    assert content(own) == content(output)
