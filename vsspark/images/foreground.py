"""The foreground of a photo, by colour: GrabCut (Rother, Kolmogorov, Blake 2004) on a small copy.

What lies along the left and right edges is taken for background; figures are cut off above and below. Where the
outcome is implausible (next to nothing, or next to everything) there is none, and whoever asked goes on with the
whole picture.
"""

from __future__ import annotations

import cv2
import numpy as np

FINDER = "grabcut-1"  # enters the model version of what was cut out with it: change it when other pixels come out
SIDE = 96  # pixels, the longer side of the copy that is looked at
_STEPS = 2  # of GrabCut
_EDGE = 0.04  # share of a side that is taken for background along an edge
_LEAST, _MOST = 0.04, 0.9  # share of the picture that what was found may take up
_SPECK = 0.1  # pieces smaller than this share of the largest are noise


def find_foreground(pixels: np.ndarray) -> np.ndarray | None:
    """(h, w) bool: True in the foreground; None where no plausible one was found.

    pixels: (h, w, 3) uint8 RGB of any size. The same pixels always give the same answer.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    edge = max(1, round(_EDGE * min(rows, columns)))
    if rows < 4 * edge or columns < 4 * edge:
        return None
    small = cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_AREA)
    labels = np.full((rows, columns), cv2.GC_PR_FGD, np.uint8)
    labels[:edge] = labels[-edge:] = cv2.GC_PR_BGD
    labels[:, :edge] = labels[:, -edge:] = cv2.GC_BGD
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)  # the thread's own: it draws the first centres of the colours
    try:
        cv2.grabCut(cv2.cvtColor(small, cv2.COLOR_RGB2BGR), labels, None, *models, _STEPS, cv2.GC_INIT_WITH_MASK)
    except cv2.error:
        return None  # one colour has taken every pixel
    mask = _without_specks((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD))
    if not _LEAST <= mask.mean() <= _MOST:
        return None
    return cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST).astype(bool)


def surrounding(mask: np.ndarray, margin: float = 0.02) -> tuple[int, int, int, int]:
    """left, top, right, bottom of what is True, and `margin` of the picture's sides around it. mask: (h, w) bool,
    True somewhere.
    """
    (top, bottom), (left, right) = (
        (where[0], where[-1] + 1) for where in (np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0)))
    )
    down, across = round(margin * mask.shape[0]), round(margin * mask.shape[1])
    return (
        max(0, left - across),
        max(0, top - down),
        min(mask.shape[1], right + across),
        min(mask.shape[0], bottom + down),
    )


def _without_specks(mask: np.ndarray) -> np.ndarray:
    """The mask, holes of a pixel or two closed, small pieces left out."""
    mask_without_holes = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    pieces_mask = cv2.morphologyEx(mask_without_holes, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, pieces, facts, _ = cv2.connectedComponentsWithStats(pieces_mask, connectivity=8)
    areas = facts[1:, cv2.CC_STAT_AREA]
    large = 1 + np.flatnonzero(areas >= _SPECK * areas.max(initial=0))
    return np.isin(pieces, large) if len(areas) else np.zeros(mask.shape, bool)
