"""Makes an earlier published run current again: the one before, or `--to RUN_ID`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from vsspark import cli, pipeline


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", metavar="RUN_ID", default=None, help="the published run to go back to (default: the one before the current)")


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run_job("rollback", pipeline.rollback, argv, add_arguments)


if __name__ == "__main__":
    raise SystemExit(main())
