"""Fits an encoder: `python jobs/train.py --config conf/default-encoder.yaml [--set key=value ...]`. Run again, it goes on where it was stopped."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from vsspark.errors import VssparkError


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="train")
    parser.add_argument("--config", metavar="FILE", required=True, help="YAML file, for example conf/default-encoder.yaml")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="override one key, for example epochs=10")
    args = parser.parse_args(argv)
    # TensorFlow reads both when it is imported; oneDNN is off by default on some CPUs, where it doubles the speed.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from vsspark import progress
    from vsspark.training.config import load_training_config
    from vsspark.training.train import train

    progress.configure_logging()
    try:
        result = train(load_training_config(args.config, args.set))
    except VssparkError as error:
        print(f"train: {error}", file=sys.stderr)
        return error.exit_code
    print(f"train: {'stopped after `minutes`; call again to go on' if result is None else f'the encoder is in {result}'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
