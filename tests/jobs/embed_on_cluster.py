"""Run by spark-submit: embeds a folder's pictures while one executor is killed; `embed_on_cluster.py FOLDER`.

Writes result.json: the embedded rows, and the executors' process ids as (killed, [those that embedded]).
"""

from __future__ import annotations

import json
import os
import signal
import sys
from functools import partial
from pathlib import Path

from pyspark import TaskContext
from pyspark.sql import SparkSession

from vsspark import encoders
from vsspark.config import EncoderConfig, ImagesConfig
from vsspark.embed.spark import embed_images, prepare

PARTITIONS = 6


def kill_executor_once(batches, folder: str):
    """The rows as they are; in the middle of one partition the executor is killed, the first time only."""
    executor = _executor()
    for i, batch in enumerate(batches):
        yield batch
        if i == 1 and TaskContext.get().partitionId() == PARTITIONS - 1:
            try:
                with open(f"{folder}/killed", "x") as file:
                    file.write(str(executor))
            except FileExistsError:
                continue
            os.kill(executor, signal.SIGKILL)
    Path(f"{folder}/embedded-{executor}").touch()


def _executor() -> int:
    """Process id of the JVM: the parent of the daemon that forked this worker."""
    return int(Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[1])


def main(folder: Path) -> int:
    spark = SparkSession.builder.getOrCreate()
    config = EncoderConfig()
    model = prepare(spark, encoders.load("default"), config)
    paths = sorted(folder.glob("*.jpg"))
    rows = [(i, str(path), None) for i, path in enumerate(paths)]
    images = spark.createDataFrame(rows, "image_id long, uri string, fingerprint string").repartition(PARTITIONS)
    images = images.mapInArrow(partial(kill_executor_once, folder=str(folder)), images.schema)
    embedded = [row.asDict() for row in embed_images(images, model, ImagesConfig(), config, {}).collect()]
    executors = sorted(int(path.name.partition("-")[2]) for path in folder.glob("embedded-*"))
    result = {"embedded": embedded, "killed": int((folder / "killed").read_text()), "executors": executors}
    (folder / "result.json").write_text(json.dumps(result))
    spark.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
