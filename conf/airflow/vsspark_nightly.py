"""The nightly run, and an export that follows every publish. Copy both files of this folder into Airflow's dags folder.

Airflow variables: vsspark_home (the checkout, or a folder with jobs/ in it), vsspark_config (the YAML file), vsspark_output
(its output.path), vsspark_export (where exports are kept). Connection: spark_default. Pool: vsspark, with one slot.
"""

from __future__ import annotations

import datetime as dt

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import DAG, Asset, AssetAlias
from vsspark_operator import VssparkOperator

SIMILAR_PRODUCTS = Asset("similar_products")  # has an event for every publish, and none for a night without changes

# Two runs at once are refused by the output's lock: one at a time, whatever else uses the pool.
_TASKS = {"pool": "vsspark", "retries": 2, "retry_delay": dt.timedelta(minutes=10)}
_RUN = "{{ dag_run.run_after | ts_nodash }}"  # the same in every try: a repeated run goes on from what is finished

with DAG(
    "vsspark_nightly",
    schedule="0 2 * * *",
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    catchup=False,  # a run reads the catalogue as it is now
    max_active_runs=1,
    default_args=_TASKS,
):
    VssparkOperator(
        task_id="recommend",
        application="{{ var.value.vsspark_home }}/jobs/recommend.py",
        application_args=[
            *("--config", "{{ var.value.vsspark_config }}", "--set", "output.path={{ var.value.vsspark_output }}"),
            *("--run-date", "{{ dag_run.run_after | ds }}", "--run-id", _RUN),
        ],
        output_path="{{ var.value.vsspark_output }}",
        alias=AssetAlias("vsspark_published"),
        asset=SIMILAR_PRODUCTS,
    )

with DAG(
    "vsspark_export",
    schedule=[SIMILAR_PRODUCTS],
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    catchup=False,
    max_active_runs=1,
    default_args=_TASKS,
):
    SparkSubmitOperator(
        task_id="export",
        application="{{ var.value.vsspark_home }}/jobs/export.py",
        application_args=[
            *("--config", "{{ var.value.vsspark_config }}", "--set", "output.path={{ var.value.vsspark_output }}"),
            *("--to", "{{ var.value.vsspark_export }}"),
        ],
    )
