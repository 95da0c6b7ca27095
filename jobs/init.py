"""A first configuration for a feed that nobody has described yet."""

from __future__ import annotations

from collections.abc import Sequence

from vsspark.job import cli


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run_job("init", argv)


if __name__ == "__main__":
    raise SystemExit(main())
