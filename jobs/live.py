"""A page on which one takes a picture and gets similar products of the run that is published now."""

from __future__ import annotations

from collections.abc import Sequence

from vsspark.job import cli


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run_job("live", argv)


if __name__ == "__main__":
    raise SystemExit(main())
