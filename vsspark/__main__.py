"""`python -m vsspark JOB [arguments]`: the same as the console script `vsspark`."""

from vsspark.job.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
