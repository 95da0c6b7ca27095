"""The encoder of a run, loaded and shipped to the executors."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import SparkSession

from vsspark import encoders
from vsspark.config import Config
from vsspark.embed.spark import ShippedModel, prepare
from vsspark.embed.version import stored_version
from vsspark.encoders import Encoder
from vsspark.encoders.registry import MLFLOW_SCHEMES
from vsspark.spark import session
from vsspark.tracking import use_tracking_store


@dataclass(frozen=True)
class Model:
    """version: embeddings.model_version of what it embeds."""

    encoder: Encoder
    shipped: ShippedModel
    version: str


def load_model(spark: SparkSession, config: Config) -> Model:
    """The encoder that `encoder.*` names. Raises ConfigError where there is none."""
    if config.encoder.name.startswith(MLFLOW_SCHEMES):
        use_tracking_store(config.mlflow)
    encoder = encoders.load_configured(config.encoder, session.storage_options(spark))
    version = stored_version(encoder, config.encoder, config.images)
    return Model(encoder, prepare(spark, encoder, config.encoder), version)
