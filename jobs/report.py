"""The visual report of the run that is published now, drawn again from its tables."""

from __future__ import annotations

from collections.abc import Sequence

from vsspark.job import cli


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run_job("report", argv)


if __name__ == "__main__":
    raise SystemExit(main())
