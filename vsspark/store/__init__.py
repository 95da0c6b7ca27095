"""Where the tables are and how they are written."""

from vsspark.store.store import Store

__all__ = ["Store"]
