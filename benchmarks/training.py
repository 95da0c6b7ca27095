"""Pictures a second from a training set on disk: ours, Petastorm's row reader, and tf.data on the same files without
Petastorm.

Every way ends in batches of decoded views (b, 224, 224, 3) uint8 in tf.data; only what brings the JPEG bytes there
differs, and, in the row reader, that Petastorm itself decodes. Rounds are interleaved and the median is reported.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.harness import write_results
from vsspark.demo.draw import render_photo
from vsspark.demo.products import photo_specs, product_spec

_PRODUCTS, _SIDE, _STORED, _ROUNDS = 250, 224, 288, 3
_THREADS = min(2, os.cpu_count() or 1)


def main() -> None:
    from vsspark.encoders.quiet import import_tensorflow

    import_tensorflow()
    with tempfile.TemporaryDirectory() as scratch:
        folder = f"{scratch}/pictures"
        count = _write(folder)
        ways: dict[str, Callable[[], Iterator]] = {
            "petastorm batch reader (ours)": partial(_ours, folder),
            "petastorm row reader, threads": partial(_row_reader, folder),
            "tf.data on the same files": partial(_direct, folder),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(_ROUNDS):
            for name, way in ways.items():
                began = time.perf_counter()
                seen = sum(len(batch) for batch in way())
                seconds[name].append(time.perf_counter() - began)
                if seen != count:
                    raise ValueError(f"{name} gave {seen} of {count} pictures")
    direct = statistics.median(seconds["tf.data on the same files"])
    cases = [
        {
            "case": f"{count} pictures of {_STORED} pixels, {name}",
            "pictures_per_s": round(count / statistics.median(took)),
            "time_against_direct": round(statistics.median(took) / direct, 3),
        }
        for name, took in seconds.items()
    ]
    for case in cases:
        print(case)
    print(write_results("training", cases))


def _write(folder: str) -> int:
    """A training set of drawn pictures, all of them in the train split."""
    from vsspark.spark import session
    from vsspark.training.spark import encode_picture, write_training_set
    from vsspark.training.views import whole_view

    spark = session.create(
        "bench-training", {"spark.master": f"local[{_THREADS}]", "spark.ui.showConsoleProgress": False}
    )
    rows = []
    for index in range(_PRODUCTS):
        product = product_spec(3, index)
        for photo in photo_specs(product):
            rows.append(
                (
                    len(rows),
                    index,
                    str(index),
                    0,
                    "train",
                    encode_picture(whole_view(render_photo(product, photo), _STORED)),
                )
            )
    schema = "image_id long, product long, product_id string, category int, split string, picture binary"
    write_training_set(spark, spark.createDataFrame(rows, schema).coalesce(_THREADS), folder, _STORED)
    spark.stop()
    return len(rows)


def _ours(folder: str) -> Iterator:
    from vsspark.training.reader import read_groups

    yield from _batches(group.picture for group in read_groups(folder, "train", seed=1))


def _direct(folder: str) -> Iterator:
    def groups() -> Iterator[np.ndarray]:
        for file in sorted(Path(folder).glob("*.parquet")):
            parquet = pq.ParquetFile(file)
            for index in range(parquet.num_row_groups):
                yield parquet.read_row_group(index, ["picture"]).column("picture").to_numpy()

    yield from _batches(groups())


def _batches(groups: Iterator) -> Iterator:
    """Views of the JPEG bytes in the groups, made in tf.data."""
    import tensorflow as tf

    def view(data):
        return tf.ensure_shape(tf.numpy_function(_view, [data], tf.uint8), (_SIDE, _SIDE, 3))

    rows = tf.data.Dataset.from_generator(lambda: groups, output_signature=tf.TensorSpec((None,), tf.string)).unbatch()
    yield from rows.map(view, num_parallel_calls=_THREADS).batch(32).prefetch(2)


def _row_reader(folder: str) -> Iterator:
    import tensorflow as tf
    from petastorm import make_reader
    from petastorm.tf_utils import make_petastorm_dataset

    from vsspark.training.views import random_view

    def view(pixels):
        made = tf.numpy_function(
            lambda p: random_view(np.ascontiguousarray(p), _SIDE, np.random.default_rng(0)), [pixels], tf.uint8
        )
        return tf.ensure_shape(made, (_SIDE, _SIDE, 3))

    with make_reader(f"file://{folder}", schema_fields=["picture"], workers_count=_THREADS, num_epochs=1) as reader:
        yield from (
            make_petastorm_dataset(reader)
            .map(lambda row: view(row.picture), num_parallel_calls=_THREADS)
            .batch(32)
            .prefetch(2)
        )


def _view(data: bytes) -> np.ndarray:
    from vsspark.training.reader import decode_picture
    from vsspark.training.views import random_view

    return random_view(np.ascontiguousarray(decode_picture(data)), _SIDE, np.random.default_rng(0))


if __name__ == "__main__":
    main()
