"""What a run needs, looked at one by one: Java, Spark, catalogue, stores, encoder, memory, GPUs, tracking."""

from __future__ import annotations

from collections.abc import Sequence

from vsspark.job import cli


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run_job("doctor", argv)


if __name__ == "__main__":
    raise SystemExit(main())
