"""An object of S3 by its very key. pyarrow takes a key for a path: it refuses `a//b`, and asks for `a/b` in place of
`a/./b`, which may be another picture. Such keys go through boto3 (the extra `s3`).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager

import pyarrow as pa
from pyarrow import fs

from vsspark.config import ImagesConfig
from vsspark.errors import ConfigError, ImageError, Reason
from vsspark.images.retries import TransientError
from vsspark.storage.s3 import S3Settings, arrow_client, boto_client, has_boto3, s3_settings


def read_object(path: str, config: ImagesConfig, options: Mapping[str, str]) -> bytes:
    """All bytes of an object. path: bucket/key. Raises ImageError, or TransientError where a retry may help."""
    settings = _settings(path, options)
    if _is_no_path(path):
        return _read_by_key(path, config, settings)
    # One attempt per request: the retries are counted in one place, around the whole object. AWS's own strategy gives
    # up early: all requests of a client share one budget of retries.
    store = arrow_client(settings, config.timeout_s, 1)
    try:
        try:
            with store.open_input_file(path) as file:
                size = file.size()
                check_size(size, config)
                data = file.read()
        except FileNotFoundError:
            raise _nothing_there(path, store) from None
    except pa.ArrowInvalid as error:
        raise ImageError(Reason.UNREADABLE, str(error)) from None
    except OSError as error:
        raise _failure(path, error) from None
    return _whole(data, size)


def stat_object(path: str, config: ImagesConfig, options: Mapping[str, str]) -> tuple[int, str] | None:
    """(size in bytes, ETag); None where there is none, or the store does not say. Raises TransientError."""
    try:
        settings = _settings(path, options)
        if _is_no_path(path):
            with _boto_errors(path):
                about = _by_key(settings, config).head_object(**_named(path))
            return about["ContentLength"], about["ETag"].strip('"')
        with arrow_client(settings, config.timeout_s, 1).open_input_stream(path) as stream:  # a HEAD; nothing is read
            told = stream.metadata()
        return int(told["Content-Length"]), told["ETag"].decode().strip('"')
    except OSError as error:
        if isinstance(failure := _failure(path, error), TransientError):
            raise failure from None
        return None
    except (ImageError, pa.ArrowException, KeyError, ValueError):
        return None  # a name that is none, or a store that does not say


def check_size(size: int, config: ImagesConfig) -> None:
    """Raises ImageError for an empty file and for one beyond `images.max_bytes`."""
    if size == 0:
        raise ImageError(Reason.EMPTY, "0 bytes")
    if size > config.max_bytes:
        raise ImageError(Reason.TOO_MANY_BYTES, f"{size} bytes, allowed are {config.max_bytes}")


def _settings(path: str, options: Mapping[str, str]) -> S3Settings:
    try:
        return s3_settings(path.partition("/")[0], options)
    except ConfigError as error:
        raise ImageError(Reason.UNREADABLE, str(error)) from None  # read again by the run after the setting is changed


def _is_no_path(path: str) -> bool:
    parts = path.split("/")
    return "" in parts[1:-1] or not {".", ".."}.isdisjoint(parts)


def _named(path: str) -> dict[str, str]:
    bucket, _, key = path.partition("/")
    return {"Bucket": bucket, "Key": key}


def _by_key(settings: S3Settings, config: ImagesConfig):
    if not has_boto3():
        told = "its key has an empty part, . or .. between slashes: to read it, install the extra s3 (boto3)"
        raise ImageError(Reason.UNREADABLE, told)
    return boto_client(settings, config.timeout_s)


def _read_by_key(path: str, config: ImagesConfig, settings: S3Settings) -> bytes:
    client = _by_key(settings, config)
    with _boto_errors(path):
        found = client.get_object(**_named(path))
        with found["Body"] as body:
            check_size(found["ContentLength"], config)
            return _whole(body.read(), found["ContentLength"])


@contextmanager
def _boto_errors(path: str):
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == 404:
            raise ImageError(Reason.MISSING, f"no such object: {path}") from None
        raise (_forbidden(path, error) if status == 403 else TransientError(str(error))) from None
    except BotoCoreError as error:
        raise TransientError(str(error)) from None


def _failure(path: str, error: OSError) -> ImageError | TransientError:
    """What pyarrow's error means: one that a retry may pass, or one that it will not."""
    if isinstance(error, PermissionError) or "ACCESS_DENIED" in str(error) or "HTTP status 403" in str(error):
        return _forbidden(path, error)
    if isinstance(error, FileNotFoundError):
        return ImageError(Reason.UNREADABLE, str(error))
    return TransientError(str(error))


def _forbidden(path: str, error: Exception) -> ImageError:
    """S3 answers 403 for a key that is not there to whoever may not list the bucket."""
    hint = f"{path} is missing, or no permission: without s3:ListBucket S3 answers 403 for both"
    return ImageError(Reason.UNREADABLE, f"{hint}; {error}")


def _whole(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise TransientError(f"got {len(data)} of {size} bytes")
    return data


def _nothing_there(path: str, store: fs.S3FileSystem) -> ImageError:
    """The error for a key without an object; one more request, which may fail as any other."""
    key = path.partition("/")[2]
    if not key or key.endswith("/") or store.get_file_info(path).type == fs.FileType.Directory:
        return ImageError(Reason.UNREADABLE, f"{path} is a folder")
    return ImageError(Reason.MISSING, f"no such object: {path}")
