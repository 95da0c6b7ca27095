"""Where the tables are, how they are written, and who may write them."""

from vsspark.storage.store import Store

__all__ = ["Store"]
