"""What every benchmark shares: the machine and versions a figure belongs to, the file it is written to, and the
photos beside the checkout.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import psutil

RESULTS = Path("build/bench")
MOBILENET = "weights/mobilenet_v2_imagenet_notop.weights.h5"  # below the folder of photos
_PACKAGES = (
    "pyspark",
    "tensorflow-cpu",
    "keras",
    "onnxruntime",
    "numpy",
    "pyarrow",
    "opencv-python-headless",
    "simplejpeg",
    "pillow",
    "numba",
    "faiss-cpu",
    "scann",
    "scalable-vs",
    "usearch",
    "hnswlib",
    "pynndescent",
)


def cpu() -> str:
    """The processor's name, and the instruction sets that decide its speed."""
    name, flags = platform.processor() or "unknown", set()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.strip()
        elif key.strip() == "flags":
            flags = set(value.split())
    return " ".join(
        [name, *(flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile") if flag in flags)]
    )


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def write_results(name: str, cases: list[dict]) -> Path:
    """`build/bench/NAME.json`: {"cpu", "cores", "versions", "cases"}."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(
        json.dumps({"cpu": cpu(), "cores": os.cpu_count(), "versions": versions(), "cases": cases}, indent=1) + "\n",
        encoding="utf-8",
    )
    return path


def write_skipped(name: str, why: str) -> Path:
    """The same file where a benchmark has nothing to measure on: its one case says why."""
    print(f"{name}: {why}")
    return write_results(name, [{"case": "skipped", "why": why}])


def photo_folder(name: str, argv: Sequence[str] | None) -> Path | None:
    """The folder that `--data` names; None, and results that say so, where there are no photos in it."""
    parser = argparse.ArgumentParser(prog=f"benchmarks.{name}")
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="folder with clothing/, luma/ and weights/"
    )
    data = parser.parse_args(argv).data
    if not (data / "clothing/catalogue.csv").exists():
        write_skipped(name, f"no photos in {data}: give --data FOLDER with clothing/, luma/ and {MOBILENET}")
        return None
    return data


def catalogue_rows(folder: Path) -> list[dict[str, str]]:
    """The rows of a folder's catalogue.csv."""
    with (folder / "catalogue.csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@contextmanager
def resident_memory(every: float = 2.0) -> Iterator[list[float]]:
    """A list that holds, at the end, one number: the most GiB this process and all its descendants (JVM, Python
    workers) had resident at once.

    Proportional set size: pages that several of them map, a tile file say, count once.
    """
    peak, done = [0.0], threading.Event()

    def sample() -> None:
        while not done.wait(every):
            total = 0
            for process in (own := psutil.Process(), *own.children(recursive=True)):
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:  # it has ended
                    continue
            peak[0] = max(peak[0], total / 2**30)

    watcher = threading.Thread(target=sample, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()
