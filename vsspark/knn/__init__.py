"""Nearest neighbours: the engine without Spark (`self_join`, `search`) and, in `vsspark.knn.spark`, the distributed stage."""

from vsspark.knn.engine import search, self_join

__all__ = ["search", "self_join"]
