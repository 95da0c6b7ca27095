"""Makes an earlier published run current again: the one before, or `--to RUN_ID`."""

from __future__ import annotations

from collections.abc import Sequence

from vsspark.job import cli


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run_job("rollback", argv)


if __name__ == "__main__":
    raise SystemExit(main())
