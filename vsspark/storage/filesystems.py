"""The pyarrow file system behind a URI: a local path, or S3 with Hadoop's own settings. Free of Spark.

A URI here is a plain name: spaces, `%`, `#` and non-ASCII letters stand for themselves and nothing is percent-decoded,
because catalogues hold file names, and a file may well be called `100%25 wool.jpg`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import lru_cache

from pyarrow import fs

from vsspark.errors import ConfigError

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

    storage_options: `fs.s3a.` + endpoint, endpoint.region, access.key, secret.key, session.token, path.style.access,
    connection.ssl.enabled; `fs.s3a.bucket.NAME.` + the same overrides for one bucket. Without keys, AWS's own
    credential chain. timeout_s: seconds per connection and per request. attempts: tries per request, with backoff.
    Raises ConfigError for a scheme that is not handled.
    """
    scheme, path = split_uri(uri)
    if scheme == "file":
        return fs.LocalFileSystem(), os.path.abspath(path)
    if scheme not in S3_SCHEMES:
        raise ConfigError(f"{uri}: {scheme}:// is not handled here; allowed are a local path, file: and s3a://")
    bucket = path.partition("/")[0]
    return s3_client(bucket, storage_options or {}, timeout_s, attempts), path.rstrip("/")


def s3_client(bucket: str, storage_options: Mapping[str, str], timeout_s: float, attempts: int) -> fs.S3FileSystem:
    """The client of a bucket, shared by all buckets with the same settings; arguments as in `open_filesystem`."""
    return _s3(s3_settings(bucket, storage_options), timeout_s, attempts)


def s3_settings(bucket: str, options: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The settings that hold for one bucket, hashable, so that buckets with the same settings share a client."""
    names = (
        "endpoint",
        "endpoint.region",
        "access.key",
        "secret.key",
        "session.token",
        "path.style.access",
        "connection.ssl.enabled",
    )
    settings = {name: options.get(f"fs.s3a.bucket.{bucket}.{name}", options.get(f"fs.s3a.{name}")) for name in names}
    return tuple((name, str(value)) for name, value in settings.items() if value not in (None, ""))


@lru_cache(maxsize=32)
def _s3(settings: tuple[tuple[str, str], ...], timeout_s: float, attempts: int) -> fs.S3FileSystem:
    options = dict(settings)
    endpoint = options.get("endpoint")
    secure = options.get("connection.ssl.enabled", "true").lower() != "false"
    if endpoint and "://" in endpoint:
        scheme, _, endpoint = endpoint.partition("://")
        secure = scheme == "https"
    return fs.S3FileSystem(
        access_key=options.get("access.key"),
        secret_key=options.get("secret.key"),
        session_token=options.get("session.token"),
        # An endpoint of one's own has no region to look up; the signature still wants a name.
        region=options.get("endpoint.region", "us-east-1" if endpoint else None),
        scheme="https" if secure else "http",
        endpoint_override=endpoint,
        force_virtual_addressing=bool(endpoint) and options.get("path.style.access", "false").lower() == "false",
        connect_timeout=timeout_s,
        request_timeout=timeout_s,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=attempts),
    )
