"""A stage's name on Spark's own pages while it works."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession

from vsspark.progress import Progress

_DESCRIPTION = "spark.job.description"


def test_spark_jobs_are_named_after_their_stage(spark: SparkSession):
    progress = Progress(spark.sparkContext.setJobDescription)
    with progress.stage("ingest", "reading s3a://key:hidden@bucket/catalogue.csv") as stage:
        said = spark.sparkContext.getLocalProperty(_DESCRIPTION)
        stage.count(images=3)
    assert said.startswith("ingest: reading s3a://")
    assert "hidden" not in said
    assert spark.sparkContext.getLocalProperty(_DESCRIPTION) is None
    assert progress.counts == {"images": 3}


def test_the_name_goes_when_the_stage_fails(spark: SparkSession):
    progress = Progress(spark.sparkContext.setJobDescription)
    with pytest.raises(ValueError, match="broken"), progress.stage("embed", "3 images"):
        raise ValueError("broken")
    assert spark.sparkContext.getLocalProperty(_DESCRIPTION) is None
    assert progress.seconds == {}
