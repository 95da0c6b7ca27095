"""The page and its requests, over HTTP.

    GET  /                       the page
    POST /similar?box=l t r b    a picture's bytes in, products out; k: how many
    GET  /picture/ID             a product's picture, small
    GET  /health                 the run that answers, and why not a newer one

A picture that cannot be used is 422 with `reason` and `message`; too large 413, too slow to arrive 408, too many at
once 503. What a caller can make the server hold: live.requests pictures of live.max_upload_bytes, and the decoding of
two of them.
"""

from __future__ import annotations

import asyncio
import importlib.resources
import ipaddress
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vsspark.config import Config
from vsspark.errors import ImageError, Reason
from vsspark.live.current import Current
from vsspark.live.thumbnails import Thumbnails
from vsspark.query.answers import Answer
from vsspark.query.ask import Searcher
from vsspark.query.pictures import Picture
from vsspark.report.render import REASONS

_AT_A_TIME = 2  # pictures decoded and searched: more would wait for the same cores
_THUMBNAILS_AT_A_TIME = 4
_MOST_PRODUCTS = 100
_MESSAGES = REASONS | {Reason.BAD_BOX: "The box is not in the picture, or too small"}
_HEADERS = {
    b"content-security-policy": b"default-src 'none'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
}
_PAGE = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}


def make_app(config: Config, current: Current, storage_options: Mapping[str, str]) -> Starlette:
    """The application; whoever runs it has started `current.follow`."""
    live = _Live(config, current, storage_options)
    middleware = [Middleware(_SafeHeaders)]
    if is_loopback(config.live.host):
        # A page elsewhere cannot reach in by a name of its own that leads here.
        middleware.append(Middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1", "[::1]"]))
    routes = [Route(path, partial(_file, *named)) for path, named in _PAGE.items()]
    routes += [
        Route("/similar", live.similar, methods=["POST"]),
        Route("/picture/{image_id:int}", live.picture),
        Route("/health", live.health),
    ]
    return Starlette(routes=routes, middleware=middleware)


def is_loopback(host: str) -> bool:
    """Whether an address is of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Live:
    def __init__(self, config: Config, current: Current, storage_options: Mapping[str, str]):
        self._live, self._current = config.live, current
        self._held = 0
        self._threads = anyio.CapacityLimiter(_AT_A_TIME)
        self._thumbnail_threads = anyio.CapacityLimiter(_THUMBNAILS_AT_A_TIME)
        self._thumbnails = Thumbnails(config.images, storage_options, config.live.thumbnails_mb * 2**20)

    async def similar(self, request: Request) -> Response:
        """The products like the picture in the request's body."""
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return _refused(403, "forbidden", "Only this server's own page may ask")
        k = request.query_params.get("k", str(self._live.k))
        if not (k.isascii() and k.isdecimal() and 1 <= int(k[:9]) <= _MOST_PRODUCTS):
            return _refused(400, "bad_k", f"k is a number from 1 to {_MOST_PRODUCTS}")
        if self._held >= self._live.requests:
            return _refused(
                503, "busy", "Many pictures are being looked at. Try again in a second", {"retry-after": "1"}
            )
        self._held += 1
        try:
            async with asyncio.timeout(self._live.upload_s):
                data = await self._body(request)
            if data is None:
                most = f"{self._live.max_upload_bytes / 2**20:.3g} MiB"
                return _refused(413, Reason.TOO_MANY_BYTES, f"The picture is too large: {most} are allowed")
            if not data:
                return _refused(422, Reason.EMPTY, _MESSAGES[Reason.EMPTY])
            picture = Picture("upload", request.query_params.get("box") or None, data)
            begin = time.perf_counter()
            ask = partial(self._ask, self._current.searcher, picture, int(k))
            run_id, answer = await anyio.to_thread.run_sync(ask, limiter=self._threads)
        except TimeoutError:
            return _refused(408, "too_slow", "The picture took too long to arrive")
        except ClientDisconnect:
            return Response(status_code=499)
        finally:
            self._held -= 1
        if answer.reason is not None:
            return _refused(422, answer.reason, _MESSAGES[Reason(answer.reason)])
        return JSONResponse(_answered(run_id, answer) | {"seconds": round(time.perf_counter() - begin, 4)})

    async def picture(self, request: Request) -> Response:
        """A product's picture."""
        products, image_id = self._current.searcher.products, request.path_params["image_id"]
        place = products.place(image_id) if image_id < 2**63 else None
        if place is None:
            return Response(status_code=404)
        read = partial(self._thumbnails.read, products.uri(place))
        try:
            jpeg = await anyio.to_thread.run_sync(read, limiter=self._thumbnail_threads)
        except ImageError:
            return Response(status_code=404)
        return Response(jpeg, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

    async def health(self, request: Request) -> Response:
        """The run that answers, its size, and why a newer one does not."""
        searcher, complaint = self._current.searcher, self._current.complaint
        size = {"products": len(searcher.products.product_names), "images": len(searcher.products.image_ids)}
        return JSONResponse({"run_id": searcher.run_id, **size, "complaint": complaint})

    def _ask(self, searcher: Searcher, picture: Picture, k: int) -> tuple[str, Answer]:
        return searcher.run_id, searcher.answer([picture], k)[0]

    async def _body(self, request: Request) -> bytes | None:
        """The body; None where it is larger than allowed, and then the rest of it is not read."""
        most, stated = self._live.max_upload_bytes, request.headers.get("content-length", "")
        if stated.isascii() and stated.isdecimal() and int(stated[:19]) > most:
            return None
        data = bytearray()
        async for chunk in request.stream():
            data += chunk
            if len(data) > most:
                return None
        return bytes(data)


class _SafeHeaders:
    """Adds _HEADERS to every answer."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS.items()]
            await send(message)

        await self._app(scope, receive, with_headers)


def _answered(run_id: str, answer: Answer) -> dict[str, Any]:
    """What the page shows; where a picture lies in the shop's store is not said."""
    shown = ("rank", "product_id", "name", "category", "price", "in_stock", "similarity", "source", "link")
    similar = [
        {name: getattr(s, name) for name in shown} | {"picture": f"/picture/{s.image_id}"} for s in answer.similar
    ]
    return {"run_id": run_id, "categories": [list(each) for each in answer.categories], "similar": similar}


def _refused(status: int, reason: str, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"reason": str(reason), "message": message}, status, headers)


async def _file(name: str, media_type: str, request: Request) -> Response:
    content = importlib.resources.files("vsspark.live").joinpath(name).read_bytes()
    return Response(content, media_type=media_type, headers={"cache-control": "no-cache"})
