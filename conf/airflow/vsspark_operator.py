"""An Airflow operator that submits a job of vsspark, and ends its task as the run has ended.

Tried on Airflow 3.3.2 with its Spark provider 6.3.4 (docs/airflow.md). Airflow's environment needs no vsspark: what
the run says of itself is read from `outcome.json`, below `output.path`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import Asset, AssetAlias, Context, ObjectStoragePath
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

_WRONG_INPUT, _REFUSED = 2, 3


class VssparkOperator(SparkSubmitOperator):
    """SparkSubmitOperator for jobs that write below `output_path`.

    | the job's exit code | the task |
    |---|---|
    | 0 | success |
    | 2: a setting or the feed is wrong | failed, without another try |
    | 3: the quality gate refused | skipped, and what depends on it with it |
    | any other | failed; Airflow tries again as `retries` says |

    output_path: the job's output.path; for Airflow, s3a:// is read as s3://. A connection of Airflow gives access.
    alias, asset: where readers now see this run, an event of `asset` is added through `alias`, which the task gets as
    its outlet. The event's extra: run_id, run_date, model_version.
    """

    template_fields: Sequence[str] = (*SparkSubmitOperator.template_fields, "output_path")

    def __init__(self, *, output_path: str, alias: AssetAlias, asset: Asset, **kwargs):
        super().__init__(outlets=[alias], **kwargs)
        self.output_path, self.alias, self.asset = output_path, alias, asset

    def execute(self, context: Context) -> None:
        before, failure = self._outcome(), None
        try:
            super().execute(context)
        except Exception as error:
            failure = error
        # Cluster managers turn exit codes into others; the outcome is right, where this submission has written one.
        outcome = self._outcome()
        if outcome == before:
            outcome = None
        code = self._process_code(failure) if outcome is None else outcome["exit_code"]
        message = outcome["message"] if outcome else "the job's own message is in the log above"
        if code == _REFUSED:
            raise AirflowSkipException(f"refused, a person has to look: {message}")
        if code == _WRONG_INPUT:
            raise AirflowFailException(f"wrong settings or input: {message}")
        if failure is not None:
            raise failure
        # Airflow keeps events of tasks that succeed alone: where an earlier try has published and then failed at the
        # report, the try that ends well says so.
        if outcome is not None and outcome["current"] == outcome["run_id"]:
            extra = {name: outcome[name] for name in ("run_id", "run_date", "model_version")}
            context["outlet_events"][self.alias].add(self.asset, extra=extra)

    def _outcome(self) -> dict | None:
        path = self.output_path.rstrip("/").replace("s3a://", "s3://", 1)
        file = ObjectStoragePath(f"{path}/outcome.json" if "://" in path else f"file://{path}/outcome.json")
        return json.loads(file.read_text()) if file.exists() else None

    def _process_code(self, failure: Exception | None) -> int | None:
        """spark-submit's exit code: the job's, but for cluster managers that make another of it."""
        process = getattr(self._hook, "_submit_sp", None)
        return 0 if failure is None else getattr(process, "returncode", None)
