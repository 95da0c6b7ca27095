"""Sizes and ETags of many objects by listings: a page tells of a thousand keys, a HEAD of one.

Needs boto3 (the extra `s3`); without it every object is asked for by itself. pyarrow's listings have no ETags.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from vsspark.config import ImagesConfig
from vsspark.images.names import object_keys
from vsspark.images.retries import TransientError, retry
from vsspark.storage.filesystems import S3_SCHEMES, s3_settings, split_uri

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
    if _boto3() is None:
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
            client = _client(s3_settings(bucket, options), config.timeout_s)
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


@lru_cache(maxsize=1)
def _boto3():
    try:
        import boto3
    except ImportError:
        return None
    return boto3


@lru_cache(maxsize=32)
def _client(settings: tuple[tuple[str, str], ...], timeout_s: float) -> BaseClient:
    from botocore.config import Config

    given = dict(settings)
    endpoint = given.get("endpoint")
    if endpoint and "://" not in endpoint:
        secure = given.get("connection.ssl.enabled", "true").lower() != "false"
        endpoint = f"{'https' if secure else 'http'}://{endpoint}"
    path_style = given.get("path.style.access", "false").lower() != "false"
    return _boto3().client(
        "s3",
        endpoint_url=endpoint,
        region_name=given.get("endpoint.region", "us-east-1" if endpoint else None),
        aws_access_key_id=given.get("access.key"),
        aws_secret_access_key=given.get("secret.key"),
        aws_session_token=given.get("session.token"),
        config=Config(
            connect_timeout=timeout_s,
            read_timeout=timeout_s,
            retries={"total_max_attempts": 1},  # they are counted in one place, `images.fetch.retry`
            s3={"addressing_style": "path" if path_style else "auto"},
        ),
    )
