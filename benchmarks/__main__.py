"""`make bench` and `make bench NAME=knn`: all benchmarks, or one, each in a process of its own so that none warms
another's caches.
"""

from __future__ import annotations

import subprocess
import sys

NAMES = (
    "knn",
    "embed",
    "training",
    "nightly",
    "default_encoder",
    "encoders",
    "foreground",
    "shop_encoder",
    "query",
    "quality",
)


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    return max(subprocess.run([sys.executable, "-m", f"benchmarks.{name}"]).returncode for name in names or NAMES)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
