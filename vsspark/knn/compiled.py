"""The decorator of every compiled kernel: Numba without the GIL, machine code kept between processes where a folder can be found for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numba

# Vector sums may be reordered, so that they run in vector lanes; NaN, infinities and signed zeros keep their meaning.
REORDER = frozenset({"reassoc", "contract"})


def compiled(fastmath: frozenset[str] = frozenset()) -> Callable[[Callable], Callable]:
    """A decorator that compiles at the first call.

    Numba keeps machine code beside the module or in NUMBA_CACHE_DIR. A module inside a zip on sys.path (a wheel given with --py-files) has no
    folder, and Numba refuses to cache it unless NUMBA_CACHE_DIR is set: then each process compiles for itself.
    """

    def decorate(function: Callable) -> Callable:
        options = {"nogil": True, "error_model": "numpy", "fastmath": set(fastmath)}
        cache = bool(numba.config.CACHE_DIR) or Path(__file__).is_file()
        try:
            return numba.njit(cache=cache, **options)(function)
        except RuntimeError:  # no writable folder found
            return numba.njit(**options)(function)

    return decorate
