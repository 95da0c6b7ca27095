"""The server's process: it listens on one address until it is told to end."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping

from vsspark.config import Config
from vsspark.errors import ConfigError
from vsspark.live.current import Current

log = logging.getLogger("vsspark")

_CONNECTIONS = 100  # open at a time; more get 503 at once


def serve(config: Config, storage_options: Mapping[str, str]) -> None:
    """Serve until SIGINT or SIGTERM. Raises StorageError where nothing is published, ConfigError where the address
    cannot be listened on or `encoder` is not the published run's.
    """
    try:
        import uvicorn

        from vsspark.live.app import is_loopback, make_app
    except ImportError:
        raise ConfigError("vsspark live needs starlette and uvicorn: pip install 'vsspark[live]'") from None
    live = config.live
    listening = _listen(live.host, live.port)
    images = config.images.model_copy(update={"decode_timeout_s": min(live.decode_s, config.images.decode_timeout_s)})
    config = config.model_copy(update={"images": images})
    current = Current(config, storage_options)
    current.follow()
    server = uvicorn.Server(
        uvicorn.Config(
            make_app(config, current, storage_options),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            ws="none",
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=5,
        )
    )
    host, port = listening.getsockname()[:2]
    if not is_loopback(live.host):
        log.warning("live       open to all who reach %s: there is no login", live.host)
    log.info("live       http://%s:%d answers from run %s", f"[{host}]" if ":" in host else host, port,
             current.searcher.run_id)  # fmt: skip
    try:
        server.run(sockets=[listening])
    finally:
        current.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(f"live: cannot listen on {host}:{port}: {error.strerror or error}") from None
