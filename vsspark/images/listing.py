"""Sizes and ETags of many objects by listings: a page tells of a thousand keys, a HEAD of one.

Needs boto3 (the extra `s3`); without it every object is asked for by itself. pyarrow's listings have no ETags.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from vsspark.config import ImagesConfig
from vsspark.errors import ConfigError
from vsspark.images.names import object_keys
from vsspark.images.retries import TransientError, retry
from vsspark.storage.filesystems import S3_SCHEMES, split_uri
from vsspark.storage.s3 import boto_client, has_boto3, s3_settings

if TYPE_CHECKING:
    from botocore.client import BaseClient

# Keys that a page must tell of to be worth its price: S3 asks 12 times as much for a page as for a HEAD.
WORTH_A_PAGE = 12
_PAGE = 1000  # keys, the most that S3 gives
_PAUSE = 64  # keys that are left to HEADs after a page that was not worth it

Stated = dict[str, tuple[int, str] | None]


def list_objects(uris: Sequence[str], config: ImagesConfig, options: Mapping[str, str]) -> Stated:
    """uri -> (size in bytes, ETag), or None where there is no such object; only of URIs that listings told of.

    uris: of any scheme. The keys of a bucket are met in order: a page begins at the next one that is unknown, and
    where a page told of few, the keys after it are left out (the caller asks for them one by one). A store that fails
    is asked again, `images.attempts` times for each page; what it then has not told is left out too. So is a key that
    is not there and may be there under another name (`images.names`).
    Cost: one request for each thousand keys of a folder of which most are wanted.
    """
    if not has_boto3():
        return {}
    buckets: dict[str, dict[str, str]] = {}
    for uri in uris:
        scheme, path = split_uri(uri)
        bucket, _, key = path.partition("/")
        if scheme in S3_SCHEMES and key and not key.endswith("/"):
            buckets.setdefault(bucket, {})[key] = uri
    stated: Stated = {}
    for bucket, by_key in buckets.items():
        if len(by_key) >= WORTH_A_PAGE:
            try:
                client = boto_client(s3_settings(bucket, options), config.timeout_s)
            except ConfigError:
                continue  # `read_image` says it, for every picture
            found = _told(client, bucket, sorted(by_key, key=lambda key: key.encode()), config)
            stated |= {by_key[key]: answer for key, answer in found if answer is not None or not object_keys(key)}
    return stated


def _told(
    client: BaseClient, bucket: str, keys: Sequence[str], config: ImagesConfig
) -> Iterator[tuple[str, tuple[int, str] | None]]:
    """The keys, in their order, with what pages say of each; some are left out."""
    prefix, at = os.path.commonprefix([keys[0], keys[-1]]), 0  # noqa: RUF071 - of letters, not of folders
    while len(keys) - at >= WORTH_A_PAGE:
        try:
            page = retry(_page, config, client, bucket, prefix, _before(keys[at]))
        except TransientError:
            return
        names = [entry["Key"].encode() for entry in page.get("Contents", ())]
        if names != sorted(names):
            return  # a store whose listings have no order (S3's directory buckets)
        sizes = {entry["Key"]: (entry["Size"], entry["ETag"].strip('"')) for entry in page.get("Contents", ())}
        last = names[-1] if page["IsTruncated"] and names else None
        begin = at
        while at < len(keys) and (last is None or keys[at].encode() <= last):
            yield keys[at], sizes.get(keys[at])
            at += 1
        if at - begin < WORTH_A_PAGE:
            at += _PAUSE


def _page(client: BaseClient, bucket: str, prefix: str, start: str) -> dict:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return client.list_objects_v2(Bucket=bucket, Prefix=prefix, StartAfter=start, MaxKeys=_PAGE)
    except (BotoCoreError, ClientError) as error:
        raise TransientError(str(error)) from None


def _before(key: str) -> str:
    """A key that comes shortly before this one in the order of UTF-8."""
    last = ord(key[-1])
    return key[:-1] + (chr(last - 1) + "~" if last > 1 else "")
