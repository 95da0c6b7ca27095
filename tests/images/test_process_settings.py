"""Importing and using the decoders changes no setting of the whole process, and needs none. In fresh interpreters."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SETTINGS = """
import io, json, os, signal, socket, sys, threading, warnings
import cv2, numpy
from PIL import AvifImagePlugin, Image, ImageFile, PngImagePlugin, TiffImagePlugin

def settings():
    values = {name: getattr(module, name) for module, names in {
        Image: ("MAX_IMAGE_PIXELS", "WARN_POSSIBLE_FORMATS"),
        ImageFile: ("LOAD_TRUNCATED_IMAGES", "MAXBLOCK"),
        AvifImagePlugin: ("DEFAULT_MAX_THREADS", "DECODE_CODEC_CHOICE"),
        PngImagePlugin: ("MAX_TEXT_CHUNK", "MAX_TEXT_MEMORY"),
        TiffImagePlugin: ("READ_LIBTIFF", "STRIP_SIZE"),
    }.items() for name in names}
    return values | {
        "filters": repr(warnings.filters), "environment": dict(os.environ), "cv2 threads": cv2.getNumThreads(),
        "timeout": socket.getdefaulttimeout(), "recursion": sys.getrecursionlimit(), "numpy": repr(numpy.geterr()),
        "alarm": repr(signal.getsignal(signal.SIGALRM)), "threads": threading.active_count(),
    }

def file(kind, size=(64, 64), mode="RGB"):
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind)
    return buffer.getvalue()
"""
KINDS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")


def printed(script: str, *options: str) -> dict:
    done = subprocess.run([sys.executable, *options, "-c", SETTINGS + script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("room", ["decode", "product", "fetch", "foreground", "decoder_process"])
def test_importing_and_decoding_leave_the_process_as_it_was(room):
    script = f"""
before = settings()
import vsspark.images.{room}
after_import = settings()
from vsspark.config import ImagesConfig
from vsspark.images.decode import decode_photo
for kind in {KINDS}:
    decode_photo(file(kind), (32, 32), ImagesConfig())
def changes(then):
    return {{name: [repr(before[name]), repr(then[name])] for name in before if before[name] != then[name]}}
print(json.dumps([changes(after_import), changes(settings())]))
"""
    assert printed(script) == [{}, {}]


@pytest.mark.parametrize("limit", [100, 3000, None])
def test_a_limit_that_the_application_gives_pil_changes_nothing(limit):
    script = f"""
Image.MAX_IMAGE_PIXELS = {limit}
from vsspark.config import ImagesConfig
from vsspark.images.box import Box
from vsspark.images.decode import decode_photo
boxes = None, Box(3, 3, 50, 60)
files = [(kind, box) for kind in {KINDS} for box in boxes]
shapes = [decode_photo(file(kind), (32, 32), ImagesConfig(), box).pixels.shape for kind, box in files]
print(json.dumps([sorted(set(shapes)), Image.MAX_IMAGE_PIXELS]))
"""
    assert printed(script, "-W", "error") == [[[32, 32, 3]], limit]


def test_max_pixels_alone_decides_about_large_pictures():
    script = """
from vsspark.config import ImagesConfig
from vsspark.errors import ImageError
from vsspark.images.decode import decode_photo
outcomes = []
for height in (6_500, 13_000):  # PIL warns of the first and refuses the second
    data = file("JPEG", (14_000, height), "L")
    for max_pixels in (14_000 * height, 14_000 * height - 1):
        try:
            outcomes.append(decode_photo(data, (32, 32), ImagesConfig(max_pixels=max_pixels)).height)
        except ImageError as error:
            outcomes.append(error.reason)
print(json.dumps([outcomes, Image.MAX_IMAGE_PIXELS]))
"""
    outcomes, limit = printed("import PIL; assert Image.MAX_IMAGE_PIXELS == 89478485\n" + script, "-W", "error")
    assert outcomes == [6_500, "too_many_pixels", 13_000, "too_many_pixels"]
    assert limit == 89_478_485
