"""Why a product is on another one's page, or is not, by the run that is published now."""

from __future__ import annotations

from collections.abc import Sequence

from vsspark.job import cli


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run_job("explain", argv)


if __name__ == "__main__":
    raise SystemExit(main())
