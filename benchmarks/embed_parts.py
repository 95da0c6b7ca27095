"""Times the parts of the embed stage: cold start, decoding, memory, storage of embeddings, distant object storage."""

from __future__ import annotations

import io
import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np
from PIL import Image

from benchmarks.harness import RESULTS

_COLD = """
import os, time
began = time.clock_gettime(time.CLOCK_BOOTTIME)
ticks = float(open("/proc/self/stat").read().rsplit(")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK")
import json, sys
import numpy as np
import vsspark.embed.spark
from vsspark.encoders.engines import load_engine
batch = vsspark.embed.spark.CPU_BATCH
engine = load_engine("onnxruntime", sys.argv[1], batch, 1)
engine.run(np.zeros((batch, 224, 224, 3), np.uint8))
print(json.dumps(time.clock_gettime(time.CLOCK_BOOTTIME) - ticks))
"""


def cold_start() -> list[dict]:
    """A fresh interpreter to the first batch's embeddings: what a Python worker pays once."""
    from benchmarks.embed import make_weights
    from vsspark import encoders

    onnx = str(encoders.load("mobilenet_v2", make_weights()).files["onnxruntime"])
    seconds = [
        float(subprocess.run([sys.executable, "-c", _COLD, onnx], capture_output=True, text=True, check=True).stdout)
        for _ in range(5)
    ]
    return [
        {"case": "process start to first embeddings, ONNX Runtime", "seconds": round(statistics.median(seconds), 2)}
    ]


