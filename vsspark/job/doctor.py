"""What a night needs, looked at one by one before the night: `vsspark doctor`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cached_property

from pyspark.sql import SparkSession

from vsspark.catalogue.spark import images_from, read_catalogue
from vsspark.config import Config
from vsspark.errors import ConfigError, StorageError, VssparkError, raised_in_task
from vsspark.job.followers import check_followers
from vsspark.job.model import Model, load_model
from vsspark.knn.memory import check_memory
from vsspark.masking import mask_text
from vsspark.spark import session
from vsspark.spark.gpus import cores_per_gpu
from vsspark.storage.files import first_line
from vsspark.storage.store import Store

_OLDEST_JAVA = 17
# Each check, and the one without which it cannot be made.
_NEEDS = {
    "java": None,
    "spark": "java",
    "catalogue": "spark",
    "output": "spark",
    "encoder": "spark",
    "memory": "encoder",
    "gpus": "spark",
    "report": None,
}


def examine(config: Config) -> Iterator[tuple[str, str, bool]]:
    """(what was looked at, what was found or what to do, whether it is fit) of each check, in the order in which a run
    would need them.

    Reads the catalogue's first rows, no picture. Below output.path a file is written and removed, as a run does when
    it begins; with a local MLflow store the experiment is made.
    """
    patient, unfit = _Patient(config), set()
    for name, needed in _NEEDS.items():
        if needed in unfit:
            unfit.add(name)
            yield name, f"not looked at: it needs {needed}", False
            continue
        check: Callable[[], str] = getattr(patient, name)
        try:
            yield name, check(), True
        except Exception as error:
            # Java, a store or a model file may raise anything; the checks behind this one are made all the same.
            known = error if isinstance(error, VssparkError) else raised_in_task(error)
            said = str(known) if known is not None else f"{type(error).__name__}: {first_line(error)}"
            unfit.add(name)
            yield name, mask_text(said), False


class _Patient:
    """A method per check: what it found. Raises where a run would fail."""

    def __init__(self, config: Config):
        self._config = config

    @cached_property
    def _spark(self) -> SparkSession:
        return session.create("vsspark-doctor", self._config.spark)

    @cached_property
    def _model(self) -> Model:
        return load_model(self._spark, self._config)

    def java(self) -> str:
        """The JVM that Spark will start."""
        home = os.environ.get("JAVA_HOME")
        java = f"{home}/bin/java" if home else shutil.which("java")
        todo = f"install a Java {_OLDEST_JAVA} or 21 runtime, or set JAVA_HOME to one"
        try:
            said = subprocess.run([java or "java", "-version"], capture_output=True, text=True, check=True).stderr
        except (OSError, subprocess.CalledProcessError) as error:
            raise ConfigError(f"{java or 'java'} does not run ({error}): {todo}") from None
        found = re.search(r'version "(\d+)[^"]*"', said)
        if found is None or int(found[1]) < _OLDEST_JAVA:
            raise ConfigError(f"{java} says {said.strip().splitlines()[0]}: {todo}")
        return f"{said.strip().splitlines()[0]}, {java}"

    def spark(self) -> str:
        """The session, with Delta's jars."""
        context = self._spark.sparkContext
        memory = self._spark.conf.get("spark.driver.memory", "1g")
        return (
            f"{context.version}, {context.master}, {session.task_slots(self._spark)} tasks at a time, driver {memory}"
        )

    def catalogue(self) -> str:
        """The columns that the configuration names."""
        catalogue = self._config.catalogue
        if catalogue.table is None:
            return f"the demo shop of {self._config.demo.products:,} products; catalogue.table names yours"
        table = read_catalogue(self._spark, catalogue)
        if images_from(table, catalogue).limit(5).count() == 0:
            raise ConfigError(
                f"catalogue.table={catalogue.table} has no row: `vsspark ingest --check` shows what is read"
            )
        return f"{catalogue.table} has the columns that are named; `vsspark ingest --check` looks at every row"

    def output(self) -> str:
        """Where the tables will be."""
        store = Store(self._spark, self._config.output)
        store.check_writable()
        try:
            published = f"run {store.published_run()['run_id']} is published"
        except StorageError as error:
            published = str(error).partition(" below ")[0]
        return f"{store.root} can be written, {published}"

    def encoder(self) -> str:
        """The network, exported."""
        encoder = self._model.encoder
        height, width = encoder.input_size
        return f"{self._model.version}, {encoder.dim} numbers, pictures of {width} x {height}"

    def memory(self) -> str:
        """Python memory of an executor."""
        return check_memory(session.executor_settings(self._spark), self._config.knn, self._model.encoder.dim)

    def gpus(self) -> str:
        """What Spark gives a task."""
        cores = cores_per_gpu(self._spark)
        return "none asked for: CPUs embed" if cores is None else f"a GPU and {cores} cores for each task that embeds"

    def report(self) -> str:
        """The report's folder and the tracking store."""
        check_followers(self._spark, self._config, "doctor")
        return f"can be written; runs go to {mask_text(self._config.mlflow.tracking_uri)}"
