"""Small files that claim, or hold, far more than they should: refused before the memory or the time is spent, in
every format that is decoded.
"""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from vsspark.config import ImagesConfig
from vsspark.images.decode import decode_image

sys.path.insert(0, str(Path(__file__).parent))
from decode_files import decoded
from mutations import chunk, encoded, segment, tiff

MAX_PIXELS = ImagesConfig().max_pixels
FEW_PIXELS = 5_000_000  # as a limit it is kept like the default one, and its bombs are made sooner
BAND_MIB = 16  # what the rows that are converted at a time take, however large the picture
SMALL = Image.new("RGB", (64, 64), (200, 40, 90))
SIDE = 2280  # 5.2 million pixels


def in_two(data: bytes, mark: bytes) -> tuple[bytes, bytes]:
    at = data.index(mark)
    return data[:at], data[at:]


def many_pixels() -> dict[str, bytes]:
    """Whole pictures of 5.2 million pixels or more, but the TIFF of 10,000-pixel tiles, which shows 100 x 100."""
    blank = Image.new("L", (SIDE, SIDE), 90)
    rows = zlib.compress(bytes((10_000 // 8 + 1) * 10_000), 9)
    tile = zlib.compress(bytes(10_000 * 10_000), 9)
    strip = {256: SIDE, 257: SIDE, 258: 8, 259: 8, 262: 1, 277: 1, 278: SIDE, 273: -1}
    tiles = {256: 100, 257: 100, 258: 8, 259: 8, 262: 1, 277: 1, 322: 10_000, 323: 10_000, 324: -1}
    squares = zlib.compress(bytes(SIDE * SIDE), 9)
    bmp = bytearray(encoded(SMALL, "BMP"))
    bmp[18:26] = struct.pack("<ii", SIDE, SIDE)
    gif = bytearray(encoded(SMALL, "GIF"))
    gif[6:10] = struct.pack("<HH", 60_000, 60_000)
    return {
        "jpeg": encoded(blank, "JPEG", quality=10),
        "jpeg-progressive": encoded(blank, "JPEG", quality=10, progressive=True),
        "png": b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">II", 10_000, 10_000) + bytes((1, 0, 0, 0, 0)))
        + chunk(b"IDAT", rows)
        + chunk(b"IEND", b""),
        "gif": encoded(blank, "GIF"),
        "gif-screen": bytes(gif),
        "webp": encoded(blank.convert("RGB"), "WEBP", quality=1, method=0),
        "bmp": bytes(bmp),
        "tiff-strip": tiff(strip | {279: len(squares)}, squares),
        "tiff-tiles": tiff(tiles | {325: len(tile)}, tile),
        "avif": claims_other_size(encoded(SMALL, "AVIF"), (SIDE, SIDE)),
    }


def claims_other_size(avif: bytes, size: tuple[int, int]) -> bytes:
    before, box = in_two(avif, b"ispe")
    return before + box[:8] + struct.pack(">II", *size) + box[16:]


def many_parts() -> dict[str, bytes]:
    """Files of 64 x 64 pixels, or few scans too many, whose parts are the work."""
    jpeg, png, gif = encoded(SMALL, "JPEG"), encoded(SMALL, "PNG"), encoded(SMALL, "GIF")
    start, rest = jpeg[:2], jpeg[2:]
    signature, chunks = png[:33], png[33:]
    screen, frame = in_two(gif, b",")
    scans = encoded(Image.new("L", (7000, 7000), 90), "JPEG", progressive=True)
    last = scans[scans.rindex(b"\xff\xda") : -2]
    directory = (
        struct.pack("<H", 60_000)
        + b"".join(struct.pack("<HHLL", 1 + i, 1, 700_000, 8) for i in range(60_000))
        + bytes(4)
    )
    big_directory = struct.pack("<HHQQ", 8, 0, 16, 2**40) + bytes(20) * 100_000
    return {
        "jpeg-scans": scans[:-2] + last * 5000 + scans[-2:],
        "jpeg-exif-behind": start
        + segment(0xE0, b"")
        + b"\0"
        + segment(0xE1, b"Exif\0\0" + bytes(65_000)) * 900
        + rest,
        "jpeg-segments": start + segment(0xFE, b"") * 10_000_000 + rest,
        "png-chunks": signature + chunk(b"abCd", b"") * 4_000_000 + chunks,
        "gif-blocks": screen + b"\x21\xfe\x01a\0" * 10_000_000 + frame,
        "gif-nothing": screen + bytes(50_000_000) + frame,
        "tiff-tags": b"II*\0" + struct.pack("<L", 8) + directory,
        "tiff-big-tags": b"II+\0" + big_directory,
    }


def hidden_data() -> dict[str, bytes]:
    """Data for hundreds of megabytes that no pixel needs; whether the picture is shown is the decoder's choice."""
    png, jpeg = encoded(SMALL, "PNG"), encoded(SMALL, "JPEG")
    signature, chunks = png[:33], png[33:]
    nothing = zlib.compress(bytes(400_000_000), 9)
    tags = struct.pack("<H", 5400) + b"".join(struct.pack("<HHLL", 1 + i, 1, 64_000, 8) for i in range(5400)) + bytes(4)
    exif = b"II*\0" + struct.pack("<L", 8) + tags
    return {
        "png-profile": signature + chunk(b"iCCP", b"a\0\0" + nothing) + chunks,
        "png-profiles": signature + chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1_000_000), 9)) * 2000 + chunks,
        "png-text": signature + chunk(b"zTXt", b"a\0\0" + nothing) + chunks,
        "png-texts": signature + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_000_000), 9)) * 500 + chunks,
        "png-pixels": png[:33] + chunk(b"IDAT", nothing) + chunk(b"IEND", b""),
        "png-exif": signature + chunk(b"eXIf", exif) + chunks,
        "jpeg-exif": jpeg[:2] + segment(0xE1, b"Exif\0\0" + exif) + jpeg[2:],
        "jpeg-exifs-fill": jpeg[:2] + (b"\xff" * 9 + segment(0xE1, b"Exif\0\0" + bytes(65_000))) * 900 + jpeg[2:],
        "jpeg-exifs": jpeg[:2] + segment(0xE1, b"Exif\0\0" + bytes(65_000)) * 900 + jpeg[2:],
        "tiff-jpeg": tiff(
            {256: 100, 257: 100, 258: 8, 259: 7, 262: 1, 277: 1, 278: 100, 273: -1, 279: 10**6},
            encoded(Image.new("L", (7200, 7200)), "JPEG"),
        ),
    }