def decoders() -> list[dict]:
    """One thread, JPEG file to 224x224 RGB, none decoding below the target; PIL and OpenCV at their best settings."""
    import cv2
    import simplejpeg

    from vsspark.config import ImagesConfig
    from vsspark.images.decode import decode_image

    cv2.setNumThreads(1)
    target = (224, 224)

    def opencv(data: bytes, reduced: int) -> np.ndarray:
        return cv2.resize(cv2.imdecode(np.frombuffer(data, np.uint8), reduced), target, interpolation=cv2.INTER_AREA)

    def pil(data: bytes) -> np.ndarray:
        image = Image.open(io.BytesIO(data))
        image.draft("RGB", target)
        return np.asarray(image.resize(target, Image.Resampling.BILINEAR))

    def simple(data: bytes) -> np.ndarray:
        return cv2.resize(
            simplejpeg.decode_jpeg(data, "RGB", min_height=224, min_width=224, min_factor=2),
            target,
            interpolation=cv2.INTER_AREA,
        )

    cases = []
    for side, reduced in (
        (500, cv2.IMREAD_REDUCED_COLOR_2),
        (1000, cv2.IMREAD_REDUCED_COLOR_4),
        (3000, cv2.IMREAD_REDUCED_COLOR_8),
    ):
        noise = np.random.default_rng(side).integers(0, 255, (side // 10, side // 10, 3), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=88)
        data, config = buffer.getvalue(), ImagesConfig()
        ways = {
            "vsspark": lambda data=data, config=config: decode_image(data, target, config),
            "opencv reduced": lambda data=data, reduced=reduced: opencv(data, reduced),
            "opencv full": lambda data=data: opencv(data, cv2.IMREAD_COLOR),
            "pil draft": lambda data=data: pil(data),
            "simplejpeg + opencv": lambda data=data: simple(data),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(7):
            for name, decode in ways.items():
                began = time.perf_counter()
                for _ in range(max(3, 6000 // side)):
                    decode()
                times[name].append((time.perf_counter() - began) / max(3, 6000 // side))
        best = {name: min(values) for name, values in times.items()}
        fastest = min(value for name, value in best.items() if name != "vsspark")
        for name, value in best.items():
            cases.append(
                {
                    "case": f"{side}x{side} {name}",
                    "images_per_s": round(1 / value, 1),
                    "time_against_fastest_peer": round(value / fastest, 2),
                }
            )
    return cases


_MEMORY = """
import json, sys
from pathlib import Path
import pyarrow as pa
from vsspark.config import EncoderConfig, ImagesConfig
from vsspark.embed.kernel.frame import embed_batches
from vsspark.embed.kernel.photos import PhotoSource
from vsspark.encoders.engines import load_engine
onnx, size, folder, total = sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
files = sorted(str(path) for path in folder.iterdir())
def rss():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) / 1024
def rows():
    for start in range(0, total, 500):
        ids = range(start, start + 500)
        uris = [files[i * 7919 % len(files)] for i in ids]
        yield pa.record_batch({"image_id": pa.array(ids, pa.int64()), "uri": uris})
done, mark, seen = 0, 0, []
engine = load_engine("onnxruntime", onnx, 8, 1)
for batch in embed_batches(rows(), engine, EncoderConfig(), PhotoSource(tuple(size), ImagesConfig(), {}, 1)):
    done += batch.num_rows
    if done >= mark + 1000:
        mark += 1000
        seen.append(round(rss(), 1))
print(json.dumps(seen))
"""


def memory(total: int = 10_000) -> list[dict]:
    """Resident MiB of one worker after every 1,000 of 10,000 photos between 100x100 and 4000x3000, JPEG and PNG, the
    default encoder.
    """
    from vsspark import encoders

    folder = RESULTS / "mixed"
    folder.mkdir(parents=True, exist_ok=True)
    sizes = [(100, 100), (300, 400), (500, 500), (640, 480), (800, 600), (1000, 1000), (1600, 1200)] * 8 + [
        (3000, 2000),
        (4000, 3000),
    ]
    for i, (width, height) in enumerate(sizes):
        for suffix in ("jpg", "png") if i % 8 == 0 else ("jpg",):
            path = folder / f"{i}.{suffix}"
            if not path.exists():
                noise = np.random.default_rng(i).integers(0, 255, (height // 10, width // 10, 3), np.uint8)
                Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(path)
    encoder = encoders.load("default")
    command = [
        sys.executable,
        "-c",
        _MEMORY,
        str(encoder.files["onnxruntime"]),
        json.dumps(encoder.input_size),
        str(folder),
        str(total),
    ]
    seen = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return [
        {
            "case": f"{total} mixed photos, resident MiB after every 1,000",
            "mib": seen,
            "last_against_second": round(seen[-1] / seen[1], 3),
        }
    ]


def storage(n: int = 20_000, d: int = 1280) -> list[dict]:
    """array<float> against binary and against a fixed-size list, as one Parquet file: bytes, seconds to write,
    seconds to a NumPy matrix.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    matrix = np.abs(np.random.default_rng(0).standard_normal((n, d), np.float32))
    matrix[matrix < 0.5] = 0
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    flat = pa.array(matrix.reshape(-1))
    offsets = np.arange(n + 1, dtype=np.int32)
    columns = {
        "array<float>": pa.ListArray.from_arrays(pa.array(offsets * d), flat),
        "fixed-size list": pa.FixedSizeListArray.from_arrays(flat, d),
        "binary": pa.Array.from_buffers(pa.binary(), n, [None, pa.py_buffer(offsets * (4 * d)), pa.py_buffer(matrix)]),
    }

    def read(column: pa.ChunkedArray) -> np.ndarray:
        parts = []
        for chunk in column.chunks:
            if pa.types.is_binary(chunk.type):
                parts.append(np.frombuffer(chunk.buffers()[2], np.float32).reshape(-1, d)[: len(chunk)])
            else:
                parts.append(chunk.flatten().to_numpy().reshape(-1, d))
        return np.concatenate(parts)

    cases = []
    for name, column in columns.items():
        for dictionary in (True, False):
            writes, reads = [], []
            path = RESULTS / "storage.parquet"
            for _ in range(3):
                began = time.perf_counter()
                pq.write_table(
                    pa.table({"embedding": column}),
                    path,
                    compression="snappy",
                    use_dictionary=dictionary,
                    row_group_size=5000,
                )
                writes.append(time.perf_counter() - began)
                began = time.perf_counter()
                found = read(pq.read_table(path)["embedding"])
                reads.append(time.perf_counter() - began)
                if not np.array_equal(found, matrix):
                    raise ValueError(f"{name} did not come back as it was written")
            figures = {
                "mb": round(path.stat().st_size / 1e6, 1),
                "write_s": round(statistics.median(writes), 3),
                "read_s": round(statistics.median(reads), 3),
            }
            cases.append({"case": f"{n} x {d} {name}{', dictionary' * dictionary}", **figures})
            os.remove(path)
    return cases


CASES = {"cold-start": cold_start, "decode": decoders, "memory": memory, "storage": storage}
