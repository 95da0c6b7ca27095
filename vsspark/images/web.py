"""Pictures at http: and https: addresses, as feeds name them.

A feed is untrusted input, and the workers stand inside a network. So an answer is taken only from a public address,
or from a host that `images.private_hosts` names; the address is checked on the open connection, where no name server
can still change it. A redirect may lead to the same host, to one that `images.redirect_hosts` names, and below
`catalogue.allowed_roots` where these are given. At most `images.host_requests` requests a worker are in flight to one
host; one that says when to come again (Retry-After) is asked then, within a minute.
"""

from __future__ import annotations

import ipaddress
import socket
import time
import warnings
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from fnmatch import fnmatchcase
from functools import lru_cache
from urllib.parse import urljoin

from vsspark import __version__
from vsspark.config import ImagesConfig
from vsspark.errors import ImageError, Reason
from vsspark.images.retries import TransientError

with warnings.catch_warnings():  # urllib3 adds filters for its own warnings to those of the process
    import urllib3
    from urllib3.connection import HTTPConnection, HTTPSConnection

SCHEMES = ("http", "https")
AGENT = f"vsspark/{__version__} (a shop's own catalogue pictures)"
_REDIRECTS = 5
_PATIENCE = 5  # times images.timeout_s: seconds that a whole answer may take
_LONGEST_WAIT = 60.0  # seconds that a host may ask for
_CHUNK = 2**16
_MAY_PASS = (408, 425, 429, 500, 502, 503, 504)  # statuses


class _PrivateAddress(Exception):
    """The host has an address inside a network, and nobody has allowed it."""


def read_web(url: str, config: ImagesConfig) -> bytes:
    """The bytes of one picture. Raises ImageError: MISSING (404, 410), REFUSED (private address, redirect elsewhere, user
    name in the address), UNREADABLE, EMPTY, TOO_MANY_BYTES; TransientError where another try may help.
    """
    answer = _ask("GET", url, config)
    try:
        return _body(answer, url, config)
    finally:
        answer.release_conn()


def stat_web(url: str, config: ImagesConfig) -> tuple[int, str] | None:
    """(size in bytes, fingerprint) as the server states them; None where it states neither ETag nor time and size, or
    cannot be asked. The fingerprint is the ETag, else time and size. Raises TransientError as above.
    """
    try:
        answer = _ask("HEAD", url, config)
    except ImageError:
        return None
    size, tag, changed = (answer.headers.get(name) for name in ("Content-Length", "ETag", "Last-Modified"))
    answer.release_conn()
    if size is None or not size.isdecimal() or (tag is None and changed is None):
        return None
    return int(size), tag.removeprefix("W/").strip('"') if tag is not None else f"{changed} {size}"


def _ask(method: str, url: str, config: ImagesConfig) -> urllib3.BaseHTTPResponse:
    """The answer with status 200, its body not read yet."""
    first = at = _checked(url)
    for _ in range(_REDIRECTS + 1):
        try:
            answer = _manager(config).request(
                method, at, headers={"User-Agent": AGENT, "Accept": "image/*, */*;q=0.5", "Accept-Encoding": "identity"},
                preload_content=False, redirect=False, retries=False,
            )  # fmt: skip
        except _PrivateAddress as error:
            raise _not_public(at, error) from None
        except urllib3.exceptions.SSLError as error:
            raise ImageError(Reason.UNREADABLE, f"{at}: {error}") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            private = _private_address(urllib3.util.parse_url(at).host, config)
            if private is not None:  # whether anything answers there is not for a feed to learn
                raise _not_public(at, private) from None
            raise TransientError(f"{at}: {error}") from None
        if answer.status in (301, 302, 303, 307, 308) and "Location" in answer.headers:
            answer.drain_conn()
            answer.release_conn()
            at = _checked(urljoin(at, answer.headers["Location"]))
            _check_redirect(first, at, config)
            continue
        if answer.status == 200:
            return answer
        answer.close()
        raise _refusal(answer, at)
    raise ImageError(Reason.UNREADABLE, f"{first}: more than {_REDIRECTS} redirects")


