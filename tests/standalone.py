"""A real standalone Spark cluster on loopback: a master and workers, each a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]


class Standalone:
    """url: for `spark.master`. environment: of its processes and of who submits to it. workers: the processes whose
    children are the executors.
    """

    def __init__(self, folder: Path, environment: dict[str, str]):
        self.folder = folder
        self.environment = {
            **os.environ,
            "SPARK_NO_DAEMONIZE": "1",
            "PYTHONPATH": str(REPO),
            "PYSPARK_PYTHON": sys.executable,
            **environment,
        }
        self.master: subprocess.Popen | None = None
        self.workers: list[subprocess.Popen] = []
        self.port = free_port()
        self.url = f"spark://127.0.0.1:{self.port}"

    def start_master(self) -> None:
        self.master = self._start("Master", "127.0.0.1", "--port", str(self.port))
        _wait_for(self.port)

    def add_worker(self, host: str, cores: int) -> None:
        number = len(self.workers)
        folder = self.folder / f"work{number}"
        self.workers.append(
            self._start("Worker", host, "--cores", str(cores), "--memory", "2g", "--work-dir", str(folder), self.url)
        )

    def stop(self) -> None:
        processes = [process for process in (*self.workers, self.master) if process is not None]
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()

    def _start(self, role: str, host: str, *arguments: str) -> subprocess.Popen:
        import pyspark

        log = self.folder / f"{role}-{len(self.workers)}.log"
        command = [
            str(Path(pyspark.__file__).parent / "bin" / "spark-class"),
            f"org.apache.spark.deploy.{role.lower()}.{role}",
            "--host",
            host,
        ]
        environment = {**self.environment, "SPARK_LOCAL_IP": host}
        with log.open("w") as out:
            return subprocess.Popen(
                [*command, "--webui-port", "0", *arguments], env=environment, stdout=out, stderr=out, cwd=self.folder
            )


@contextmanager
def standalone(folder: Path, hosts: Sequence[str], cores: int, environment: dict[str, str]) -> Iterator[Standalone]:
    """A cluster with a worker on each host; all hosts are names of this machine. Logs and work lie in the folder."""
    cluster = Standalone(folder, environment)
    try:
        cluster.start_master()
        for host in hosts:
            cluster.add_worker(host, cores)
        yield cluster
    finally:
        cluster.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(port: int) -> None:
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"nothing listens on port {port}")
