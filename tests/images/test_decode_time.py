"""No picture holds a task longer than images.decode_timeout_s, not even a file made to keep a decoder busy."""

from __future__ import annotations

import os
import resource
import signal
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from vsspark.config import ImagesConfig
from vsspark.errors import ImageError, Reason
from vsspark.images.decode import decode_here, decode_photo
from vsspark.images.decoder_process import decode_in_process
from vsspark.images.structure import check_structure

sys.path.insert(0, str(Path(__file__).parent))
from mutations import encoded, seeds
from test_hidden_scans import TEM, progressive

LIMIT_S = 0.4
CONFIG = ImagesConfig(decode_timeout_s=LIMIT_S)
SIZE = (32, 32)
SMALL = Image.new("RGB", (64, 64), (200, 40, 90))


def tiff_of_strips(strips: int = 1_000_000) -> bytes:
    """8 pixels a strip: PIL reads each by itself."""
    offsets = 8 + 2 + 12 * 9 + 4
    counts, pixels = offsets + 4 * strips, offsets + 8 * strips
    tags = ((256, 8), (257, strips), (258, 8), (259, 1), (262, 1), (273, offsets), (277, 1), (278, 1), (279, counts))
    entries = b"".join(struct.pack("<HHLL", t, 4, strips if t in (273, 279) else 1, value) for t, value in tags)
    arrays = np.full(strips, pixels, "<u4").tobytes() + np.full(strips, 8, "<u4").tobytes()
    return b"II*\0" + struct.pack("<LH", 8, len(tags)) + entries + bytes(4) + arrays + bytes(8)


def bmp_of_runs(side: int = 2000) -> bytes:
    """Run-length encoded, every run one pixel: PIL reads them in Python."""
    bmp = bytearray(encoded(SMALL.quantize(2), "BMP"))
    struct.pack_into("<ii", bmp, 18, side, side)
    struct.pack_into("<I", bmp, 30, 1)
    return bytes(bmp[: struct.unpack_from("<I", bmp, 10)[0]]) + b"\x01\x00" * side * side + b"\0\1"


def slow_files() -> dict[str, bytes]:
    """Files within all limits of the structure, which take 1 to 14 s to decode."""
    start, scan = progressive()
    return {
        "jpeg-scans": start + scan * 600 + b"\xff\xd9",
        "jpeg-scans-behind-tem": start + (TEM + scan) * 600 + b"\xff\xd9",
        "tiff-strips": tiff_of_strips(),
        "bmp-runs": bmp_of_runs(),
    }


def refusal(data: bytes, config: ImagesConfig = CONFIG) -> ImageError:
    with pytest.raises(ImageError) as caught:
        decode_photo(data, SIZE, config)
    return caught.value


