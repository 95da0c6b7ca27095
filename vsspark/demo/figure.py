"""The figure that wears what is sold: a plain, faceless mannequin in neutral clothes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vsspark.demo.shapes import Part, Pose, ellipse, moved, outline, spline, tube

SKIN = ((244, 214, 190), (226, 184, 150), (198, 146, 108), (152, 102, 72), (108, 72, 52))
HAIR = ((44, 34, 30), (84, 56, 38), (150, 104, 60), (214, 178, 120), (120, 52, 34), (140, 138, 136))
NEUTRALS = ((236, 234, 228), (62, 66, 78), (44, 44, 46), (74, 92, 122), (150, 146, 138), (196, 182, 160))


@dataclass(frozen=True)
class Look:
    """What differs between two figures."""

    pose: Pose
    skin: tuple[int, int, int]
    hair: tuple[int, int, int]
    long_hair: bool
    neutral: tuple[int, int, int]  # of the clothes worn beside what is sold


def random_look(rng: np.random.Generator) -> Look:
    arms = tuple(rng.uniform(0.12, 0.42, 2))
    elbows = [float(rng.uniform(-0.25, 0.1)), float(rng.uniform(-0.25, 0.1))]
    if rng.random() < 0.3:  # a hand on the hip
        arms, elbows[1] = (arms[0], 0.72), -1.45
    return Look(
        Pose(arms, tuple(elbows), float(rng.uniform(0.02, 0.12)), float(rng.normal(0, 0.06))),
        SKIN[rng.integers(len(SKIN))],
        HAIR[rng.integers(len(HAIR))],
        bool(rng.random() < 0.55),
        NEUTRALS[rng.integers(len(NEUTRALS))],
    )


def figure_parts(look: Look, kind: str, back: bool) -> list[Part]:
    """The figure behind the garment of that kind, with neutral clothes where the garment leaves it bare."""
    pose, skin = look.pose, look.skin
    parts = []
    if look.long_hair and not back:
        parts.append(
            Part(
                [
                    outline(
                        spline((-0.36, 0.35), (-0.46, 1.0), (-0.4, 1.62)),
                        spline((0.4, 1.62), (0.46, 1.0), (0.36, 0.35), (0, 0.0), (-0.36, 0.35)),
                    )
                ],
                look.hair,
                folds=0.5,
                pleats=0,
            )
        )
    body = [
        outline(
            spline((-0.17, 0.9), (-0.2, 1.25), (-0.5, 1.45), (-0.84, 1.56)),
            spline((-0.84, 1.56), (-0.72, 2.2), (-0.56, 3.0), (-0.78, 3.9), (-0.74, 4.3)),
            spline((0.74, 4.3), (0.78, 3.9), (0.56, 3.0), (0.72, 2.2), (0.84, 1.56)),
            spline((0.84, 1.56), (0.5, 1.45), (0.2, 1.25), (0.17, 0.9)),
        )
    ]
    for side in (-1, 1):
        arm = pose.arm(side)
        body.append(tube(arm, (0.22, 0.16, 0.1)))
        body.append(_hand(arm))
        leg = pose.leg(side)
        body.append(tube(leg, (0.42, 0.27, 0.14)))
    parts.append(Part(body, skin, folds=0.08, roundness=1.2))
    if kind != "shoes":
        parts += [
            _foot(pose.leg(side), side, look.neutral if sum(look.neutral) < 600 else (120, 110, 104))
            for side in (-1, 1)
        ]
    if kind not in ("dress", "pants", "shorts", "skirt"):
        parts += _plain_trousers(pose, look.neutral)
    if kind in ("pants", "shorts", "skirt", "hat", "outwear"):
        parts += _plain_top(pose, look.neutral if sum(look.neutral) > 400 else (232, 230, 224))
    return parts


def head_parts(look: Look, back: bool, hat: bool) -> list[Part]:
    """Head and hair, drawn over collars."""
    hair_low = 1.45 if look.long_hair else 0.98
    if back:
        return [
            Part(
                [
                    outline(
                        spline(
                            (-0.38, 0.5),
                            (-0.3, 0.06),
                            (0, -0.03),
                            (0.3, 0.06),
                            (0.38, 0.5),
                            (0.36, hair_low),
                            (0, hair_low + 0.08),
                            (-0.36, hair_low),
                            (-0.38, 0.5),
                        )
                    )
                ],
                look.hair,
                folds=0.4,
                roundness=1.2,
            )
        ]
    face = outline(
        spline(
            (-0.335, 0.4),
            (-0.31, 0.75),
            (-0.17, 1.0),
            (0, 1.06),
            (0.17, 1.0),
            (0.31, 0.75),
            (0.335, 0.4),
            (0, 0.06),
            (-0.335, 0.4),
        )
    )
    parts = [
        Part(
            [
                outline(
                    spline((-0.17, 0.85), (-0.19, 1.2), (-0.24, 1.34)), spline((0.24, 1.34), (0.19, 1.2), (0.17, 0.85))
                )
            ],
            look.skin,
            folds=0,
            roundness=0.8,
            tint=0.9,
        )
    ]
    parts.append(
        Part(
            [face, ellipse(-0.345, 0.6, 0.05, 0.09), ellipse(0.345, 0.6, 0.05, 0.09)], look.skin, folds=0, roundness=1.3
        )
    )
    fringe = outline(
        spline((-0.37, 0.62), (-0.37, 0.25), (-0.2, 0.0), (0.05, -0.05), (0.26, 0.04), (0.38, 0.3), (0.37, 0.62)),
        spline((0.37, 0.62), (0.3, 0.34), (0.05, 0.24), (-0.2, 0.3), (-0.37, 0.62)),
    )
    parts.append(Part([fringe], look.hair, folds=0.4, roundness=1.2))
    return parts


def _hand(arm: np.ndarray) -> np.ndarray:
    along = arm[2] - arm[1]
    centre = arm[2] + along / np.linalg.norm(along) * 0.14
    return ellipse(*centre, 0.11, 0.2, float(np.arctan2(-along[0], along[1])))


def _foot(leg: np.ndarray, side: int, colour) -> Part:
    x, y = leg[2]
    return Part(
        [
            outline(
                spline(
                    (x - 0.14, y - 0.02),
                    (x - 0.17 + 0.05 * side, y + 0.34),
                    (x + 0.08 * side, y + 0.46),
                    (x + 0.17 + 0.05 * side, y + 0.34),
                    (x + 0.14, y - 0.02),
                )
            )
        ],
        colour,
        folds=0,
        roundness=1.2,
    )


def _plain_trousers(pose: Pose, colour) -> list[Part]:
    parts = []
    for side in (-1, 1):
        _, knee, ankle = pose.leg(side)
        outer = spline(
            (0.58 * side, 3.0), (0.81 * side, 3.9), moved(knee, 0.26 * side, 0), moved(ankle, 0.19 * side, 0)
        )
        inner = spline(moved(ankle, -0.17 * side, 0), moved(knee, -0.2 * side, 0), (0.02 * side, 4.4))
        parts.append(Part([outline(outer, inner, np.array([(0.0, 3.0)]))], colour, folds=0.6, angle=0.05 * side))
    return parts


def _plain_top(pose: Pose, colour) -> list[Part]:
    flank = spline((0.72, 1.46), (0.82, 1.54), (0.74, 2.1), (0.6, 2.9), (0.68, 3.3))
    neck = spline((-0.34, 1.38), (0, 1.62), (0.34, 1.38))
    sleeves = []
    for side in (-1, 1):
        shoulder, elbow, _ = pose.arm(side)
        cap = ellipse(*moved(shoulder, 0.0, 0.05), 0.26, 0.25)
        sleeves.append(
            Part([tube(np.stack([shoulder, 0.55 * shoulder + 0.45 * elbow]), (0.28, 0.26)), cap], colour, folds=0.4)
        )
    return [*sleeves, Part([outline(neck, flank, flank[::-1] * (-1, 1))], colour, folds=0.5)]
