"""PySpark's daemon of Python workers, silent when the JVM ends an idle worker, or one whose rows it needs no more.

After a minute without a task the JVM closes a worker's socket. PySpark's worker answers with what it takes for an
error; over a Unix socket (`spark.python.unix.domain.socket.enabled`, see `vsspark.spark.session`) that answer fails at
once, and its traceback ends in the log of a good run. Used with those sockets alone.

Tried on PySpark 4.2.0: replaces `pyspark.daemon.worker`, which is not public.
"""

from __future__ import annotations

import socket

from pyspark import daemon

_worker = daemon.worker


def worker(sock: socket.socket, authenticated: bool) -> int:
    """The exit code of a worker that has served one task, or of one whose socket was closed before or meanwhile."""
    if not sock.recv(1, socket.MSG_PEEK):
        return 1
    try:
        return _worker(sock, authenticated)
    except BrokenPipeError:  # a query with a limit has enough rows
        return 1


if __name__ == "__main__":
    daemon.worker = worker
    daemon.manager()
