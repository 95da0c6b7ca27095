"""Products like the pictures given on the command line, from the run that is published now."""

from __future__ import annotations

from collections.abc import Sequence

from vsspark.job import cli, pipeline


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run_job("query", pipeline.query, argv, pipeline.query_arguments)


if __name__ == "__main__":
    raise SystemExit(main())
