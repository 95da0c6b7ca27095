"""Where a catalogue's image names lead, and which of them may be read."""

from __future__ import annotations

import os
import posixpath
import re

from pyspark.sql import Column
from pyspark.sql import functions as F

from vsspark.config import CatalogueConfig
from vsspark.errors import ConfigError

ABSOLUTE = r"^([A-Za-z][A-Za-z0-9+.\-]*://|file:/|/)"  # a URI, or a local path
_LOCAL = r"^file:(///|/(?!/))"  # of a URI of this machine, up to its path's first slash
_CLIMBS = r"(^|[/\\])\.\.([/\\]|$)"
_OF_A_HOST = r"^//[A-Za-z0-9\-]+(\.[A-Za-z0-9\-]+)*\.[A-Za-z]{2,}/"


def resolve_root(config: CatalogueConfig) -> str:
    """What relative image paths are relative to: `catalogue.images_root`, else the folder that holds the table; local
    paths made absolute.
    """
    if config.images_root is None and (config.table.startswith("jdbc:") or config.format in ("jdbc", "table")):
        raise ConfigError(
            "catalogue.images_root: needed, a SQL table is in no folder: what relative image names are below, "
            "or / where all are absolute"
        )
    return absolute(
        config.images_root if config.images_root is not None else posixpath.dirname(config.table.rstrip("/"))
    )


def image_uri(name: Column, config: CatalogueConfig) -> Column:
    """Where an image is read from. A name with a leading slash is below images_root where `catalogue.leading_slash`
    says so, or where it says nothing and there is an images_root; names that begin with it stay as they are.
    """
    root = resolve_root(config)
    below = (config.leading_slash or ("images_root" if config.images_root else "disk")) == "images_root"
    uri = F.when(name.rlike(_OF_A_HOST), F.concat(F.lit("https:"), name)).when(name.rlike(ABSOLUTE), name)
    uri = uri.otherwise(F.concat(F.lit(root + "/"), name))
    if not below:
        return uri
    slashed = name.startswith("/") & ~name.startswith("//") & ~name.startswith(root + "/")
    return F.when(slashed, F.concat(F.lit(root), name)).otherwise(uri)


def absolute(folder: str) -> str:
    """A URI without its trailing slash, or a local path made absolute and free of `..`."""
    return folder.rstrip("/") if re.match(ABSOLUTE, folder) and not folder.startswith("/") else os.path.abspath(folder)


def leads_outside(uri: Column, config: CatalogueConfig) -> Column:
    """True where a uri climbs by `..`, or lies below none of `catalogue.allowed_roots` (when that is given).

    A `file:` URI is the path behind it, as it is written or percent-decoded: it is read under either name.
    """
    if config.allowed_roots is None:
        return uri.rlike(_CLIMBS)
    path = F.regexp_replace(uri, _LOCAL, "/")
    decoded = F.coalesce(F.try_url_decode(F.replace(path, F.lit("+"), F.lit("%2B"))), path)
    decoded = F.when((path != uri) & ~decoded.rlike(_CLIMBS), decoded).otherwise(path)
    inside = F.lit(False)
    for root in config.allowed_roots:
        below = absolute(re.sub(_LOCAL, "/", root)).rstrip("/") + "/"
        inside = inside | path.startswith(below) | decoded.startswith(below)
    return uri.rlike(_CLIMBS) | ~inside
