"""Published and refused runs in MLflow: resolved configuration, counts, seconds per stage, quality metrics and the
report; secrets stay out.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsspark.config import Config, MlflowConfig
from vsspark.errors import ConfigError, StorageError
from vsspark.masking import mask_text

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_PARAM_LENGTH = 6000  # MLflow's limits
_PARAMS_AT_ONCE = 100
_METRICS_AT_ONCE = 1000


def log_run(config: Config, run: Mapping[str, Any], report_html_path: str | None) -> None:
    """Logs a RUNS row (as a dict) and its report, where it has one, as one MLflow run of `mlflow.experiment`.

    Raises ConfigError for an experiment that was deleted, StorageError when the tracking store cannot be reached or
    written.
    """
    client = _client(config.mlflow)
    from mlflow.entities import Metric
    from mlflow.exceptions import MlflowException

    start_ms, end_ms = (int(run[name].timestamp() * 1000) for name in ("started_at", "finished_at"))
    tags = {name: str(run[name]) for name in ("run_id", "run_date", "model_version", "status")}
    if run.get("message"):
        tags["message"] = mask_text(run["message"])
    figures = {
        f"{group}.{name}": value
        for group in ("counts", "seconds", "metrics")
        for name, value in (run.get(group) or {}).items()
    }
    metrics = [Metric(name, float(value), end_ms, 0) for name, value in figures.items()]
    try:
        experiment_id = _experiment(client, config.mlflow)
        mlflow_run = client.create_run(
            experiment_id, start_time=start_ms, tags=tags, run_name=run["run_id"]
        ).info.run_id
        _log_params(client, mlflow_run, config)
        client.log_batch(mlflow_run, metrics=metrics)
        if report_html_path is not None:
            client.log_artifact(mlflow_run, report_html_path)
        client.set_terminated(
            mlflow_run, status="FINISHED" if run["status"] == "published" else "FAILED", end_time=end_ms
        )
    except (MlflowException, OSError) as error:
        raise StorageError(
            f"mlflow.tracking_uri={mask_text(config.mlflow.tracking_uri)}: {mask_text(str(error))}"
        ) from None


def log_comparison(
    config: Config, name: str, metrics: Mapping[str, float], table: Mapping[str, list], files: Sequence[Path]
) -> None:
    """Logs figures, a table (columns of equal length, table.json) and files as one MLflow run `name` of
    `mlflow.experiment`.

    Raises as `log_run` does.
    """
    client = _client(config.mlflow)
    from mlflow.entities import Metric
    from mlflow.exceptions import MlflowException

    now = int(time.time() * 1000)
    values = [Metric(key, value, now, 0) for key, value in metrics.items()]
    try:
        mlflow_run = client.create_run(_experiment(client, config.mlflow), run_name=name).info.run_id
        _log_params(client, mlflow_run, config)
        for start in range(0, len(values), _METRICS_AT_ONCE):
            client.log_batch(mlflow_run, metrics=values[start : start + _METRICS_AT_ONCE])
        client.log_table(mlflow_run, dict(table), "table.json")
        for file in files:
            client.log_artifact(mlflow_run, str(file))
        client.set_terminated(mlflow_run)
    except (MlflowException, OSError) as error:
        raise StorageError(
            f"mlflow.tracking_uri={mask_text(config.mlflow.tracking_uri)}: {mask_text(str(error))}"
        ) from None


def _log_params(client: MlflowClient, mlflow_run: str, config: Config) -> None:
    from mlflow.entities import Param

    params = [Param(name, value[:_PARAM_LENGTH]) for name, value in flattened(config.public()).items()]
    for start in range(0, len(params), _PARAMS_AT_ONCE):
        client.log_batch(mlflow_run, params=params[start : start + _PARAMS_AT_ONCE])


def check_store(config: MlflowConfig) -> None:
    """Raises what `log_run` would raise for a store that cannot be reached: checked before the work, not after the
    table is published.
    """
    client = _client(config)
    from mlflow.exceptions import MlflowException

    try:
        _experiment(client, config)
    except (MlflowException, OSError) as error:
        raise StorageError(f"mlflow.tracking_uri={mask_text(config.tracking_uri)}: {mask_text(str(error))}") from None


def use_tracking_store(config: MlflowConfig) -> None:
    """Makes the configured store the one that MLflow's model URIs are looked up in."""
    _client(config)
    import mlflow

    mlflow.set_tracking_uri(config.tracking_uri)


def flattened(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted key -> value as text, one entry per leaf."""
    flat: dict[str, str] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        flat |= flattened(value, f"{name}.") if isinstance(value, Mapping) and value else {name: str(value)}
    return flat


def _client(config: MlflowConfig) -> MlflowClient:
    """A client of the tracking store. Importing MLflow takes a second or two and switches on telemetry and chatter:
    both wait until they are wanted.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # The run is already published: do not hold the job for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    database = _sqlite_file(config.tracking_uri)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        try:
            if database is not None:
                database.parent.mkdir(parents=True, exist_ok=True)
            logging.getLogger("mlflow").setLevel(logging.ERROR)  # importing it sets its own level
            return MlflowClient(tracking_uri=config.tracking_uri)
        except (MlflowException, OSError) as error:
            raise StorageError(
                f"mlflow.tracking_uri={mask_text(config.tracking_uri)} cannot be used: {mask_text(str(error))}"
            ) from None


def _experiment(client: MlflowClient, config: MlflowConfig) -> str:
    experiment = client.get_experiment_by_name(config.experiment)
    if experiment is None:
        database = _sqlite_file(config.tracking_uri)
        # Without a place of its own, a local store would put artifacts into ./mlruns, wherever the job was started.
        location = None if database is None else (database.parent / f"{database.stem}-artifacts").as_uri()
        return client.create_experiment(config.experiment, artifact_location=location)
    if experiment.lifecycle_stage != "active":
        raise ConfigError(
            f"mlflow.experiment={config.experiment} was deleted in {mask_text(config.tracking_uri)}: "
            "restore it or name another"
        )
    return experiment.experiment_id


def _sqlite_file(tracking_uri: str) -> Path | None:
    """The database file of a `sqlite:///relative` or `sqlite:////absolute` URI, None for any other store."""
    path = tracking_uri.removeprefix("sqlite:///")
    return Path(path).resolve() if path != tracking_uri else None
