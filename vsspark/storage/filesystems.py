"""The pyarrow file system behind a URI: a local path, or S3 with Hadoop's own settings. Free of Spark.

A URI here is a plain name: spaces, `%`, `#` and non-ASCII letters stand for themselves and nothing is percent-decoded,
because catalogues hold file names, and a file may well be called `100%25 wool.jpg`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from pyarrow import fs

from vsspark.errors import ConfigError
from vsspark.storage.s3 import arrow_client, s3_settings

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*")
S3_SCHEMES = ("s3a", "s3", "s3n")
# An option of Spark's readers: [ ] { } * ? in a path are characters, not a pattern.
PLAIN_PATHS = {"__globPaths__": "false"}


def split_uri(uri: str) -> tuple[str, str]:
    """(scheme, path): `file` and a local path, or the URI's scheme and what follows `://`, as it is written."""
    scheme, colon, rest = uri.partition(":")
    if scheme == "file" and colon:
        if rest.startswith("//"):  # file://host/path: the host, mostly empty, names this machine
            rest = "/" + rest[2:].partition("/")[2]
        return "file", rest
    if rest.startswith("//") and _SCHEME.fullmatch(scheme):
        return scheme, rest[2:]
    return "file", uri


def open_filesystem(
    uri: str, storage_options: Mapping[str, str] | None = None, timeout_s: float = 20.0, attempts: int = 4
) -> tuple[fs.FileSystem, str]:
    """The pyarrow file system that holds a URI, and the URI's path on it.

    storage_options: Hadoop's settings of S3A, those of `config.store_settings.S3_OPTIONS`; `fs.s3a.bucket.NAME.` + the
    same overrides for one bucket. Without keys, AWS's own credential chain. timeout_s: seconds per connection and per
    request. attempts: tries per request, with backoff. Raises ConfigError for a scheme that is not handled, and for a
    setting that cannot be passed on (`storage.s3`).
    """
    scheme, path = split_uri(uri)
    if scheme == "file":
        return fs.LocalFileSystem(), os.path.abspath(path)
    if scheme not in S3_SCHEMES:
        raise ConfigError(f"{uri}: {scheme}:// is not handled here; allowed are a local path, file: and s3a://")
    settings = s3_settings(path.partition("/")[0], storage_options or {})
    return arrow_client(settings, timeout_s, attempts), path.rstrip("/")
