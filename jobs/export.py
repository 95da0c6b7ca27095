"""The published lists as files for another system: all of them, or what differs from the last export."""

from __future__ import annotations

from collections.abc import Sequence

from vsspark.job import cli


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run_job("export", argv)


if __name__ == "__main__":
    raise SystemExit(main())
