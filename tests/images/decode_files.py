"""A process that decodes the files named on its standard input, so that a crash of a decoder does not end the tests.

Per file it prints the name as soon as it begins, then a line of JSON: the reason of a refusal or null, and of the process
and its decoder process the CPU seconds and the MiB by which their resident memory peaked.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import subprocess
import sys
import warnings
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from vsspark.config import ImagesConfig
from vsspark.errors import ImageError
from vsspark.images.decode import decode_photo

SIZE = (224, 224)
HANGS_S = 60  # a decoder that takes longer is ended, and the process with it


def decoded(paths: Iterable[Path], max_pixels: int, decode_timeout_s: float = 30) -> dict[Path, dict]:
    """Outcome of each file: `reason`, `seconds`, `mib`. Fails, naming the file, when the process ends on the way."""
    paths = list(paths)
    names = "\n".join(map(str, paths))
    command = [sys.executable, __file__, str(max_pixels), str(decode_timeout_s)]
    done = subprocess.run(command, input=names, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    last = lines[-1] if lines else "its start"
    assert done.returncode == 0, f"the decoder ended with {done.returncode} at {last}\n{done.stderr[-4000:]}"
    return {Path(name): json.loads(outcome) for name, outcome in zip(lines[::2], lines[1::2], strict=True)}


def _resident_kib(field: str) -> dict[str, int]:
    """By process id, of this process and its decoder process."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    resident = {}
    for process in (str(os.getpid()), *children):
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        resident[process] = next(int(line.split()[1]) for line in lines if line.startswith(field))
    return resident


def _cpu_seconds(processes: Iterable[str]) -> float:
    """Of these processes and of those that have ended; other tests on the same cores do not change it."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    running = 0.0
    for process in processes:
        with suppress(psutil.Error):
            running += sum(psutil.Process(int(process)).cpu_times()[:2])
    return ended.ru_utime + ended.ru_stime + running


def main() -> None:
    warnings.simplefilter("ignore")
    config = ImagesConfig(max_pixels=int(sys.argv[1]), decode_timeout_s=float(sys.argv[2]))
    for line in sys.stdin:
        path = Path(line.rstrip("\n"))
        print(path, flush=True)
        data = path.read_bytes()
        with suppress(ImageError):
            decode_photo(b"no picture", SIZE, config)  # a decoder process runs from here
        before = _resident_kib("VmRSS")
        for process in before:
            Path(f"/proc/{process}/clear_refs").write_text("5")  # the peak counts from here
        began = _cpu_seconds(before)
        faulthandler.dump_traceback_later(HANGS_S, exit=True)
        reason = None
        try:
            assert decode_photo(data, SIZE, config).pixels.shape == (*SIZE, 3)
        except ImageError as error:
            reason = error.reason.value
        faulthandler.cancel_dump_traceback_later()
        seconds = _cpu_seconds(before) - began
        peak = _resident_kib("VmHWM")
        mib = sum(peak[process] - before[process] for process in before if process in peak) / 1024
        print(json.dumps({"reason": reason, "seconds": seconds, "mib": mib}), flush=True)


if __name__ == "__main__":
    main()
