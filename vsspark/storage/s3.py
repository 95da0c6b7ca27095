"""S3 as Hadoop's S3A reads it, for pyarrow, boto3 and delta-rs: one reading of `fs.s3a.` for the three. Free of Spark.

What Python cannot do as S3A does it is a ConfigError that names the key; nothing is left out in silence.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from pyarrow import fs

from vsspark.errors import ConfigError

if TYPE_CHECKING:
    from botocore.client import BaseClient

_KEYS = ("SimpleAWSCredentialsProvider", "TemporaryAWSCredentialsProvider")
_NOBODY = ("AnonymousAWSCredentialsProvider", "AnonymousCredentialsProvider")
_ENVIRONMENT = "EnvironmentVariableCredentialsProvider"
# Links of the chain that AWS's libraries follow by themselves on each worker.
_CHAIN = (
    "DefaultAWSCredentialsProviderChain",
    "DefaultCredentialsProvider",
    "ProfileCredentialsProvider",
    "WebIdentityTokenCredentialsProvider",
    "WebIdentityTokenFileCredentialsProvider",
    "IAMInstanceCredentialsProvider",
    "InstanceProfileCredentialsProvider",
    "EC2ContainerCredentialsProviderWrapper",
    "ContainerCredentialsProvider",
)
_REGION = re.compile(r"(?:^|\.)s3(?:-fips)?(?:\.dualstack)?[.-]([a-z]{2}(?:-[a-z]+)+-\d+)(?:\.vpce)?\.amazonaws\.com")


@dataclass(frozen=True)
class S3Settings:
    """How to reach one bucket. endpoint: with its scheme; None = AWS. Without keys and not anonymous: AWS's chain."""

    endpoint: str | None
    region: str | None
    path_style: bool
    access_key: str | None = field(repr=False)
    secret_key: str | None = field(repr=False)
    session_token: str | None = field(repr=False)
    anonymous: bool
    proxy: str | None = field(repr=False)  # a URL that may hold a password


class _Options:
    """The settings of one bucket: `fs.s3a.bucket.NAME.` wins over `fs.s3a.`"""

    def __init__(self, bucket: str, options: Mapping[str, str]):
        self._options, self._places = options, (f"fs.s3a.bucket.{bucket}.", "fs.s3a.")

    def named(self, name: str) -> tuple[str, str]:
        """(the whole key, the value); an empty value where nothing is set."""
        for place in self._places:
            if value := str(self._options.get(place + name) or "").strip():
                return place + name, value
        return self._places[-1] + name, ""

    def __getitem__(self, name: str) -> str | None:
        return self.named(name)[1] or None

    def true(self, name: str, default: str = "false") -> bool:
        return (self[name] or default).lower() == "true"


def s3_settings(bucket: str, options: Mapping[str, str]) -> S3Settings:
    """The settings that hold for one bucket; hashable, so that buckets with the same settings share a client.

    options: Hadoop's names, see `storage.filesystems.open_filesystem`. Raises ConfigError for what cannot be passed on.
    """
    own = _Options(bucket, options)
    _refuse_unreadable(own, options)
    endpoint = own["endpoint"]
    if endpoint and "://" not in endpoint:
        endpoint = f"{'https' if own.true('connection.ssl.enabled', 'true') else 'http'}://{endpoint}"
    # An endpoint of one's own has no region to look up; the signature still wants a name.
    region = own["endpoint.region"] or (endpoint and (region_of(endpoint) or "us-east-1")) or None
    who = _identity(own)
    keys = [own[name] if who == "keys" else None for name in ("access.key", "secret.key", "session.token")]
    return S3Settings(endpoint, region, own.true("path.style.access"), *keys, who == "nobody", _proxy(own))


def region_of(endpoint: str) -> str | None:
    """The region that an endpoint of AWS names; None for others, and for the one of all regions."""
    match = _REGION.search(endpoint.partition("://")[2].partition("/")[0] or endpoint)
    return match and match[1]


