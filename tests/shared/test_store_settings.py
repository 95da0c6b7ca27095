"""Where the settings of object storage come from without a Spark session, and which of them wins."""

from __future__ import annotations

import pytest

from vsspark.config.store_settings import storage_options
from vsspark.errors import ConfigError


@pytest.fixture
def conf(tmp_path, monkeypatch):
    (tmp_path / "spark-defaults.conf").write_text(
        "# a comment\n\nspark.hadoop.fs.s3a.endpoint   http://defaults:1\nspark.hadoop.fs.s3a.access.key=of defaults\n"
        "spark.master local[1]\nspark.hadoop.fs.s3a.bucket.shop.endpoint: http://shop:1\n"
    )
    (tmp_path / "core-site.xml").write_text(
        "<configuration><property><name>fs.s3a.secret.key</name><value> of core-site </value></property>"
        "<property><name>fs.s3a.access.key</name><value>of core-site</value></property>"
        "<property><name>fs.defaultFS</name><value>hdfs://x</value></property></configuration>"
    )
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))
    return tmp_path


def test_the_config_wins_over_defaults_and_those_over_core_site(conf):
    own = {"hadoop.fs.s3a.endpoint": "http://config:1", "spark.hadoop.fs.s3a.path.style.access": True, "sql.x": 1}
    assert storage_options(own) == {
        "fs.s3a.endpoint": "http://config:1",
        "fs.s3a.path.style.access": "true",
        "fs.s3a.access.key": "of defaults",
        "fs.s3a.secret.key": "of core-site",
        "fs.s3a.bucket.shop.endpoint": "http://shop:1",
    }


def test_what_spark_submit_was_given_stands_for_the_defaults_file(conf):
    given = {"spark.hadoop.fs.s3a.endpoint": "http://submitted:1"}
    assert storage_options({}, given) == {
        "fs.s3a.endpoint": "http://submitted:1",
        "fs.s3a.access.key": "of core-site",
        "fs.s3a.secret.key": "of core-site",
    }


def test_no_files_no_settings_and_a_broken_one_is_said(conf, monkeypatch):
    (conf / "core-site.xml").write_text("<configuration>")
    with pytest.raises(ConfigError, match=r"core-site.xml cannot be read: "):
        storage_options({})
    monkeypatch.setenv("SPARK_CONF_DIR", f"{conf}/none")
    monkeypatch.delenv("HADOOP_CONF_DIR")
    assert storage_options({}) == {}
