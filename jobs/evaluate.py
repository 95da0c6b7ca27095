"""Encoders x layers x metrics on a sample of the catalogue, with a random control and a rating sheet; `--ratings`
reads the sheets back.
"""

from __future__ import annotations

from collections.abc import Sequence

from vsspark.job import cli


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run_job("evaluate", argv)


if __name__ == "__main__":
    raise SystemExit(main())
