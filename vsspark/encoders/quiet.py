"""TensorFlow's import without its noise."""

from __future__ import annotations

import os
import sys


def import_tensorflow() -> None:
    """Imports TensorFlow with oneDNN on and errors only; call it before `import keras`.

    TensorFlow 2.21 writes four lines to the process's stderr whatever TF_CPP_MIN_LOG_LEVEL says, because its C++ side
    logs before it reads the level; so the descriptor itself is turned away for as long as the import takes. An error
    in Python comes through.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # twice as fast on AMD, where it is off unless asked for
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "tensorflow" in sys.modules:
        return
    sys.stderr.flush()
    stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        import tensorflow  # noqa: F401
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)
