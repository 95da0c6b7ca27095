"""Where a catalogue's image names lead, and which of them may be read."""

from __future__ import annotations

import os
import posixpath
import re

from pyspark.sql import Column
from pyspark.sql import functions as F

from vsspark.config import CatalogueConfig

ABSOLUTE = r"^([A-Za-z][A-Za-z0-9+.\-]*://|file:/|/)"  # a URI, or a local path


def resolve_root(config: CatalogueConfig) -> str:
    """What relative image paths are relative to: `catalogue.images_root`, else the folder that holds the table; local
    paths made absolute.
    """
    return absolute(
        config.images_root if config.images_root is not None else posixpath.dirname(config.table.rstrip("/"))
    )


def absolute(folder: str) -> str:
    """A URI without its trailing slash, or a local path made absolute and free of `..`."""
    return folder.rstrip("/") if re.match(ABSOLUTE, folder) and not folder.startswith("/") else os.path.abspath(folder)


def leads_outside(uri: Column, config: CatalogueConfig) -> Column:
    """True where a uri climbs by `..`, or lies below none of `catalogue.allowed_roots` (when that is given)."""
    climbs = uri.rlike(r"(^|[/\\])\.\.([/\\]|$)")
    if config.allowed_roots is None:
        return climbs
    inside = F.lit(False)
    for root in config.allowed_roots:
        inside = inside | uri.startswith(absolute(root).rstrip("/") + "/")
    return climbs | ~inside
