"""Embedding speed: the Spark stage against plain processes and against the documented ways; `python -m
benchmarks.embed [CASE ...]`.

MobileNetV2 at 224 pixels with random weights (speed does not depend on them), 1,000 generated 500x500 JPEGs, in the
warm runs each of them several times, medians of 3 interleaved rounds, one Spark worker per core. Writes
build/bench/embed.json (a case measured again replaces its old figures).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from functools import reduce
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import embed_parts, embed_store
from benchmarks.embed_peers import plain_processes, predict_batch_udf_column, tf_data
from benchmarks.harness import RESULTS, cpu, versions, write_results

CORES = os.cpu_count() or 1
PHOTOS = 1000
# A warm stage and the plain processes beside it name every photo so often: their steady rate, a second of start and
# end apart.
TIMES = 12
# The peers, and a stage beside them, name it less often: they need three to four times as long for a photo.
PEER_TIMES = 2
ROUNDS = 3
MFLOP = 601.0  # of one MobileNetV2 forward pass at 224 pixels, a multiply-add counted as two


def make_photos(n: int = PHOTOS, side: int = 500) -> list[str]:
    """n JPEG files of soft noise, about 35 kB each; made once."""
    folder = RESULTS / f"photos-{n}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i}.jpg" for i in range(n)]
    for i, path in enumerate(paths):
        if not path.exists():
            noise = np.random.default_rng(i).integers(0, 255, (side // 10, side // 10, 3), np.uint8)
            Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC).save(path, quality=88)
    return [str(path.absolute()) for path in paths]


def make_bitmaps(paths: list[str]) -> list[str]:
    """The same photos decoded: uncompressed files of the network's size, so that a decoder has nothing left to do."""
    from vsspark.config import ImagesConfig
    from vsspark.images.decode import decode_image

    folder = RESULTS / f"bitmaps-{len(paths)}"
    folder.mkdir(parents=True, exist_ok=True)
    bitmaps = [folder / f"{Path(path).stem}.bmp" for path in paths]
    for path, bitmap in zip(paths, bitmaps, strict=True):
        if not bitmap.exists():
            Image.fromarray(decode_image(Path(path).read_bytes(), (224, 224), ImagesConfig())).save(bitmap)
    return [str(path.absolute()) for path in bitmaps]


def make_weights() -> str:
    path = RESULTS / "mobilenet.weights.h5"
    if not path.exists():
        import keras

        keras.utils.set_random_seed(0)
        keras.applications.MobileNetV2(
            weights=None, include_top=False, pooling="avg", input_shape=(224, 224, 3)
        ).save_weights(path)
    return str(path.absolute())


def matmul_gflops(n: int = 4096) -> float:
    """What this machine's cores reach in a plain float32 matrix product, the ceiling for any network on them."""
    a, b = (np.random.default_rng(seed).standard_normal((n, n), np.float32) for seed in (0, 1))
    best = float("inf")
    for _ in range(4):
        began = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - began)
    return 2 * n**3 / best / 1e9


def spark_ways(paths: list[str], weights: str):
    """(session, the Spark stage for given files, predict_batch_udf for these): two functions that embed all photos
    and return the seconds.
    """
    from pyspark.sql import DataFrame

    from vsspark import encoders
    from vsspark.config import EncoderConfig, ImagesConfig
    from vsspark.embed.spark import embed_images, prepare, spread
    from vsspark.spark import session

    encoder = encoders.load("mobilenet_v2", weights)
    spark = session.create(
        "bench-embed",
        {
            "spark.master": f"local[{CORES}]",
            "spark.sql.shuffle.partitions": CORES,
            "spark.ui.showConsoleProgress": False,
        },
    )
    files = spark.read.format("binaryFile").load(str(Path(paths[0]).parent)).repartition(CORES * 4)
    model = prepare(spark, encoder, EncoderConfig())

    def ours(named: list[str]) -> float:
        images = spark.createDataFrame(
            [(i, path, None) for i, path in enumerate(named)], "image_id long, uri string, fingerprint string"
        )
        began = time.perf_counter()
        embed_images(spread(images, len(named), CORES), model, ImagesConfig(), EncoderConfig(), {}).write.format(
            "noop"
        ).mode("overwrite").save()
        return time.perf_counter() - began

    def documented(times: int = 1) -> float:
        named = reduce(DataFrame.union, [files] * times)
        began = time.perf_counter()
        named.select(predict_batch_udf_column(weights)).write.format("noop").mode("overwrite").save()
        return time.perf_counter() - began

    return spark, ours, documented


