"""`neighbours` into product lists, through the gate, into `similar_products`; then the report."""

from __future__ import annotations

from collections.abc import Sequence

from vsspark.job import cli, pipeline


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run_job("publish", pipeline.publish, argv, pipeline.force_arguments)


if __name__ == "__main__":
    raise SystemExit(main())
