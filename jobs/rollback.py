"""Makes an earlier published run current again: the one before, or `--to RUN_ID`."""

from __future__ import annotations

from collections.abc import Sequence

from vsspark.job import cli, pipeline


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run_job("rollback", pipeline.rollback, argv, pipeline.rollback_arguments)


if __name__ == "__main__":
    raise SystemExit(main())
