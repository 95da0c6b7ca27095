"""Object storage 50 ms away against local files: `python -m benchmarks.embed store` measures, and this module alone is the server."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import unquote

LATENCY_S = 0.05
OBJECTS = 5000


async def serve(folder: Path) -> None:
    """An S3 endpoint for HEAD and GET of `bucket/COPY/NAME`, each answer 50 ms late; one event loop, so that it can keep up. Prints its port."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                method, target, _ = request.split(b"\r\n", 1)[0].decode().split(" ")
                body = files.get(unquote(target.partition("?")[0]).rpartition("/")[2])
                await asyncio.sleep(LATENCY_S)
                status = b"404 Not Found" if body is None else b"206 Partial Content" if method == "GET" else b"200 OK"
                writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status, len(body or b"")))
                if method == "GET" and body:
                    writer.write(body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


def store(threads: tuple[int, ...] = (8, 16, 32), rounds: int = 3) -> list[dict]:
    """Seconds for 5,000 photos through the Spark stage from local files and from the endpoint, by requests in flight per worker."""
    from benchmarks.embed import CORES, make_photos, make_weights
    from vsspark import encoders, session
    from vsspark.config import EncoderConfig, ImagesConfig
    from vsspark.embed.spark import embed_images, prepare, spread

    paths = make_photos()
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.embed_store", str(Path(paths[0]).parent)], stdout=subprocess.PIPE, text=True)
    try:
        options = {
            "fs.s3a.endpoint": f"http://127.0.0.1:{int(server.stdout.readline())}",
            "fs.s3a.access.key": "bench",
            "fs.s3a.secret.key": "bench",
            "fs.s3a.path.style.access": "true",
        }
        spark = session.create("bench-store", {"spark.master": f"local[{CORES}]", "spark.ui.showConsoleProgress": False})
        model = prepare(spark, encoders.load("mobilenet_v2", make_weights()), EncoderConfig())

        def seconds(uris: list[str], fetch_threads: int) -> float:
            images = spark.createDataFrame([(i, path, None) for i, path in enumerate(uris)], "image_id long, uri string, fingerprint string")
            config = ImagesConfig(fetch_threads=fetch_threads)
            began = time.perf_counter()
            embedded = embed_images(spread(images, len(uris), CORES), model, config, EncoderConfig(), options)
            refused = embedded.where("reason IS NOT NULL").count()
            if refused:
                raise ValueError(f"{refused} of {len(uris)} objects were refused")
            return time.perf_counter() - began

        near = [paths[i % len(paths)] for i in range(OBJECTS)]
        far = [f"s3a://bench/{i // len(paths)}/{Path(path).name}" for i, path in enumerate(near)]
        seconds(near[:200], 8)
        times: dict[str, list[float]] = {}
        for _ in range(rounds):
            times.setdefault("local files", []).append(seconds(near, 8))
            for count in threads:
                times.setdefault(f"50 ms away, {count} requests in flight per worker", []).append(seconds(far, count))
        spark.stop()
    finally:
        server.terminate()
        server.wait()
    local = statistics.median(times["local files"])
    return [
        {"case": f"{OBJECTS} photos, {name}", "seconds": round(statistics.median(values), 2), "time_against_local": round(statistics.median(values) / local, 3)}
        for name, values in times.items()
    ]


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
