"""A process that decodes the files named on its standard input; a crash of a decoder is then the end of this process, not of the tests.

Per file: its name as soon as it is begun, then a line of JSON: the reason of a refusal or null, seconds, MiB by which the resident memory peaked.
"""

from __future__ import annotations

import faulthandler
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Iterable
from pathlib import Path

from vsspark.config import ImagesConfig
from vsspark.errors import ImageError
from vsspark.images.decode import decode_photo

SIZE = (224, 224)
HANGS_S = 60  # a decoder that takes longer is ended, and the process with it


def decoded(paths: Iterable[Path], max_pixels: int) -> dict[Path, dict]:
    """What became of each file: `reason`, `seconds`, `mib`. Fails the test that asks when the process dies on the way, naming the file."""
    paths = list(paths)
    asked = "\n".join(map(str, paths))
    done = subprocess.run([sys.executable, __file__, str(max_pixels)], input=asked, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"the decoder ended with {done.returncode} at {lines[-1] if lines else 'its start'}\n{done.stderr[-4000:]}"
    return {Path(name): json.loads(outcome) for name, outcome in zip(lines[::2], lines[1::2], strict=True)}


def _resident_kib(field: str) -> int:
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))


def main() -> None:
    warnings.simplefilter("ignore")
    config = ImagesConfig(max_pixels=int(sys.argv[1]))
    for line in sys.stdin:
        path = Path(line.rstrip("\n"))
        print(path, flush=True)
        data = path.read_bytes()
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        before, started = _resident_kib("VmRSS"), time.perf_counter()
        faulthandler.dump_traceback_later(HANGS_S, exit=True)
        reason = None
        try:
            assert decode_photo(data, SIZE, config).pixels.shape == (*SIZE, 3)
        except ImageError as error:
            reason = error.reason.value
        faulthandler.cancel_dump_traceback_later()
        seconds = time.perf_counter() - started
        print(json.dumps({"reason": reason, "seconds": seconds, "mib": (_resident_kib("VmHWM") - before) / 1024}), flush=True)


if __name__ == "__main__":
    main()
