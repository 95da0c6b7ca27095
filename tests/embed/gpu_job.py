"""Run by spark-submit: embeds pictures where executors announce GPUs, and writes down which task had which;
`gpu_job.py FOLDER`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from pyspark import TaskContext
from pyspark.errors import PythonException
from pyspark.sql import SparkSession

from vsspark.config import EncoderConfig, ImagesConfig, KnnConfig
from vsspark.embed.spark import embed_images, prepare
from vsspark.encoders.export import export
from vsspark.knn.spark import search_neighbours
from vsspark.spark.gpus import one_gpu_per_task


def watch(batches):
    import pyarrow as pa

    for _ in batches:
        pass
    context = TaskContext.get()
    began = time.time()
    time.sleep(1)
    resources = {name: list(resource.addresses) for name, resource in context.resources().items()}
    seen = {
        "executor": os.getcwd(),
        "gpus": resources.get("gpu"),
        "cpus": context.cpus(),
        "began": began,
        "ended": time.time(),
    }
    yield pa.RecordBatch.from_pydict({"seen": [json.dumps(seen)]})


def taken(batches):
    """The GPU that earlier tasks of this worker were given."""
    import pyarrow as pa

    for _ in batches:
        pass
    time.sleep(1)
    yield pa.RecordBatch.from_pydict({"gpu": [os.environ.get("VSSPARK_GPUS")]})


def search(spark: SparkSession, folder: Path, device: str) -> tuple[list[tuple[int, int]], list[str | None]]:
    """The lists of 400 rows on a line, where each one's nearest are those beside it, and which GPUs its workers had
    been given.
    """
    items = spark.range(400).selectExpr(
        "id AS image_id",
        "id AS group_id",
        "array(cast(id AS float), 1f) AS embedding",
        "cast(id % 2 AS int) AS block",
        "array(0, 1) AS probes",
    )
    found = search_neighbours(
        items, f"{folder}/tiles-{device}", KnnConfig(k=2, metric="l2", device=device, tile_rows=64), {}
    )
    lists = sorted((row.query_image_id, row.item_image_id) for row in found.collect())
    return lists, [row.gpu for row in spark.range(0, 8, 1, 8).mapInArrow(taken, "gpu string").collect()]


def main(folder: Path) -> int:
    import keras

    spark = SparkSession.builder.getOrCreate()
    on_cores, without_gpus = search(spark, folder, "cpu")
    on_gpus, with_gpus = search(spark, folder, "auto")
    try:
        search(spark, folder, "gpu")
        refusal = None
    except PythonException as error:
        refusal = str(error)
    image = keras.Input((16, 16, 3))
    encoder = export("mean", "mean-colour", keras.Model(image, keras.layers.GlobalAveragePooling2D()(image)), None)
    config = EncoderConfig(unit_norm=False)
    model = prepare(spark, encoder, config)
    images = spark.createDataFrame(
        [(i, str(path), None) for i, path in enumerate(sorted(folder.glob("*.png")))],
        "image_id long, uri string, fingerprint string",
    ).repartition(8)
    embedded = [row.asDict() for row in embed_images(images, model, ImagesConfig(), config, {}).collect()]
    with_profile = images.mapInArrow(watch, "seen string", profile=one_gpu_per_task(model.cpus_per_gpu)).collect()
    without = images.mapInArrow(watch, "seen string").collect()
    result = {
        "searched": {"on_cores": on_cores, "on_gpus": on_gpus, "gpus": [without_gpus, with_gpus], "refusal": refusal},
        "engine": model.engine,
        "embedded": embedded,
        "with_profile": [json.loads(row.seen) for row in with_profile],
        "without": [json.loads(row.seen) for row in without],
    }
    (folder / "result.json").write_text(json.dumps(result))
    spark.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