def in_a_process_of_its_own(*arguments: str) -> float:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.embed", *arguments], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def cold() -> list[dict]:
    """The first 1,000 images of a fresh session, each way in a session of its own: workers start, import, load,
    embed.
    """
    make_photos()
    weights = make_weights()
    seconds: dict[str, list[float]] = {"stage": [], "documented": []}
    for _ in range(ROUNDS):
        for way in seconds:
            seconds[way].append(in_a_process_of_its_own("cold-round", weights, way))
            print(f"cold {way}: {seconds[way][-1]:.2f} s", file=sys.stderr, flush=True)
    ours, documented = (statistics.median(values) for values in seconds.values())
    return [
        {"case": "spark stage, first run in a fresh session", "images_per_s": round(PHOTOS / ours, 1)},
        {"case": "predict_batch_udf, first run in a fresh session", "images_per_s": round(PHOTOS / documented, 1)},
        {"case": "stage / predict_batch_udf, first run", "ratio": round(documented / ours, 3)},
    ]


def stage(paths: list[str], weights: str) -> list[dict]:
    """The Spark stage, plain processes, predict_batch_udf and tf.data, one after the other in every round."""
    from vsspark import encoders

    onnx = str(encoders.load("mobilenet_v2", weights).files["onnxruntime"])
    spark, ours, documented = spark_ways(paths, weights)

    named, bitmaps = paths * TIMES, make_bitmaps(paths) * TIMES
    ways = {  # name: (seconds, images)
        "spark stage, warm": (lambda: ours(named), len(named)),
        "spark stage, warm, photos decoded before": (lambda: ours(bitmaps), len(named)),
        "plain processes, decoding": (lambda: plain_processes(onnx, named, CORES, decoded_before=False), len(named)),
        "plain processes, photos decoded before": (
            lambda: plain_processes(onnx, named, CORES, decoded_before=True),
            len(named),
        ),
        "spark stage, warm, as many photos as the peers": (lambda: ours(paths * PEER_TIMES), len(paths) * PEER_TIMES),
        "predict_batch_udf, warm": (lambda: documented(PEER_TIMES), len(paths) * PEER_TIMES),
        "tf.data, one process": (lambda: in_a_process_of_its_own("tf-data-round", weights), len(paths) * PEER_TIMES),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    ours(paths)
    documented()
    for _ in range(ROUNDS):
        ours(paths[:64])  # Spark ends workers that were idle for a minute
        for name, (measure, _) in ways.items():
            seconds[name].append(measure())
            print(f"{name}: {seconds[name][-1]:.2f} s", file=sys.stderr, flush=True)
    spark.stop()
    rate = {name: ways[name][1] / statistics.median(times) for name, times in seconds.items()}
    ours_warm, limit = rate["spark stage, warm"], rate["plain processes, photos decoded before"]
    without_decoding, beside_peers = (
        rate["spark stage, warm, photos decoded before"],
        rate["spark stage, warm, as many photos as the peers"],
    )
    ceiling = matmul_gflops()
    cases = [
        {
            "case": name,
            "images_per_s": round(value, 1),
            "core_hours_per_million": round(CORES * 1e6 / value / 3600, 2),
            "share_of_matmul_limit": round(value * MFLOP / 1e3 / ceiling, 3),
        }
        for name, value in rate.items()
    ]
    ratios = {
        "stage / plain processes, decoding": ours_warm / rate["plain processes, decoding"],
        "stage / plain processes, both with photos decoded before": without_decoding / limit,
        "stage, decoding / plain processes, photos decoded before": ours_warm / limit,
        "stage / predict_batch_udf, warm": beside_peers / rate["predict_batch_udf, warm"],
        "stage / tf.data": beside_peers / rate["tf.data, one process"],
    }
    return cases + [{"case": name, "ratio": round(value, 3)} for name, value in ratios.items()]


def main(argv: list[str]) -> int:
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if argv[:1] == ["tf-data-round"]:
        print(json.dumps(next(tf_data(argv[1], make_photos() * PEER_TIMES, 1))))
        return 0
    if argv[:1] == ["cold-round"]:
        spark, ours, documented = spark_ways(make_photos(), argv[1])
        print(json.dumps(ours(make_photos()) if argv[2] == "stage" else documented()))
        spark.stop()
        return 0
    known = {
        "cold": cold,
        "stage": lambda: stage(make_photos(), make_weights()),
        **embed_parts.CASES,
        "store": embed_store.store,
    }
    unknown = set(argv) - set(known)
    if unknown:
        print(f"unknown case {', '.join(sorted(unknown))}; known are {', '.join(known)}", file=sys.stderr)
        return 2
    path = RESULTS / "embed.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    here = {"cpu": cpu(), "versions": versions()}
    cases = before["cases"] if here.items() <= before.items() else []
    for name in argv or known:
        measured = list(known[name]())
        for case in measured:
            print(json.dumps(case), flush=True)
        cases = [case for case in cases if case["group"] != name] + [{"group": name, **case} for case in measured]
        write_results("embed", cases)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