def children() -> list[int]:
    """Process ids of the decoder processes of this process."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):  # it ends meanwhile
            if any("decoder_process" in part for part in child.cmdline()):
                found.append(child.pid)
    return found


def cpu_seconds(child: int) -> float:
    """CPU time of a process; 0 where it has ended."""
    with suppress(psutil.Error):
        return sum(psutil.Process(child).cpu_times()[:2])
    return 0.0


def cpu_seconds_of_ended() -> float:
    """CPU time of all processes that this one has started and that have ended."""
    return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


@pytest.fixture
def decoder() -> int:
    """Process id of the only decoder process, a new one. Its start is not part of the times that are measured."""
    for child in children():
        os.kill(child, signal.SIGKILL)
    while children():
        time.sleep(0.01)
    decode_photo(encoded(SMALL, "BMP"), SIZE, ImagesConfig())
    (child,) = children()
    return child


@pytest.mark.parametrize("name", slow_files())
def test_a_slow_picture_is_refused_when_its_time_is_over(name, decoder):
    data, before = slow_files()[name], cpu_seconds_of_ended() + cpu_seconds(decoder)
    error = refusal(data)
    assert error.reason is Reason.TOO_SLOW
    assert "images.decode_timeout_s = 0.4" in error.detail
    assert cpu_seconds_of_ended() - before < LIMIT_S + 0.5


def test_the_next_picture_is_decoded_after_a_slow_one():
    assert refusal(bmp_of_runs()).reason is Reason.TOO_SLOW
    photo = decode_photo(encoded(SMALL, "BMP"), SIZE, ImagesConfig())
    np.testing.assert_array_equal(photo.pixels[0, 0], (200, 40, 90))


@pytest.mark.usefixtures("decoder")
def test_threads_get_the_answers_to_their_own_pictures():
    slow = bmp_of_runs()

    def colour(i: int) -> tuple[int, ...] | Reason:
        if i % 20 == 7:
            return refusal(slow).reason
        data = encoded(Image.new("RGB", (64, 64), (i, 2 * i, 255 - i)), ("GIF", "BMP", "PNG")[i % 3])
        return tuple(decode_photo(data, SIZE, ImagesConfig(decode_timeout_s=30)).pixels[5, 5].tolist())

    with ThreadPoolExecutor(4) as pool:
        colours = list(pool.map(colour, range(60)))
    assert colours == [Reason.TOO_SLOW if i % 20 == 7 else (i, 2 * i, 255 - i) for i in range(60)]
    assert len(children()) <= 4


@pytest.mark.parametrize("name", sorted(seeds()))
def test_both_places_of_decoding_give_the_same_pixels(name):
    data = seeds()[name]
    here = decode_here(data, SIZE, ImagesConfig())
    pixels, width, height = decode_in_process(data, SIZE, ImagesConfig(), None)
    np.testing.assert_array_equal(pixels, here.pixels)
    assert (width, height) == (here.width, here.height)


def test_ordinary_formats_are_plain():
    plain = {name for name, data in seeds().items() if check_structure(data, CONFIG.max_pixels)}
    assert plain == {name for name in seeds() if name.startswith(("jpeg", "mpo", "png", "webp"))} - {"webp-animated"}


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("killed_by", [signal.SIGSEGV, signal.SIGKILL])
def test_a_decoder_that_crashes_is_a_corrupt_picture(killed_by):
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.1):  # also the second process that tries this picture
            for child in children():
                if cpu_seconds(child) > 1.5:  # it decodes: a start takes less
                    os.kill(child, killed_by)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        error = refusal(bmp_of_runs(side=5000), ImagesConfig(decode_timeout_s=120))
    finally:
        over.set()
        thread.join()
    assert (error.reason, error.detail) == (Reason.CORRUPT, "the decoder process crashed")
    assert decode_photo(encoded(SMALL, "BMP"), SIZE, ImagesConfig()).width == 64


@pytest.mark.usefixtures("decoder")
def test_an_idle_decoder_that_was_killed_harms_no_picture():
    for _ in range(4):
        os.kill(children()[0], signal.SIGKILL)
        assert decode_photo(encoded(SMALL, "BMP"), SIZE, ImagesConfig()).width == 64


def test_a_killed_worker_leaves_no_decoder_process(tmp_path):
    (tmp_path / "slow").write_bytes(bmp_of_runs())
    script = (
        "import pathlib, sys; from vsspark.config import ImagesConfig; from vsspark.images.decode import decode_photo\n"
        "decode_photo(pathlib.Path(sys.argv[1]).read_bytes(), (32, 32), ImagesConfig(decode_timeout_s=3))"
    )
    worker = subprocess.Popen([sys.executable, "-c", script, tmp_path / "slow"])
    tasks = Path(f"/proc/{worker.pid}/task/{worker.pid}/children")
    while not (child := tasks.read_text().split()):
        time.sleep(0.05)
    time.sleep(1)  # it decodes
    worker.kill()
    worker.wait()
    deadline = time.monotonic() + 15
    while Path(f"/proc/{child[0]}/cmdline").exists() and Path(f"/proc/{child[0]}/cmdline").read_bytes():
        assert time.monotonic() < deadline, "the decoder process outlives its worker"
        time.sleep(0.1)


def test_avif_is_decoded_by_one_thread(decoder):
    most, over = [], threading.Event()

    def count() -> None:
        while not over.is_set():
            most.append(len(os.listdir(f"/proc/{decoder}/task")))

    watch = threading.Thread(target=count)
    watch.start()
    noise = np.random.default_rng(0).integers(0, 255, (250, 250, 3), np.uint8)
    avif = encoded(Image.fromarray(noise).resize((2000, 2000)), "AVIF", speed=10)
    decode_photo(avif, SIZE, ImagesConfig())
    over.set()
    watch.join()
    assert children() == [decoder]
    assert len(most) > 50
    assert max(most) == 1
