"""The bytes behind an image's URI: a local file, an object on S3, or a web address. A URI is a plain name, see
storage.filesystems; a web address is what a browser takes.

Where nothing has that very name, the other names of `names` are tried: NFC and NFD, and percent-decoded for a name with
a scheme. A plain path is never decoded; the detail says which file would be there if it were.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from functools import lru_cache

from vsspark.config import ImagesConfig
from vsspark.errors import ImageError, Reason
from vsspark.images import web
from vsspark.images.names import local_path, object_keys
from vsspark.images.objects import check_size, read_object, stat_object
from vsspark.images.retries import TransientError, retry
from vsspark.storage.filesystems import S3_SCHEMES, split_uri


def read_image(uri: str, config: ImagesConfig, storage_options: Mapping[str, str] | None = None) -> bytes:
    """All bytes of one image file.

    uri: a local path, `file:/...`, `s3a://bucket/key` (also s3://, s3n://), or an http: or https: address.
    storage_options: Hadoop's own names, `fs.s3a.endpoint` and so on; see `storage.filesystems`. Raises ImageError:
    MISSING, UNREADABLE (directory, no permission, the store kept failing), REFUSED (a scheme or address that is never
    read), OUTSIDE_ROOT (by a link), EMPTY, TOO_MANY_BYTES (seen before reading).
    """
    scheme, path = _split(uri)
    if scheme == "file":
        return _read_local(path, config, encoded=path != uri)
    if scheme not in (*S3_SCHEMES, *web.SCHEMES):
        raise ImageError(Reason.REFUSED, f"{scheme}:// is not read here; use a local path, file:, s3a:// or https://")
    try:
        if scheme in web.SCHEMES:
            return retry(web.read_web, config, uri, config)
        return _read_object(path, config, dict(storage_options or {}))
    except TransientError as error:
        raise ImageError(Reason.UNREADABLE, f"the store failed {config.attempts} times, last: {error}") from None


def stat_image(
    uri: str, config: ImagesConfig, storage_options: Mapping[str, str] | None = None
) -> tuple[int, str] | None:
    """(size in bytes, fingerprint) of the file, without reading it; None where it cannot be reached: `read_image` gives
    the reason.

    The fingerprint is size and modification time of a local file, the ETag of an object or web page, or the time that a
    web server states: where it is the same, so is the content.
    """
    scheme, path = _split(uri)
    if scheme == "file":
        try:
            path = _path_there(path, encoded=path != uri)
            status = os.stat(path)
        except (OSError, ValueError):
            return None
        if _leads_outside(path, config.link_roots):
            return None
        return (status.st_size, f"{status.st_size:x}-{status.st_mtime_ns:x}") if stat.S_ISREG(status.st_mode) else None
    if scheme not in (*S3_SCHEMES, *web.SCHEMES):
        return None
    try:
        if scheme in web.SCHEMES:
            return retry(web.stat_web, config, uri, config)
        # Twice as often as a picture: a file that could not be asked for counts as changed, and is read.
        often = config.model_copy(update={"attempts": 2 * config.attempts})
        for name in (path, *_other_objects(path)):
            if (about := retry(stat_object, often, name, config, dict(storage_options or {}))) is not None:
                return about
    except TransientError:
        pass
    return None


def _split(uri: str) -> tuple[str, str]:
    """As `split_uri`, the scheme of a web address in small letters."""
    scheme, path = split_uri(uri)
    return (scheme.lower() if scheme.lower() in web.SCHEMES else scheme), path


def _path_there(path: str, encoded: bool) -> str:
    """The path, or the one that `names` finds where nothing is there. encoded: whether it may be percent-encoded."""
    return path if os.path.lexists(path) else local_path(path, encoded) or path


def _read_local(path: str, config: ImagesConfig, encoded: bool) -> bytes:
    try:
        path = _path_there(path, encoded)
        # O_NONBLOCK: opening a named pipe must not wait for somebody to write into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        raise ImageError(Reason.MISSING, f"no such file: {path}{_hint(path, encoded)}") from None
    except (OSError, ValueError) as error:  # ValueError: a null character or a lone surrogate in the name
        raise ImageError(Reason.UNREADABLE, f"{path!r}: {error}") from None
    try:
        status = os.fstat(descriptor)
        # Checked on the open file: a link could change between a check of its name and the read.
        if _leads_outside(f"/proc/self/fd/{descriptor}" if os.path.isdir("/proc/self/fd") else path, config.link_roots):
            raise ImageError(Reason.OUTSIDE_ROOT, f"{path} leads outside the roots the catalogue may read from")
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(Reason.UNREADABLE, f"{path} is a directory")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(Reason.UNREADABLE, f"{path} is no regular file")
        check_size(status.st_size, config)
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(config.max_bytes)
    except OSError as error:
        raise ImageError(Reason.UNREADABLE, f"{path}: {error}") from None
    finally:
        os.close(descriptor)


def _hint(path: str, encoded: bool) -> str:
    """What to change where a plain path seems to be percent-encoded."""
    if not encoded and (found := local_path(path, encoded=True)) is not None:
        return f"; there is {found!r}: write the name decoded, or file: before the path"
    return ""


def _leads_outside(path: str, roots: tuple[str, ...] | None) -> bool:
    """Whether the file behind all links lies below none of the roots; None allows every place, and then the links are
    not followed here.
    """
    return roots is not None and not os.path.realpath(path).startswith(_real_folders(roots))


@lru_cache(maxsize=32)
def _real_folders(roots: tuple[str, ...]) -> tuple[str, ...]:
    """The local ones among the roots, links followed, each with a slash behind it."""
    split = [split_uri(root) for root in roots]
    paths = [_path_there(path, encoded=False) for scheme, path in split if scheme == "file"]
    return tuple(os.path.join(os.path.realpath(path), "") for path in paths)


def _other_objects(path: str) -> list[str]:
    bucket, slash, key = path.partition("/")
    return [bucket + slash + name for name in object_keys(key)]


def _read_object(path: str, config: ImagesConfig, options: dict[str, str]) -> bytes:
    """The object's bytes, under whichever of its names it is there; the first name's error where it is under none."""
    try:
        return retry(read_object, config, path, config, options)
    except ImageError as error:
        if error.reason is not Reason.MISSING:
            raise
        missing = error
    for name in _other_objects(path):
        try:
            return retry(read_object, config, name, config, options)
        except ImageError as error:
            if error.reason is not Reason.MISSING:
                raise
    raise missing
