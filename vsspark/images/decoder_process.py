"""Decodes pictures in a process of its own, which the kernel ends when a picture takes too long.

A decoder is C code: no thread and no Python signal can interrupt it. So pictures whose work is not known beforehand are
decoded where the end of the process harms nobody. A worker process keeps its decoder processes, at most one per picture
that it decodes at a time; they end with it.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import traceback
from typing import BinaryIO

import numpy as np

from vsspark.config import ImagesConfig
from vsspark.errors import ImageError, Reason
from vsspark.images.box import Box
from vsspark.images.fit import Fit

_START = "from vsspark.images.decoder_process import serve; serve()"
_IDLE: list[tuple[int, subprocess.Popen]] = []  # (process id of the owner, a decoder process that waits for a picture)


def decode_in_process(
    data: bytes,
    size: tuple[int, int] | Fit,
    config: ImagesConfig,
    box: Box | None,
) -> tuple[np.ndarray, int, int]:
    """(pixels, width, height) as `decode_photo` gives them, after at most config.decode_timeout_s of decoding.

    Raises ImageError as `decode_photo` does, TOO_SLOW when the time is over, CORRUPT when the decoder crashed.
    """
    request = pickle.dumps((len(data), size, config, box), protocol=5)
    idle = _idle_process()
    # An idle process may have been killed while it waited; the end of a new one is the picture's fault.
    answer = (_answer_of(idle, request, data, config) if idle else None) or _answer_of(_start(), request, data, config)
    if answer is None:
        raise ImageError(Reason.CORRUPT, "the decoder process crashed")
    kind, content = answer
    if kind == "refused":
        raise ImageError(*content)
    if kind == "failed":
        raise RuntimeError(f"the decoder process failed:\n{content}")
    return content


def _answer_of(process: subprocess.Popen, request: bytes, data: bytes, config: ImagesConfig) -> tuple | None:
    """(kind, content) as `serve` gives it; None where the process ended. Raises ImageError(TOO_SLOW)."""
    try:
        process.stdin.write(request)
        process.stdin.write(data)  # not pickled, which would copy it
        process.stdin.flush()
        answer = pickle.load(process.stdout)
    except (EOFError, OSError, pickle.UnpicklingError):
        if process.wait() != -signal.SIGALRM:
            return None
        limit = f"images.decode_timeout_s = {config.decode_timeout_s:g}"
        raise ImageError(Reason.TOO_SLOW, f"not decoded within {limit} seconds") from None
    except BaseException:  # the task is cancelled: the next picture must not get this one's answer
        process.kill()
        raise
    _IDLE.append((os.getpid(), process))
    return answer


def _idle_process() -> subprocess.Popen | None:
    while True:
        try:
            owner, process = _IDLE.pop()
        except IndexError:
            return None
        if owner == os.getpid() and process.poll() is None:  # after a fork they are the parent's
            return process


def _start() -> subprocess.Popen:
    paths = [os.path.abspath(path) for path in sys.path]
    process = subprocess.Popen(
        [sys.executable, "-c", _START],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"},
    )
    try:
        pickle.load(process.stdout)
    except EOFError:
        raise RuntimeError(f"the decoder process did not start: exit code {process.wait()}, see its stderr") from None
    return process


def serve() -> None:
    """Decode pictures from standard input to standard output until the input ends. SIGALRM ends the process."""
    import cv2
    from PIL import AvifImagePlugin, Image

    from vsspark.images.decode import decode_here

    # This process is ours alone, so its settings are too. One thread: the pictures are decoded side by side already.
    Image.MAX_IMAGE_PIXELS = None
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    cv2.setNumThreads(1)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; this process ends with its input
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    try:
        _send(answers, "ready")
        while True:
            length, size, config, box = pickle.load(requests)
            data = requests.read(length)
            signal.setitimer(signal.ITIMER_REAL, config.decode_timeout_s)
            try:
                answer = "decoded", tuple(decode_here(data, size, config, box))
            except ImageError as error:
                answer = "refused", (error.reason, error.detail)
            except Exception:
                answer = "failed", traceback.format_exc()
            signal.setitimer(signal.ITIMER_REAL, 0)
            _send(answers, answer)
    except (EOFError, BrokenPipeError):
        os._exit(0)  # the parent has ended


def _send(answers: BinaryIO, answer: object) -> None:
    pickle.dump(answer, answers, protocol=5)
    answers.flush()
