"""The small shop as Spark tables, and its report."""

from __future__ import annotations

import pytest
import small_shop

from vsspark.config import load_config


@pytest.fixture(scope="session")
def shop_rows(tmp_path_factory):
    return small_shop.published_tables(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def shop_config():
    return load_config(None, ["recommend.k=3", "report.examples=3", "report.neighbours=3"])


@pytest.fixture(scope="session")
def shop_contents(spark, shop_rows, shop_config):
    from vsspark.report.spark import read_contents

    return read_contents(small_shop.PublishedTables(spark, shop_rows), small_shop.run_row(), shop_config)


@pytest.fixture(scope="session")
def shop_report(spark, shop_rows, shop_config):
    from vsspark.report.build import build_report

    return build_report(spark, small_shop.PublishedTables(spark, shop_rows), small_shop.run_row(), shop_config, {})
