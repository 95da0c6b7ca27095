"""A finished encoder in MLflow: settings, curves, confusion matrix, and the model under a name and an alias."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vsspark.config import Config
from vsspark.errors import StorageError
from vsspark.masking import mask_text
from vsspark.tracking import check_store, flattened, use_tracking_store

if TYPE_CHECKING:
    import keras


class Outcome(NamedTuple):
    """The facts and figures of a finished encoder."""

    facts: Mapping[str, str]
    curves: Mapping[str, Sequence[Mapping[str, float]]]  # part of the training -> its epochs' figures
    figures: Mapping[str, float]  # of the held-out products, by heads that had not seen them
    confusion: np.ndarray  # (c, c) counts, true by predicted


def register(network: keras.Model, categories: Sequence[str], config: Config, outcome: Outcome) -> str:
    """Logs one MLflow run and returns the model's URI, models:/NAME@ALIAS.

    Raises StorageError when the store cannot be written.
    """
    check_store(config.mlflow)
    use_tracking_store(config.mlflow)
    import keras
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    # MLflow tries the model on the example, and Keras draws a bar for that on stdout, where the job's answer goes.
    keras.config.disable_interactive_logging()
    name, alias = config.training.register_as, config.training.alias
    example = np.zeros((1, *network.input_shape[1:]), np.float32)
    kind = np.dtype(np.float32)
    outputs = [
        TensorSpec(kind, (-1, output.shape[1]), title)
        for output, title in zip(network.outputs, ("embedding", "probabilities"), strict=True)
    ]
    signature = ModelSignature(Schema([TensorSpec(kind, (-1, *network.input_shape[1:]), "rgb")]), Schema(outputs))
    header = ",".join(("true \\ predicted", *categories))
    table = [
        header,
        *(
            ",".join((category, *(str(count) for count in row)))
            for category, row in zip(categories, outcome.confusion, strict=True)
        ),
    ]
    try:
        mlflow.set_experiment(config.mlflow.experiment)
        with mlflow.start_run():
            mlflow.log_params(
                flattened(config.public()["training"])
                | {"catalogue.table": mask_text(str(config.catalogue.table))}
                | dict(outcome.facts)
            )
            for part, epochs in outcome.curves.items():
                for epoch in epochs:
                    mlflow.log_metrics(
                        {f"{part}.{key}": value for key, value in epoch.items() if key != "epoch"},
                        step=int(epoch["epoch"]),
                    )
            mlflow.log_metrics(dict(outcome.figures))
            mlflow.log_text("\n".join(table) + "\n", "confusion_matrix.csv")
            # Not mlflow.keras: in 3.17 it writes the input example into a folder that it has not made yet.
            # The requirements are given: MLflow would find them out by importing TensorFlow in another process.
            model = mlflow.tensorflow.log_model(
                network,
                name="model",
                signature=signature,
                input_example=example,
                metadata={"categories": list(categories)},
                registered_model_name=name,
                pip_requirements=["tensorflow-cpu", "keras"],
            )
        mlflow.MlflowClient().set_registered_model_alias(name, alias, model.registered_model_version)
    except (mlflow.exceptions.MlflowException, OSError) as error:
        raise StorageError(
            f"mlflow.tracking_uri={mask_text(config.mlflow.tracking_uri)}: {mask_text(str(error))}"
        ) from None
    return f"models:/{name}@{alias}"
