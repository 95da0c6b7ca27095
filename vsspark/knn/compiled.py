"""The decorator of every compiled kernel: Numba without the GIL, machine code kept between processes where a folder
can be found for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numba
import numpy as np

# Vector sums may be reordered, so that they run in vector lanes; NaN, infinities and signed zeros keep their meaning.
REORDER = frozenset({"reassoc", "contract"})


def compiled(fastmath: frozenset[str] = frozenset()) -> Callable[[Callable], Callable]:
    """A decorator that compiles at the first call.

    Numba keeps machine code beside the module, in NUMBA_CACHE_DIR, or below the user's cache folder, the last for a
    .zip on sys.path, too. It has no place for a module in a .whl (as --py-files may ship it) and fails late where the
    user's folder cannot be written: there each process compiles for itself, a few seconds once.
    """

    def decorate(function: Callable) -> Callable:
        options = {"nogil": True, "error_model": "numpy", "fastmath": set(fastmath)}
        try:
            kept = numba.njit(cache=True, **options)(function)
            os.makedirs(kept.stats.cache_path, exist_ok=True)
            if os.access(kept.stats.cache_path, os.W_OK):
                return kept
        except (RuntimeError, OSError):
            pass
        return numba.njit(**options)(function)

    return decorate


def read_only(x: np.ndarray) -> np.ndarray:
    """A view that cannot be written to. Mapped files give such arrays, for which Numba compiles a kernel anew: always
    passing them saves that.
    """
    view = x.view()
    view.flags.writeable = False
    return view
