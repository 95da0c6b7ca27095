"""Run by spark-submit: embeds pictures where executors announce GPUs, and writes down which task had which; `gpu_job.py FOLDER`."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from pyspark import TaskContext
from pyspark.sql import SparkSession

from vsspark.config import EncoderConfig, ImagesConfig
from vsspark.embed.spark import embed_images, one_gpu_per_task, prepare
from vsspark.encoders.export import export


def watch(batches):
    import pyarrow as pa

    for _ in batches:
        pass
    context = TaskContext.get()
    began = time.time()
    time.sleep(1)
    resources = {name: list(resource.addresses) for name, resource in context.resources().items()}
    seen = {"executor": os.getcwd(), "gpus": resources.get("gpu"), "cpus": context.cpus(), "began": began, "ended": time.time()}
    yield pa.RecordBatch.from_pydict({"seen": [json.dumps(seen)]})


def main(folder: Path) -> int:
    import keras

    spark = SparkSession.builder.getOrCreate()
    image = keras.Input((16, 16, 3))
    encoder = export("mean", "mean-colour", keras.Model(image, keras.layers.GlobalAveragePooling2D()(image)), None)
    config = EncoderConfig(unit_norm=False)
    model = prepare(spark, encoder, config)
    images = spark.createDataFrame(
        [(i, str(path), None) for i, path in enumerate(sorted(folder.glob("*.png")))], "image_id long, uri string, fingerprint string"
    ).repartition(8)
    embedded = [row.asDict() for row in embed_images(images, model, ImagesConfig(), config, {}).collect()]
    with_profile = images.mapInArrow(watch, "seen string", profile=one_gpu_per_task(model.cpus_per_gpu)).collect()
    without = images.mapInArrow(watch, "seen string").collect()
    result = {
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
