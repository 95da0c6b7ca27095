"""A process without AVX-512, and the instruction sets that each library of a process really uses.

python -m benchmarks.limits prints both for a process that benchmarks.knn starts with --avx2.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.knn_indexes import FIRST, HASWELL

_HASWELL_FEATURES = "+sse4.2,+popcnt,+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+movbe"
# No variable reaches these three: they ask the CPU itself. On a CPU with AVX-512 they keep it, which favours them.
UNLIMITED = ["scann", "scalable_vs (but for its MKL)", "usearch"]


def avx2_environment() -> dict[str, str]:
    """The variables that keep the libraries of a new process to AVX2 and FMA, as on a CPU of Haswell's kind."""
    wide = [name for name in _numpy_targets() if name.startswith(("X86_V4", "AVX512"))]
    return {
        "OPENBLAS_CORETYPE": "Haswell",  # NumPy, SciPy and faiss carry an OpenBLAS each
        "NPY_DISABLE_CPU_FEATURES": " ".join(wide),  # only what this CPU has: NumPy warns of others
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": _HASWELL_FEATURES,  # without it Numba adds the features of this CPU
        "FAISS_SIMD_LEVEL": "AVX2",  # faiss >= 1.14: one library, chosen from at start-up
        "FAISS_OPT_LEVEL": "AVX2",  # faiss before that: one library for each level
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",  # inside scalable_vs
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        FIRST: str(HASWELL),  # an hnswlib compiled for Haswell
    }


def restart_with_avx2(module: str, argv: Sequence[str]) -> None:
    """Replace this process by `python -m module argv` in the environment above; return where it is that already."""
    wanted = avx2_environment()
    if os.environ.get("OPENBLAS_CORETYPE") == wanted["OPENBLAS_CORETYPE"] and FIRST in os.environ:
        return
    os.execve(sys.executable, [sys.executable, "-m", module, *argv], os.environ | wanted)


def limits() -> dict | None:
    """The variables of `avx2_environment` that this process runs under, and who ignores them; None without any."""
    names = [name for name in avx2_environment() if name in os.environ]
    return {"variables": {name: os.environ[name] for name in names}, "not_limited": UNLIMITED} if names else None


def kernels() -> dict[str, object]:
    """The instruction set or kernel that each library loaded so far has chosen."""
    from numba.core.registry import cpu_target
    from threadpoolctl import threadpool_info

    pools = threadpool_info()
    numba_cpu, numba_features = cpu_target.target_context.codegen().magic_tuple()[1:]
    chosen: dict[str, object] = {
        "numpy": _numpy_targets(),
        "blas": {Path(pool["filepath"]).name: pool["architecture"] for pool in pools if "architecture" in pool},
        "numba": f"{numba_cpu}, {'with' if '+avx512f' in numba_features.split(',') else 'without'} AVX-512",
    }
    if "faiss" in sys.modules:
        faiss = sys.modules["faiss"]
        level = faiss.SIMDConfig.get_level_name() if hasattr(faiss, "SIMDConfig") else "not told"
        chosen["faiss"] = f"{level} of {faiss.get_compile_options().strip()}"
    if "usearch" in sys.modules:
        index = sys.modules["usearch.index"].Index
        chosen["usearch"] = index(ndim=1280, metric="cos", dtype="bf16").hardware_acceleration
    if "hnswlib" in sys.modules:
        haswell = HASWELL in Path(sys.modules["hnswlib"].__file__).parents
        chosen["hnswlib"] = f"compiled for {'Haswell' if haswell else 'this CPU'}"
    if "svs" in sys.modules or "scann" in sys.modules:
        chosen["scann, scalable_vs"] = "not told by the libraries: the best that the CPU has"
    return chosen


def _numpy_targets() -> list[str]:
    """The instruction sets that NumPy has kernels for and this process may use."""
    from numpy._core import _multiarray_umath as core

    return [name for name in (*core.__cpu_baseline__, *core.__cpu_dispatch__) if core.__cpu_features__[name]]


if __name__ == "__main__":
    restart_with_avx2("benchmarks.limits", [])
    import faiss  # noqa: F401  kernels() names what is loaded

    print(json.dumps({"limits": limits(), "kernels": kernels()}, indent=1))
