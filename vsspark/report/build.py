"""The report of a run from its published tables: queries, pictures, HTML, file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vsspark.config import Config
from vsspark.errors import StorageError
from vsspark.images.thumbnails import read_thumbnails
from vsspark.report.contents import Contents
from vsspark.report.render import render_report
from vsspark.storage.published import published_images

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from vsspark.report.spark import Tables
    from vsspark.storage.store import Store


@dataclass(frozen=True)
class _TablesOf:
    """The tables as one run left them, whatever is published while its report is drawn."""

    store: Store
    run: dict

    def read(self, name: str) -> DataFrame:
        if name == "images":
            return published_images(self.store, self.run)
        return self.store.read_published(name, self.run)


def write_report(spark: SparkSession, store: Store, run: dict, config: Config, storage_options: dict) -> str:
    """Path of the HTML file on a published run: `report.path`, or build/report/RUN_ID.html. run: its RUNS row as a
    dict.

    Raises StorageError when it cannot be written.
    """
    path = report_path(config, run["run_id"])
    try:
        path.write_text(build_report(spark, _TablesOf(store, run), run, config, storage_options), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"report.path={path} cannot be written: {error}") from None
    return str(path)


def report_path(config: Config, run_id: str) -> Path:
    """The report's path, its folder created. Raises StorageError when nothing can be written there: checked before the
    work, not after it.
    """
    path = Path(config.report.path or f"build/report/{run_id}.html")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        was_there = path.exists()
        with path.open("a", encoding="utf-8"):
            pass
        if not was_there:
            path.unlink()  # a run that is refused leaves no empty report
    except OSError as error:
        raise StorageError(f"report.path={path} cannot be written: {error}") from None
    return path


def build_report(spark: SparkSession, tables: Tables, run: dict, config: Config, storage_options: dict) -> str:
    """The report of `run` as one HTML document.

    run: a RUNS row as a dict. tables: `.read(name)` gives the published table of that name. storage_options: how
    object storage is reached.
    """
    from vsspark.report.spark import read_contents

    contents = read_contents(tables, run, config)
    thumbnails = read_thumbnails(_shown_uris(contents), config.images, storage_options)
    return render_report(contents, run, config, thumbnails)


def _shown_uris(contents: Contents) -> list[str]:
    examples = contents.best + contents.worst
    lists = [shown for example in examples for shown in (example.recommendations, *dict(example.further).values())]
    queries = [example.query.image_uri for example in examples]
    return list(dict.fromkeys(queries + [shown.product.image_uri for listed in lists for shown in listed]))
