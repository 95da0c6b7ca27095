"""Fits an encoder; run again after a kill, it goes on where it was.

To a shop's catalogue, from the same file as the main job:
    jobs/train.py --config conf/shop.yaml --set training.weights=FILE
The one that ships with the package:
    jobs/train.py --config conf/default-encoder.yaml
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from vsspark.default_encoder import job as shipped_encoder
from vsspark.job import cli


def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    return shipped_encoder.main(argv) if shipped_encoder.is_meant(argv) else cli.run_job("train", argv)


if __name__ == "__main__":
    raise SystemExit(main())
