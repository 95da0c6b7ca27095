"""The report as a real browser shows it: chromium, headless, opened from disk."""

from __future__ import annotations

import subprocess

import cv2
import numpy as np
import pytest
from browser import CHROMIUM, QUIET
from small_shop import COLOUR

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


def browse(folder, html, *options):
    page = folder / "report.html"
    page.write_text(html, encoding="utf-8")
    command = [CHROMIUM, *QUIET, f"--user-data-dir={folder / 'profile'}", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def screenshot(folder, html, width, height):
    browse(folder, html, f"--window-size={width},{height}", f"--screenshot={folder / 'shot.png'}")
    return cv2.imread(str(folder / "shot.png"))[:, :, ::-1]


def painted(picture, rgb):
    """How many pixels have the colour, give or take what JPEG does to it."""
    return int((np.abs(picture.astype(int) - rgb).max(axis=2) < 14).sum())


@pytest.fixture(scope="module")
def wide(tmp_path_factory, shop_report):
    return screenshot(tmp_path_factory.mktemp("wide"), shop_report, 1100, 2600)


@pytest.mark.parametrize("category", ["Tees", "Bags", "Hats"])
def test_the_thumbnails_are_painted(wide, category):
    # The drawn square fills more than half of a picture; the smallest is shown over 100 pixels wide.
    assert painted(wide, COLOUR[category]) > 0.5 * 100 * 100


def test_a_narrow_window_shows_pictures_and_does_not_scroll_sideways(tmp_path, shop_report):
    narrow = screenshot(tmp_path, shop_report, 500, 2600)
    assert painted(narrow, COLOUR["Tees"]) > 0.5 * 100 * 100
    # What a window can scroll to is laid out: the body must not be wider than the window.
    probe = "<script>document.title = document.documentElement.scrollWidth + ' of ' + window.innerWidth</script>"
    open_page = shop_report.replace('<meta http-equiv="Content-Security-Policy"', "<meta name=off").replace(
        "</body>", probe + "</body>"
    )
    title = (
        browse(tmp_path, open_page, "--window-size=500,900", "--dump-dom")
        .partition("<title>")[2]
        .partition("</title>")[0]
    )
    assert title == "500 of 500"


def test_the_dom_holds_every_picture_and_no_script_ran(tmp_path, shop_report):
    dom = browse(tmp_path, shop_report, "--dump-dom")
    assert dom.count('<article class="row">') == 6
    # Queries, then 5 x 3 + 2, and one of a second list.
    assert dom.count('src="data:image/jpeg;base64,') == shop_report.count('src="data:image/jpeg;base64,') == 6 + 18
    assert "<title>Similar products, 2026-11-21</title>" in dom
    assert dom.count("<img") == 6 + 18  # none out of a product id
