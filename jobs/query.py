"""Products like the pictures given on the command line, from the run that is published now."""

from __future__ import annotations

from collections.abc import Sequence

from vsspark.job import cli


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run_job("query", argv)


if __name__ == "__main__":
    raise SystemExit(main())
