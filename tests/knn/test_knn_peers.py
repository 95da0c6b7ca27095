"""The peers of the kNN benchmark: right ids from each library, and the choice of a setting."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import util
from pathlib import Path

import numpy as np
import pytest

from benchmarks.harness import cpu
from benchmarks.knn_approximate import choose, compare
from benchmarks.knn_indexes import PEERS, Peer, failure, ids_of, without_self
from benchmarks.knn_measure import K, same_ids

REPO = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """(500, 640) float32 unit rows around 40 centres."""
    rng = np.random.default_rng(0)
    x = rng.random((40, 640), dtype=np.float32)[rng.integers(0, 40, 500)]
    x += 0.4 * rng.random((500, 640), dtype=np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def truth(rows: np.ndarray) -> np.ndarray:
    """(500, K) ids of the nearest other rows, in float64."""
    cosine = rows.astype(np.float64) @ rows.astype(np.float64).T
    np.fill_diagonal(cosine, -np.inf)
    return np.argsort(-cosine, axis=1)[:, :K]


@pytest.mark.slow
@pytest.mark.parametrize("name", PEERS)
def test_a_peer_returns_the_nearest_other_rows(name: str, rows: np.ndarray, truth: np.ndarray) -> None:
    peer = PEERS[name]
    if util.find_spec(peer.module) is None:
        pytest.skip(f"{peer.module} is not installed: run conf/setup/bench-packages.sh")
    build, searches = peer.grid[-1]
    every = np.arange(len(rows))
    ids = ids_of(peer, peer.build(rows, **build), rows, every, searches[-1])
    assert ids.shape == (500, K)
    assert ids.min() >= 0
    assert ids.max() < 500
    assert not (ids == every[:, None]).any()
    assert same_ids(ids, truth) >= 0.97


def test_the_own_row_is_removed_wherever_it_is() -> None:
    ids = np.array([[0, 1, 2], [2, 1, 0], [0, 1, 3]])
    assert without_self(ids, np.arange(3)).tolist() == [[1, 2], [2, 0], [0, 1]]


def _brute_force(keep: dict[str, int]) -> Peer:
    """Exact search that gives up all but `keep[setting]` of the neighbours."""

    def search(index: np.ndarray, x: np.ndarray, rows: np.ndarray, setting: str) -> np.ndarray:
        ids = np.argsort(-(x[rows] @ index.T), axis=1)[:, : K + 1]
        ids[:, keep[setting] + 1 :] = -1
        return ids

    return Peer("numpy", lambda x: x, search, [({}, [{"setting": setting} for setting in keep])])


def test_the_first_setting_that_reaches_the_recall_is_chosen(rows: np.ndarray, truth: np.ndarray) -> None:
    choice = choose(_brute_force({"half": 5, "all": 10, "more": 10}), rows, truth, 0.99, limit=60)
    assert choice.search == {"setting": "all"}
    assert [setting["recall"] for setting in choice.tried] == [0.5, 1.0]


def test_a_grid_ends_at_the_limit_of_seconds_without_a_choice(rows: np.ndarray, truth: np.ndarray) -> None:
    choice = choose(_brute_force({"half": 5, "all": 10}), rows, truth, 0.99, limit=0)
    assert choice.build is None
    assert len(choice.tried) == 1


def test_a_library_that_does_not_load_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "faiss.py").write_text("raise ImportError('faiss does not load')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert failure("faiss_hnsw") == "exit 1: ImportError: faiss does not load"


@pytest.mark.slow
def test_the_others_are_measured_without_a_library_that_ends_the_process(rows, tmp_path, monkeypatch) -> None:
    (tmp_path / "hnswlib.py").write_text("import os; os.kill(os.getpid(), 4)")  # SIGILL: compiled for another CPU
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    case = compare(rows, "random", 1, 0.9, ["faiss_ivf_flat", "hnswlib"])
    assert case["not_measured"] == {"hnswlib": "not measured: exit -4: no message"}
    assert set(case["seconds"]) == {"ours", "faiss_flat", "faiss_ivf_flat"}
    assert case["recall_at_10"]["faiss_ivf_flat"] >= 0.9


@pytest.mark.skipif("avx2" not in cpu(), reason="needs a CPU with AVX2")
def test_a_process_limited_to_avx2_runs_no_wider_kernels() -> None:
    command = [sys.executable, "-m", "benchmarks.limits"]
    report = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPO).stdout)
    assert report["limits"]["variables"]["OPENBLAS_CORETYPE"] == "Haswell"
    kernels = report["kernels"]
    assert "X86_V4" not in kernels["numpy"]
    assert set(kernels["blas"].values()) == {"Haswell"}
    assert kernels["numba"] == "haswell, without AVX-512"
    assert kernels["faiss"].startswith("AVX2 ")
