"""The published lists as files for other systems: JSON lines, an Elasticsearch bulk file, PostgreSQL's COPY.

    TO/latest.json                     the newest export: folder, run_id, format
    TO/RUN/manifest.json               a whole export: run_id, kind, counts, files with bytes and SHA-256
    TO/RUN-from-BASE/manifest.json     what differs from the export of run BASE, a rollback's way back as well
    TO/_state/FOLDER/                  a digest of every product's list, which the next export compares

Cost: one shuffle of the lists by product, and of the digests, 16 bytes a product; files are written by tasks, about
PRODUCTS_PER_FILE products each. Nothing but counts and file names comes to the driver.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vsspark.config.recommend import SIMILAR
from vsspark.errors import ConfigError
from vsspark.job import export_formats as formats
from vsspark.schemas import SIMILAR_PRODUCTS, complete
from vsspark.spark.workers import map_in_arrow
from vsspark.storage.file_hash import sha256
from vsspark.storage.files import Files
from vsspark.storage.store import Store

log = logging.getLogger("vsspark")

PRODUCTS_PER_FILE = 50_000


@dataclass(frozen=True)
class Target:
    """Where an export goes, and as what. name: of the index or table."""

    folder: str
    format: str
    name: str

    def path(self, name: str) -> str:
        return f"{self.folder}/{name}"


def export_lists(store: Store, target: Target, storage_options: Mapping[str, str], whole: bool = False) -> dict:
    """The manifest of the export, written; that of the last one where nothing has been published since.

    whole: write everything, whatever was exported before. Raises ConfigError where the folder holds another format's
    exports, StorageError where nothing is published.
    """
    run, files = store.published_run(), Files(store.spark)
    before = _latest(files, target)
    if before is not None and before["format"] != target.format:
        raise ConfigError(f"--to {target.folder}: it holds exports as {before['format']}, got --format {target.format}")
    if before is not None and before["run_id"] == run["run_id"] and not whole:
        log.info("export     run %s is exported already: %s", run["run_id"], target.path(before["folder"]))
        return json.loads(files.read_text(target.path(f"{before['folder']}/manifest.json")))
    base = None if whole or before is None else before["run_id"]
    folder = run["run_id"] if base is None else f"{run['run_id']}-from-{base}"
    files.delete(target.path(folder))  # what a killed export of the same name has left
    rows = complete(store.read_published("similar_products", run), SIMILAR_PRODUCTS)
    rows = rows.withColumn("surface", F.coalesce("surface", F.lit(SIMILAR)))  # an earlier release had one list
    digests = _digests(rows)
    state = target.path(f"_state/{folder}")
    digests.coalesce(max(1, store.spark.sparkContext.defaultParallelism)).write.mode("overwrite").parquet(state)
    digests = store.spark.read.parquet(state)
    gone = None
    if base is not None:
        held = store.spark.read.parquet(target.path(f"_state/{before['folder']}"))
        gone = held.join(digests, "product_id", "left_anti").select("product_id")
        digests = digests.join(held, ["product_id", "digest"], "left_anti")
    runs = run["run_id"], base
    manifest = _write(store, target, (folder, *runs), (rows, digests.select("product_id"), gone), storage_options)
    manifest = {"run_id": run["run_id"], "base": base, "format": target.format, "name": target.name, **manifest}
    files.write_text(target.path(f"{folder}/manifest.json"), json.dumps(manifest, indent=1))
    latest = {"folder": folder, "run_id": run["run_id"], "format": target.format}
    files.write_text(target.path("latest.json"), json.dumps(latest))
    if before is not None and before["folder"] != folder:
        files.delete(target.path(f"_state/{before['folder']}"))
    said = "all lists" if base is None else f"what differs from run {base}"
    counts = manifest["counts"]
    about = "export     %s: %s, %s products changed, %s gone, %s rows"
    log.info(about, target.path(folder), said, *(f"{counts[n]:,}" for n in ("products", "gone", "rows")))
    return manifest


def _latest(files: Files, target: Target) -> dict | None:
    """What `latest.json` names; None where there is none, or where that export was begun anew and killed."""
    path = target.path("latest.json")
    if not files.exists(path):
        return None
    latest = json.loads(files.read_text(path))
    return latest if files.exists(target.path(f"{latest['folder']}/manifest.json")) else None


def _digests(rows: DataFrame) -> DataFrame:
    """product_id, digest: equal where a product's list is, whatever run made it."""
    names = [name for name in formats.COLUMNS if name != "product_id"]
    lists = rows.groupBy("product_id").agg(F.array_sort(F.collect_list(F.struct(*names))).alias("list"))
    return lists.select("product_id", F.xxhash64("list").alias("digest"))


def _write(
    store: Store,
    target: Target,
    names: tuple[str, str, str | None],
    parts: tuple[DataFrame, DataFrame, DataFrame | None],
    storage_options: Mapping[str, str],
) -> dict:
    """Counts and files of an export. names: its folder, its run, and the run that a delta is from. parts: all rows, the
    products to write, those that are gone (None: a whole one).
    """
    folder, *runs = names
    rows, products, gone = parts
    changed = rows.join(products, "product_id", "left_semi") if gone is not None else rows
    counts = {"products": products.count(), "gone": 0 if gone is None else gone.count(), "rows": changed.count()}
    tasks = max(1, -(-counts["products"] // PRODUCTS_PER_FILE))
    lines = formats.lines(changed, gone, target.format, _index(target, folder, gone))
    texts = {"changed": lines}
    if gone is not None and target.format == "postgres":
        texts["replaced"] = products.unionByName(gone).select(formats.copy_text("product_id").alias("value"))
    named: list[str] = []
    for name, text in texts.items():
        place = target.path(f"{folder}/{name}")
        text.coalesce(tasks).write.mode("overwrite").text(place)
        found = [file for file, _ in Files(store.spark).listing(place) if file.startswith("part-")]
        named += [f"{name}/{file}" for file in sorted(found)]
    script = formats.script(target.format, target.name, _index(target, folder, gone), named, tuple(runs))
    if script is not None:
        name, text = script
        Files(store.spark).write_text(target.path(f"{folder}/{name}"), text)
        named.append(name)
    numbers = store.spark.createDataFrame([(name,) for name in named], "name string").repartition(max(1, len(named)))
    hashed = partial(_hashes, folder=target.path(folder), storage_options=dict(storage_options))
    facts = map_in_arrow(numbers, hashed, "name string, bytes long, sha256 string").orderBy("name").collect()
    return {"kind": "whole" if gone is None else "delta", "counts": counts, "files": [fact.asDict() for fact in facts]}


def _index(target: Target, folder: str, gone: DataFrame | None) -> str:
    """The index that a whole export fills anew; a delta goes to the alias."""
    return target.name if gone is not None else f"{target.name}-{folder.lower()}"


def _hashes(
    batches: Iterable[pa.RecordBatch], folder: str, storage_options: Mapping[str, str]
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        names = batch.column("name").to_pylist()
        facts = [sha256(f"{folder}/{name}", storage_options) for name in names]
        yield pa.record_batch(
            {"name": names, "bytes": [size for size, _ in facts], "sha256": [digest for _, digest in facts]}
        )
