"""One answer for every BLAS kernel, number of threads, tile size and order of rows, to the last bit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from naive_neighbours import naive

from vsspark import encoders
from vsspark.demo.draw import render_photo
from vsspark.demo.products import photo_specs, product_spec
from vsspark.knn import self_join

KERNELS = ("Prescott", "Nehalem", "Haswell", "Zen", "SkylakeX")
SCRIPT = Path(__file__).with_name("same_answer.py")


def runs_here(kernel: str) -> bool:
    """Whether this CPU has the instructions of an OpenBLAS kernel."""
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("flags", 2)[1].splitlines()[0].split()
    return {"Haswell": "avx2", "Zen": "avx2", "SkylakeX": "avx512bw"}.get(kernel, "sse2") in flags


def answers(rows: Path, kernel: str | None, threads: int) -> tuple[str, list[str]]:
    """(the kernel that ran, a line per case) of `same_answer.py` in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OPENBLAS", "OMP"))}
    environment |= {"OPENBLAS_CORETYPE": kernel} if kernel else {}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(rows), str(threads)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=500,
    )
    first, *lines = done.stdout.splitlines()
    return first, lines


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory):
    """A file of (900, d) embeddings of drawn garments by the encoder that ships: many twice, many one last place
    apart.
    """
    encoder = encoders.load("default")
    products = [product_spec(0, index) for index in range(48)]
    photos = [render_photo(product, photo_specs(product)[0]) for product in products]
    distinct = np.concatenate([encoder.encode(photo[None])[0] for photo in photos])
    rng = np.random.default_rng(0)
    x = distinct[rng.integers(0, len(distinct), 900)]
    near = rng.choice(900, 300, replace=False)
    column = rng.integers(0, x.shape[1], len(near))
    x[near, column] = np.nextafter(x[near, column], np.float32(1))
    path = tmp_path_factory.mktemp("rows") / "embeddings.npy"
    np.save(path, x)
    return path


def test_the_same_bits_under_every_blas_kernel_and_number_of_threads(embeddings):
    expected = answers(embeddings, None, 1)[1]
    assert len(expected) == 6 * 4 * 3
    seen = set()
    for kernel, threads in zip(filter(runs_here, KERNELS), (1, 2, 4, 2, 4), strict=False):
        name, found = answers(embeddings, kernel, threads)
        seen.add(name)
        assert found == expected, (kernel, threads)
    assert len(seen) > 2  # the setting takes effect


@pytest.mark.parametrize("metric", ["cosine", "l2", "l1", "hamming"])
@pytest.mark.parametrize("d", [3, 33, 128])
def test_copies_of_rows_are_ordered_as_by_definition(metric, d):
    rng = np.random.default_rng(d)
    for copies in (1 / 3, 2 / 3, 5 / 6):
        x = rng.standard_normal((600, d)).astype(np.float32)
        repeated = rng.permutation(600)[: int(600 * copies)]
        x[repeated] = x[rng.integers(0, 600, len(repeated))]
        x[[10, 400]] = 0
        ids = rng.permutation(600)
        expected = naive(x, x, 10, metric, ids, ids)[1]
        np.testing.assert_array_equal(self_join(x, 10, metric, ids=ids)[1], expected)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_the_same_bits_on_one_to_eight_slots(tmp_path, metric):
    found = set()
    for slots, tile_rows in ((1, 8192), (2, 128), (5, 64), (8, 200)):
        script, folder = SCRIPT.with_name("slots_job.py"), tmp_path / str(slots)
        arguments = [sys.executable, str(script), str(slots), str(tile_rows), metric, str(folder)]
        found.add(subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=500).stdout)
    assert len(found) == 1
    assert int(found.pop().split()[1]) == 1200 * 7
