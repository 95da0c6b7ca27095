"""Small pictures as `data:` URIs."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest
from small_shop import draw

from vsspark.config import ImagesConfig
from vsspark.errors import ImageError
from vsspark.images.thumbnails import SIDE, read_thumbnails, thumbnail


def test_a_thumbnail_keeps_its_shape_and_colour_and_is_small(tmp_path):
    path = tmp_path / "portrait #1 %20.png"
    draw(str(path), (220, 30, 40), 1)  # 300 x 360
    uri = thumbnail(path.read_bytes(), ImagesConfig())
    kind, _, data = uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    assert picture.shape == (SIDE, round(SIDE * 300 / 360), 3)
    np.testing.assert_allclose(picture[80, 80], (220, 30, 40), atol=6)
    assert len(uri) < 8000


def test_pictures_that_are_gone_or_broken_are_left_out(tmp_path):
    good, broken, gone = tmp_path / "good.png", tmp_path / "broken.jpg", tmp_path / "gone.jpg"
    draw(str(good), (1, 2, 3), 0)
    broken.write_text("<html>")
    assert list(read_thumbnails([str(gone), str(good), str(broken)], ImagesConfig(fetch_threads=2), {})) == [str(good)]
    with pytest.raises(ImageError):
        thumbnail(b"<html>", ImagesConfig())