def _body(answer: urllib3.BaseHTTPResponse, url: str, config: ImagesConfig) -> bytes:
    stated = answer.headers.get("Content-Length")
    too_large = ImageError(Reason.TOO_MANY_BYTES, f"{stated or 'more'} bytes, allowed are {config.max_bytes}")
    if stated is not None and stated.isdecimal() and int(stated) > config.max_bytes:
        answer.close()
        raise too_large
    until, parts, size = time.monotonic() + _PATIENCE * config.timeout_s, [], 0
    try:
        while part := answer.read1(_CHUNK):
            parts.append(part)
            size += len(part)
            if size > config.max_bytes:
                raise too_large
            if time.monotonic() > until:
                raise TransientError(f"{url}: {size} bytes in {_PATIENCE * config.timeout_s:g} s")
    except (urllib3.exceptions.HTTPError, OSError) as error:
        answer.close()
        raise TransientError(f"{url}: {error}") from None
    except (ImageError, TransientError):
        answer.close()
        raise
    if stated is not None and stated.isdecimal() and size != int(stated):
        raise TransientError(f"{url}: got {size} of {stated} bytes")
    if size == 0:
        raise ImageError(Reason.EMPTY, "0 bytes")
    return b"".join(parts)


def _refusal(answer: urllib3.BaseHTTPResponse, url: str) -> Exception:
    said = f"{url}: HTTP {answer.status} {answer.reason or ''}".rstrip()
    if answer.status in (404, 410):
        return ImageError(Reason.MISSING, said)
    if answer.status not in _MAY_PASS:
        return ImageError(Reason.UNREADABLE, said)
    wait = _wait(answer.headers)
    if wait > _LONGEST_WAIT:
        return ImageError(Reason.UNREADABLE, f"{said}; it asks for {wait:.0f} seconds of patience")
    return TransientError(said, wait)


def _wait(headers: Mapping[str, str]) -> float:
    """Seconds that the host asks for; 0 where it asks for none."""
    given = headers.get("Retry-After", "").strip()
    if given.isdecimal():
        return float(given)
    try:
        return max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0


def _checked(url: str) -> str:
    """The address without its fragment, odd letters encoded. Raises ImageError where it is none, or not to be used."""
    try:
        parsed = urllib3.util.parse_url(url.strip())
    except urllib3.exceptions.LocationParseError:
        raise ImageError(Reason.UNREADABLE, f"{url!r} is no address") from None
    if parsed.scheme not in SCHEMES or not parsed.host:
        raise ImageError(Reason.REFUSED, f"{url!r}: expected an http:// or https:// address")
    if parsed.auth is not None:
        raise ImageError(
            Reason.REFUSED, f"an address of {parsed.host} holds a user name; it would stand in every table"
        )
    return parsed._replace(fragment=None).url


def _check_redirect(first: str, to: str, config: ImagesConfig) -> None:
    """Raises ImageError unless a picture's own address may lead there."""
    own, other = (urllib3.util.parse_url(url).host for url in (first, to))
    allowed = own == other or any(fnmatchcase(other, pattern.lower()) for pattern in config.redirect_hosts)
    if allowed and config.link_roots is not None:
        allowed = any(to.startswith(root.rstrip("/") + "/") for root in config.link_roots)
    if not allowed:
        raise ImageError(
            Reason.REFUSED, f"{first} leads to {to}; images.redirect_hosts names other hosts that it may lead to"
        )


@lru_cache(maxsize=4)
def _manager(config: ImagesConfig) -> urllib3.PoolManager:
    """The connections of this process, at most config.host_requests to a host."""
    private = config.private_hosts

    class Plain(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            _check_peer(self, private)

    class Secure(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            _check_peer(self, private)

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure

    timeout = urllib3.Timeout(connect=config.timeout_s, read=config.timeout_s)
    manager = urllib3.PoolManager(num_pools=64, maxsize=config.host_requests, block=True, timeout=timeout)
    manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    return manager


def _check_peer(connection: HTTPConnection, private: tuple[str, ...]) -> None:
    """Closes a connection to an address that is not public, unless its host may be private; nothing was sent yet."""
    address = connection.sock.getpeername()[0]
    if not _may_be_private(connection.host, private) and not _is_public(address):
        connection.close()
        raise _PrivateAddress(f"{connection.host} is {address}")


def _private_address(host: str, config: ImagesConfig) -> _PrivateAddress | None:
    """What is wrong with a host that could not be reached: None where its addresses are public, or may be private."""
    if _may_be_private(host, config.private_hosts):
        return None
    try:
        addresses = {str(found[4][0]) for found in socket.getaddrinfo(host.strip("[]"), None)}
    except OSError:
        return None
    private = sorted(address for address in addresses if not _is_public(address))
    return _PrivateAddress(f"{host} is {private[0]}") if private else None


def _may_be_private(host: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(host.lower().strip("[]"), pattern.lower()) for pattern in patterns)


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    return parsed.is_global and not parsed.is_multicast


def _not_public(url: str, error: _PrivateAddress) -> ImageError:
    advice = "no public address; images.private_hosts names hosts that may be private"
    return ImageError(Reason.REFUSED, f"{url}: {error}, {advice}")
