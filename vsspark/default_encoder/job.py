"""`jobs/train.py` with the configuration of the encoder that ships with the package: no Spark, no catalogue."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from vsspark.errors import VssparkError


def is_meant(argv: Sequence[str]) -> bool:
    """Whether the file after --config has keys of `DistillationConfig` at its top, where a shop's has sections such as
    `catalogue:`.
    """
    from vsspark.default_encoder.config import DistillationConfig

    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--config")
    file = parser.parse_known_args(argv)[0].config
    try:
        tree = yaml.safe_load(Path(file or "").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False  # the shop's loader says what is wrong with it
    return isinstance(tree, dict) and not DistillationConfig.model_fields.keys().isdisjoint(tree)


def main(argv: Sequence[str]) -> int:
    """The exit code; the result's folder is printed."""
    parser = argparse.ArgumentParser(prog="train")
    parser.add_argument(
        "--config", metavar="FILE", required=True, help="YAML file, for example conf/default-encoder.yaml"
    )
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="override one key, for example epochs=10"
    )
    args = parser.parse_args(argv)
    # TensorFlow reads both when it is imported; oneDNN is off by default on some CPUs, where it doubles the speed.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from vsspark import progress
    from vsspark.config import load_settings
    from vsspark.default_encoder.config import DistillationConfig
    from vsspark.default_encoder.distil import distil_encoder

    progress.configure_logging()
    try:
        result = distil_encoder(load_settings(DistillationConfig, args.config, args.set))
    except VssparkError as error:
        print(f"train: {error}", file=sys.stderr)
        return error.exit_code
    print(
        f"train: {'stopped after `minutes`; call again to go on' if result is None else f'the encoder is in {result}'}"
    )
    return 0