def _identity(own: _Options) -> str:
    """keys, nobody or chain: the first of the providers that would have something to give."""
    has_keys = bool(own["access.key"] and own["secret.key"])
    key, value = own.named("aws.credentials.provider")
    for provider in filter(None, re.split(r"[\s,]+", value)):
        name = provider.rpartition(".")[2]
        if name in _KEYS and has_keys:
            return "keys"
        if name in _NOBODY:
            return "nobody"
        if name in _CHAIN or (name == _ENVIRONMENT and "AWS_ACCESS_KEY_ID" in os.environ):
            return "chain"
        if name not in (*_KEYS, _ENVIRONMENT):
            known = ", ".join((*_KEYS, _ENVIRONMENT, *_CHAIN, *_NOBODY))
            raise ConfigError(f"{key}={value}: Python workers cannot ask {provider}; they know {known}")
    return "chain" if value or not has_keys else "keys"


def _refuse_unreadable(own: _Options, options: Mapping[str, str]) -> None:
    key, value = own.named("requester.pays.enabled")
    if value.lower() == "true":
        raise ConfigError(f"{key}={value}: Python workers cannot read buckets whose requester pays: copy the pictures")
    for name in ("encryption.algorithm", "server-side-encryption-algorithm"):
        key, value = own.named(name)
        if value.upper() == "SSE-C" or value.upper().startswith("CSE-"):
            raise ConfigError(f"{key}={value}: Python workers cannot decrypt {value}; use SSE-S3 or SSE-KMS")
    if not own["access.key"]:
        files = own.named("security.credential.provider.path")
        general = "hadoop.security.credential.provider.path"
        key, value = files if files[1] else (general, options.get(general, ""))
        if value:
            raise ConfigError(
                f"{key}={value}: it gave no fs.s3a.access.key; only a job with Spark can read such a file"
            )


def _proxy(own: _Options) -> str | None:
    host, secure = own["proxy.host"], own.true("proxy.ssl.enabled")
    if host is None:
        return None
    user = own["proxy.username"]
    login = f"{quote(user, safe='')}:{quote(own['proxy.password'] or '', safe='')}@" if user else ""
    return f"{'https' if secure else 'http'}://{login}{host}:{own['proxy.port'] or (443 if secure else 80)}"


@lru_cache(maxsize=32)
def arrow_client(settings: S3Settings, timeout_s: float, attempts: int) -> fs.S3FileSystem:
    """pyarrow's file system; timeout_s: seconds per connection and per request. attempts: tries per request."""
    scheme, _, host = (settings.endpoint or "https://").partition("://")
    return fs.S3FileSystem(
        access_key=settings.access_key,
        secret_key=settings.secret_key,
        session_token=settings.session_token,
        anonymous=settings.anonymous,
        region=settings.region,
        scheme=scheme,
        endpoint_override=host.rstrip("/") or None,
        force_virtual_addressing=bool(host) and not settings.path_style,
        proxy_options=settings.proxy,
        tls_ca_file_path=os.environ.get("AWS_CA_BUNDLE"),  # as boto3 does; pyarrow looks at no variable
        connect_timeout=timeout_s,
        request_timeout=timeout_s,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=attempts),
    )


@lru_cache(maxsize=1)
def has_boto3() -> bool:
    """Whether the extra `s3` is installed."""
    try:
        import boto3  # noqa: F401
    except ImportError:
        return False
    return True


@lru_cache(maxsize=32)
def boto_client(settings: S3Settings, timeout_s: float) -> BaseClient:
    """boto3's client, which tries each request once: the retries are counted by the caller."""
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=settings.endpoint,
        region_name=settings.region,
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key,
        aws_session_token=settings.session_token,
        config=Config(
            connect_timeout=timeout_s,
            read_timeout=timeout_s,
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path" if settings.path_style else "auto"},
            proxies=settings.proxy and {"http": settings.proxy, "https": settings.proxy},
            **({"signature_version": UNSIGNED} if settings.anonymous else {}),
        ),
    )


def delta_settings(settings: S3Settings) -> dict[str, str]:
    """The same for delta-rs."""
    endpoint = settings.endpoint
    named = {
        "aws_endpoint_url": endpoint,
        "aws_region": settings.region,
        "aws_access_key_id": settings.access_key,
        "aws_secret_access_key": settings.secret_key,
        "aws_session_token": settings.session_token,
        "aws_skip_signature": "true" if settings.anonymous else None,
        "aws_allow_http": "true" if endpoint and endpoint.startswith("http://") else None,
        "aws_virtual_hosted_style_request": str(not settings.path_style).lower() if endpoint else None,
        "proxy_url": settings.proxy,
    }
    return {name: value for name, value in named.items() if value is not None}
