"""The ways of doing the same work that the embed stage is measured against."""

from __future__ import annotations

import io
import multiprocessing
import time
from collections.abc import Iterator

import numpy as np

SIZE = (224, 224)


def _plain_worker(onnx: str, paths: list[str], decoded_before: bool, start, results) -> None:
    """One process without Spark: this project's own decoder and engine, photos decoded before the clock starts or
    while it runs.
    """
    import cv2

    from vsspark.config import ImagesConfig
    from vsspark.embed.spark import CPU_BATCH
    from vsspark.encoders.engines import OnnxEngine
    from vsspark.images.decode import decode_image
    from vsspark.images.fetch import read_image

    cv2.setNumThreads(1)
    config = ImagesConfig()
    engine = OnnxEngine(onnx, CPU_BATCH, 1)
    engine.run(np.zeros((CPU_BATCH, *SIZE, 3), np.uint8))
    photos = [decode_image(read_image(path, config), SIZE, config) for path in paths] if decoded_before else None
    start.wait()
    for first in range(0, len(paths), CPU_BATCH):
        batch = (
            photos[first : first + CPU_BATCH]
            if decoded_before
            else [decode_image(read_image(path, config), SIZE, config) for path in paths[first : first + CPU_BATCH]]
        )
        engine.run(np.stack(batch))
    results.put(len(paths))


def plain_processes(onnx: str, paths: list[str], processes: int, decoded_before: bool) -> float:
    """Seconds from the common start until every process is through its share."""
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(processes + 1), context.Queue()
    workers = [
        context.Process(target=_plain_worker, args=(onnx, paths[i::processes], decoded_before, start, results))
        for i in range(processes)
    ]
    for worker in workers:
        worker.start()
    start.wait()
    began = time.perf_counter()
    for _ in workers:
        results.get()
    seconds = time.perf_counter() - began
    for worker in workers:
        worker.join()
    return seconds


def predict_batch_udf_column(weights: str):
    """The documented way: `pyspark.ml.functions.predict_batch_udf` with Keras and PIL."""
    from pyspark.ml.functions import predict_batch_udf
    from pyspark.sql import functions as F
    from pyspark.sql.types import ArrayType, FloatType

    def make_predict():
        import keras
        from PIL import Image

        network = keras.applications.MobileNetV2(
            weights=weights, include_top=False, pooling="avg", input_shape=(*SIZE, 3)
        )

        def predict(files: np.ndarray) -> np.ndarray:
            photos = [np.asarray(Image.open(io.BytesIO(file)).convert("RGB").resize(SIZE)) for file in files]
            return network.predict(
                keras.applications.mobilenet_v2.preprocess_input(np.stack(photos).astype(np.float32)), verbose=0
            )

        return predict

    return predict_batch_udf(make_predict, return_type=ArrayType(FloatType()), batch_size=32)(F.col("content"))


def tf_data(weights: str, paths: list[str], rounds: int) -> Iterator[float]:
    """Seconds per round of a tf.data pipeline in one process with every core: parallel decode, prefetch, one compiled
    function.
    """
    import keras
    import tensorflow as tf

    network = keras.applications.MobileNetV2(weights=weights, include_top=False, pooling="avg", input_shape=(*SIZE, 3))
    forward = tf.function(lambda images: network(images, training=False))

    def load(path):
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3, ratio=2)
        return tf.image.resize(image, SIZE) / 127.5 - 1.0

    dataset = (
        tf.data.Dataset.from_tensor_slices(paths)
        .map(load, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(32)
        .prefetch(tf.data.AUTOTUNE)
    )
    forward(tf.zeros((32, *SIZE, 3)))
    forward(tf.zeros((len(paths) % 32 or 32, *SIZE, 3)))
    for _ in range(rounds):
        began = time.perf_counter()
        for batch in dataset:
            forward(batch).numpy()
        yield time.perf_counter() - began