def outcomes(folder: Path, files: dict[str, bytes], max_pixels: int = MAX_PIXELS) -> dict[str, dict]:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    found = {path.name: outcome for path, outcome in decoded([folder / name for name in files], max_pixels).items()}
    print(
        {
            name: (len(files[name]), outcome["reason"], round(outcome["seconds"], 2), round(outcome["mib"], 1))
            for name, outcome in found.items()
        }
    )
    return found


def test_too_many_pixels_are_refused_by_the_header(tmp_path):
    files = many_pixels()
    assert max(len(data) for data in files.values()) < 150_000
    for name, outcome in outcomes(tmp_path, files, FEW_PIXELS).items():
        assert outcome["reason"] == "too_many_pixels", name
        assert outcome["mib"] < 5, name
        assert outcome["seconds"] < 1, name


def test_too_many_parts_are_refused_before_they_are_read(tmp_path):
    for name, outcome in outcomes(tmp_path, many_parts()).items():
        assert outcome["reason"] == ("too_many_pixels" if name == "jpeg-scans" else "corrupt"), name
        assert outcome["mib"] < 16, name
        assert outcome["seconds"] < 1, name


def test_data_that_no_pixel_needs_takes_no_memory(tmp_path):
    for name, outcome in outcomes(tmp_path, hidden_data()).items():
        assert outcome["reason"] in (None, "corrupt", "truncated"), name
        assert outcome["mib"] < 40, name
        assert outcome["seconds"] < 2, name


def encoded_deep(pixels: np.ndarray) -> bytes:
    """A PNG of 12 bits in 16."""
    _, data = cv2.imencode(".png", pixels.astype(np.uint16) << 4, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return data.tobytes()


@pytest.mark.slow
def test_a_decode_takes_no_more_memory_than_promised(tmp_path):
    """6 million pixels per format; the promise is made in `decode`'s own words, for the largest picture that is
    allowed.
    """
    side = 2400
    noise = np.random.default_rng(0).integers(0, 255, (side // 8, side // 8, 4), np.uint8)
    rgba = Image.fromarray(noise, "RGBA").resize((side, side))
    rgb = rgba.convert("RGB")
    files = {
        "jpeg": encoded(rgb, "JPEG", progressive=True, subsampling=0),
        "png": encoded(rgba, "PNG", compress_level=1),
        "png-deep": encoded_deep(np.asarray(rgba)),
        "gif": encoded(rgb.quantize(64, method=Image.Quantize.FASTOCTREE), "GIF", transparency=1),
        "bmp": encoded(rgb.copy(), "BMP"),
        "tiff": encoded(rgb.convert("CMYK"), "TIFF"),
        "webp": encoded(rgba, "WEBP", method=0, quality=30),
        "avif": encoded(rgb.copy(), "AVIF", speed=10, quality=30),
    }
    for name, outcome in outcomes(tmp_path, files).items():
        assert outcome["reason"] is None, name
        promised = {"jpeg": 6, "webp": 19, "avif": 19, "png-deep": 19}.get(name, 12)
        assert (outcome["mib"] - BAND_MIB) * 2**20 / side**2 < promised, name


@pytest.mark.parametrize("kind", ["RGBA", "P", "LA", "I;16", "CMYK"])
def test_a_large_picture_is_converted_in_bands_without_a_seam(kind):
    width, height = 1500, 1100  # more than one band
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    rgb = Image.fromarray(np.stack([across, down, 255 - across], axis=2).astype(np.uint8))
    if kind == "RGBA":
        rgb.putalpha(Image.fromarray(down.astype(np.uint8)))
        plain = Image.alpha_composite(Image.new("RGBA", rgb.size, "white"), rgb).convert("RGB")
        data = encoded(rgb, "PNG")
    elif kind == "I;16":
        plain = rgb.convert("L").convert("RGB")
        data = encoded(Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) << 8), "PNG")
    elif kind == "CMYK":
        plain, data = rgb.convert("CMYK").convert("RGB"), encoded(rgb.convert("CMYK"), "TIFF")
    else:
        image = rgb.quantize(64) if kind == "P" else rgb.convert("LA")
        plain, data = image.convert("RGB"), encoded(image, "PNG")
    np.testing.assert_array_equal(decode_image(data, (height, width), ImagesConfig()), np.asarray(plain))
