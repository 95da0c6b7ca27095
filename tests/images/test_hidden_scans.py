"""JPEG scans where a parser may miss them are refused early, or end with the time limit; ordinary JPEGs pass."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from vsspark.config import ImagesConfig
from vsspark.images.decode import decode_photo
from vsspark.images.structure import check_structure

sys.path.insert(0, str(Path(__file__).parent))
from decode_files import decoded
from mutations import encoded, segment

MAX_PIXELS = ImagesConfig().max_pixels
SCANS = 20_000
TEM = b"\xff\x01"


def progressive(side: int = 1200) -> tuple[bytes, bytes]:
    """(a progressive JPEG up to its last scan, that last scan), without the end marker."""
    whole = encoded(Image.new("L", (side, side), 90), "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    return whole[:last], whole[last:-2]


def hidden_scans(count: int = SCANS) -> dict[str, bytes]:
    """Pictures of 1.4 million pixels whose scans lie behind bytes that a careless parser skips or takes for the end.

    libjpeg decodes the scans of all but the `stops` files, where it gives up at the odd marker.
    """
    start, scan = progressive()
    scans, end = scan * count, b"\xff\xd9"
    covers = {
        "tem": TEM + b"\xff\xff",  # read as a length it covers 65,535 bytes
        "tem-each": b"",
        "fill": b"\xff" * 300,
        "restart": b"\xff\xd3\xff\xff",
        "restart-each": b"",
        "stuffed": b"\xff\x00\xff\xff",
        "garbage": b"\x00\xd9 no marker \x01\xff\xff",
        "comment": segment(0xFE, b"\xff\xd9"),
        "comment-length-0": b"\xff\xfe\x00\x00",
        "comment-length-1": b"\xff\xfe\x00\x01",
        "app-length-1": b"\xff\xe5\x00\x01",
        "height": segment(0xDC, b"\x00\x10"),
        "tables": segment(0xDD, b"\x00\x00"),
        "stops-start": b"\xff\xd8\xff\xff",
        "stops-reserved": b"\xff\x02\xff\xff",
        "stops-reserved-last": b"\xff\xbf\xff\xff",
        "stops-extension": b"\xff\xf0\xff\xff",
        "stops-frame": b"\xff\xc8\xff\xff",
    }
    files = {name: start + scan + cover + scans + end for name, cover in covers.items()}
    files["tem-each"] = start + (TEM + scan) * count + end
    files["restart-each"] = start + (scan + b"\xff\xd7") * count + end
    files["no-end"] = start + scans
    files["arithmetic"] = start.replace(b"\xff\xc2", b"\xff\xca") + scans + end
    files["tem-first"] = start[:2] + TEM + start[2:] + scans + end
    return files


def test_hidden_scans_are_refused_before_they_are_decoded(tmp_path):
    files = hidden_scans()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    outcomes = decoded([tmp_path / name for name in files], MAX_PIXELS)
    outcomes = {path.name: outcome for path, outcome in outcomes.items()}
    print({name: (outcome["reason"], round(outcome["seconds"], 2)) for name, outcome in outcomes.items()})
    for name, outcome in outcomes.items():
        assert outcome["reason"] in ("too_many_pixels", "corrupt"), name
        assert outcome["seconds"] < 1, name


def test_scans_hidden_at_random_take_no_longer_than_the_limit(tmp_path):
    """Whatever the parser makes of the bytes around 3,000 scans: decoding all of them takes 10 s."""
    dice, (start, scan) = random.Random(4), progressive()
    pieces = [TEM, TEM, b"\xff", b"\xff\xff", b"\xff\x00", b"\x00", b"\xff\xd0", b"\xff\xd7", b"\xff\xfe", b"\xff\xe1"]
    pieces += [b"\xff\xdc", b"\x00\x04", b"\x00\x01", b"\x00\x00", segment(0xFE, scan), segment(0xFE, b"\xff\xd9")]
    paths = []
    for i in range(150):
        cover = b"".join(dice.choices(pieces, k=dice.randrange(1, 6)))
        groups = dice.choice((1, 1, 3, 100, 3000))
        data = start + (cover + scan * (3000 // groups)) * groups + dice.choice((b"\xff\xd9", b""))
        if dice.random() < 0.3:
            at = dice.randrange(2, len(start))
            data = data[:at] + dice.choice(pieces) + data[at:]
        paths.append(tmp_path / f"{i:03d}")
        paths[-1].write_bytes(data)
    outcomes = decoded(paths, MAX_PIXELS, decode_timeout_s=0.5)
    reasons = {outcome["reason"] for outcome in outcomes.values()}
    assert reasons <= {"too_many_pixels", "too_slow", "corrupt", "truncated", "not_an_image"}
    assert "too_many_pixels" in reasons
    assert max(outcome["seconds"] for outcome in outcomes.values()) < 2


def ordinary() -> dict[str, bytes]:
    """JPEGs as cameras, editors and phones write them, which look odd to a scan for markers."""
    noise = np.random.default_rng(2).integers(0, 255, (60, 80, 3), np.uint8)
    picture = Image.fromarray(noise).resize((640, 480))
    plain, progressive = (encoded(picture, "JPEG", progressive=choice, quality=90) for choice in (False, True))
    thumbnail = encoded(picture.resize((160, 120)), "JPEG", progressive=True)
    preview = segment(0xE1, b"Exif\0\0" + thumbnail)
    profile = segment(0xE2, b"ICC_PROFILE\0\1\1" + b"\xff\xda" * 1000)
    tables = segment(0xFE, b"\xff\xda\xff\xc4\xff\xd9\xff\xd8" * 5000)
    files = {}
    for name, jpeg in (("baseline", plain), ("progressive", progressive)):
        files |= {
            f"{name}": jpeg,
            f"{name}-thumbnail": jpeg[:2] + preview + jpeg[2:],
            f"{name}-previews": jpeg[:2] + preview * 10 + jpeg[2:],
            f"{name}-profile": jpeg[:2] + profile + jpeg[2:],
            f"{name}-comment": jpeg[:2] + tables + jpeg[2:],
            f"{name}-fill": jpeg[:2] + b"\xff" * 9 + jpeg[2:],
            f"{name}-video-behind": jpeg + np.random.default_rng(3).bytes(3_000_000),
            f"{name}-scans-behind": jpeg + jpeg[jpeg.rindex(b"\xff\xda") :] * 5000,
            f"{name}-comment-at-the-end": jpeg[:-2] + tables + jpeg[-2:],
        }
    files["restarts"] = encoded(picture, "JPEG", restart_marker_blocks=1, quality=90)
    files["progressive-restarts"] = encoded(picture, "JPEG", restart_marker_blocks=1, quality=90, progressive=True)
    return files


def test_ordinary_jpegs_are_decoded_as_they_look():
    files = ordinary()
    for name, data in files.items():
        plain = files["progressive" if "progressive" in name else "baseline"]
        expected = decode_photo(plain, (48, 64), ImagesConfig())
        photo = decode_photo(data, (48, 64), ImagesConfig())
        assert (photo.width, photo.height) == (640, 480), name
        np.testing.assert_array_equal(photo.pixels, expected.pixels, err_msg=name)


def test_an_ordinary_jpeg_is_plain():
    """So that no process is started for it; what is not plain is judged by time."""
    for name, data in ordinary().items():
        work = check_structure(data, MAX_PIXELS)
        assert work is not None, name
        assert (work.width, work.height) == (640, 480), name
        assert work.passes >= (10 if "progressive" in name else 1), name


def test_all_real_photos_are_plain(real_photos):
    paths = [path for shop in ("clothing", "luma") for path in (real_photos / shop).rglob("*.jpg")]
    assert len(paths) > 4000
    odd = [path.name for path in paths if not check_structure(path.read_bytes(), MAX_PIXELS)]
    assert odd == []
