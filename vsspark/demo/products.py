"""The generated catalogue: product i, its photos and their true properties, from the seed and i alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

KINDS = ("dress", "hat", "longsleeve", "outwear", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt")
# Products i with the same i // FAMILY_SIZE are near relatives: one cut, one pattern, other colours and proportions.
FAMILY_SIZE = 4
VIEWS = ("front", "worn", "back", "detail")
BACKGROUNDS = ("white", "grey", "coloured", "room", "floor")
DAMAGES = ("truncated", "empty", "html", "missing")

# RGB as a shop's swatch would show it; neighbours in this order are the colours a family comes in.
COLOURS: dict[str, tuple[int, int, int]] = {
    "white": (240, 238, 232), "cream": (232, 220, 194), "sand": (208, 184, 148), "camel": (184, 138, 88),
    "rust": (176, 84, 46), "brown": (104, 70, 50), "burgundy": (112, 28, 44), "red": (196, 40, 44),
    "coral": (230, 112, 92), "pink": (232, 160, 176), "rose": (206, 96, 126), "purple": (106, 66, 130),
    "lilac": (184, 164, 212), "navy": (34, 44, 80), "blue": (50, 92, 164), "sky": (142, 184, 216),
    "teal": (28, 116, 122), "mint": (164, 210, 188), "green": (52, 118, 74), "olive": (104, 106, 60),
    "mustard": (212, 162, 48), "yellow": (238, 210, 96), "silver": (190, 192, 196), "grey": (128, 130, 134),
    "charcoal": (66, 68, 74), "black": (30, 30, 34),
}  # fmt: skip

_PLAIN, _STRIPES, _CHECK, _DOTS, _FLORAL, _BLOCK, _PRINT, _DENIM = PATTERNS = (
    "plain", "stripes", "check", "dots", "floral", "colour-block", "print", "denim",
)  # fmt: skip
_PATTERN_SHARES: dict[str, dict[str, float]] = {
    "dress": {_PLAIN: 3, _STRIPES: 2, _CHECK: 1, _DOTS: 2, _FLORAL: 4, _BLOCK: 1, _DENIM: 0.5},
    "hat": {_PLAIN: 4, _STRIPES: 1, _CHECK: 1, _DOTS: 0.5, _FLORAL: 0.5, _PRINT: 3, _DENIM: 1},
    "longsleeve": {_PLAIN: 4, _STRIPES: 3, _DOTS: 0.5, _FLORAL: 0.5, _BLOCK: 2, _PRINT: 2},
    "outwear": {_PLAIN: 5, _CHECK: 1, _BLOCK: 2, _DENIM: 1.5},
    "pants": {_PLAIN: 4, _STRIPES: 0.7, _CHECK: 1, _DENIM: 4, _FLORAL: 0.4},
    "shirt": {_PLAIN: 2, _STRIPES: 3, _CHECK: 4, _DOTS: 1, _FLORAL: 1, _DENIM: 1},
    "shoes": {_PLAIN: 4, _BLOCK: 2, _CHECK: 0.7, _FLORAL: 0.4, _DENIM: 0.8},
    "shorts": {_PLAIN: 3, _STRIPES: 1, _CHECK: 1.5, _DOTS: 0.5, _FLORAL: 1.5, _DENIM: 3},
    "skirt": {_PLAIN: 3, _STRIPES: 1, _CHECK: 2, _DOTS: 1.5, _FLORAL: 2, _DENIM: 1.5},
    "t-shirt": {_PLAIN: 3, _STRIPES: 2.5, _DOTS: 0.5, _FLORAL: 0.7, _BLOCK: 1, _PRINT: 4},
}
_VARIANTS = {
    "dress": ("a-line", "shift", "wrap", "tiered"), "hat": ("cap", "beanie", "fedora", "bucket"),
    "longsleeve": ("crew", "turtle", "v", "henley"), "outwear": ("bomber", "puffer", "coat", "hoodie"),
    "pants": ("slim", "straight", "wide", "jogger"), "shirt": ("classic", "short", "loose", "band"),
    "shoes": ("sneaker", "boot", "heel", "loafer"), "shorts": ("tailored", "sport", "cuffed", "cargo"),
    "skirt": ("a-line", "pencil", "pleated", "tiered"), "t-shirt": ("crew", "v", "scoop", "boxy"),
}  # fmt: skip
_PRICES = {
    "dress": 59,
    "hat": 22,
    "longsleeve": 34,
    "outwear": 119,
    "pants": 54,
    "shirt": 44,
    "shoes": 79,
    "shorts": 32,
    "skirt": 39,
    "t-shirt": 19,
}
_WORDS = (
    "Alder",
    "Birch",
    "Cove",
    "Dune",
    "Ember",
    "Fjord",
    "Grove",
    "Harbour",
    "Isle",
    "Juniper",
    "Kestrel",
    "Linden",
    "Meadow",
    "Nordic",
    "Orchard",
    "Pebble",
)


@dataclass(frozen=True)
class ProductSpec:
    """One product; everything its photos share."""

    seed: int
    index: int
    product_id: str
    family: int
    kind: str  # one of KINDS, the category
    variant: str  # the cut, one of the kind's four
    pattern: str  # one of PATTERNS
    colour: str  # the main colour, a key of COLOURS
    second_colour: str  # of the pattern, trims and prints
    name: str
    price: float
    in_stock: bool
    fit: float  # 0 = tight, 1 = loose
    length: float  # 0 = the kind's shortest, 1 = its longest
    sleeve: float  # 0 = none or very short, 1 = the kind's longest
    scale: float  # size of the pattern, 1 = ordinary
    motif: int  # seeds the flowers, prints and stitching details


@dataclass(frozen=True)
class PhotoSpec:
    """One photo of a product; everything that differs between its photos."""

    position: int  # 0 = the product's first
    view: str  # one of VIEWS
    background: str  # one of BACKGROUNDS
    damage: str | None  # one of DAMAGES, or None for a good file


@lru_cache(maxsize=8)
def product_spec(seed: int, index: int) -> ProductSpec:
    """Product `index` of the catalogue with this seed; no other product has to be made for it."""
    family = index // FAMILY_SIZE
    shared = np.random.default_rng([seed, 1, family])
    own = np.random.default_rng([seed, 2, index])
    kind = KINDS[family % len(KINDS)]
    shares = _PATTERN_SHARES[kind]
    pattern = str(shared.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values())))
    variant = str(shared.choice(_VARIANTS[kind]))
    fit, length, sleeve, scale = shared.uniform(0.1, 0.9, 4)
    base, second = shared.integers(len(COLOURS)), shared.integers(4, len(COLOURS) - 4)
    names = list(COLOURS)
    # Every member of a family takes another step from its colour, so siblings are alike and still told apart.
    step = (index % FAMILY_SIZE) * int(shared.choice([1, 2, 7]))
    colour = (
        names[(base + step) % len(names)]
        if pattern != _DENIM
        else ("blue", "navy", "sky", "charcoal")[(base + index) % FAMILY_SIZE]
    )
    second_colour = names[(base + step + second) % len(names)]
    word = f"{_WORDS[shared.integers(len(_WORDS))]} {family % 97 + 1}"
    near = own.normal(0.0, 0.05, 3)
    return ProductSpec(
        seed=seed,
        index=index,
        product_id=f"P{index:07d}",
        family=family,
        kind=kind,
        variant=variant,
        pattern=pattern,
        colour=colour,
        second_colour=second_colour,
        name=f"{word} {variant} {kind}, {colour}" + ("" if pattern == _PLAIN else f", {pattern}"),
        price=round(_PRICES[kind] * float(shared.uniform(0.6, 1.7)) + float(own.integers(-3, 4))) - 0.01,
        in_stock=bool(own.random() < 0.9),
        fit=float(np.clip(fit + near[0], 0, 1)),
        length=float(np.clip(length + near[1], 0, 1)),
        sleeve=float(np.clip(sleeve + near[2], 0, 1)),
        scale=float(0.7 + 0.7 * scale) * float(own.uniform(0.9, 1.1)),
        motif=int(shared.integers(2**31)),
    )


def photo_specs(product: ProductSpec, damaged_share: float = 0.01) -> tuple[PhotoSpec, ...]:
    """The product's 3 to 6 photos: the front first, then others in a seeded order. The first is never damaged."""
    rng = np.random.default_rng([product.seed, 3, product.index])
    views = ["front", *rng.permutation(["worn", "back", "detail", "worn", "front"])[: rng.integers(2, 6)]]
    photos = []
    for position, view in enumerate(views):
        background = rng.choice(BACKGROUNDS, p=(0.7, 0.2, 0.1, 0, 0) if position == 0 else (0.25, 0.2, 0.2, 0.2, 0.15))
        damage, kind = rng.random(), str(rng.choice(DAMAGES))
        # The first photo is spared, the others carry its share: 4.5 photos on average, 3.5 that can be damaged.
        photos.append(
            PhotoSpec(
                position, str(view), str(background), kind if position and damage < damaged_share * 4.5 / 3.5 else None
            )
        )
    return tuple(photos)
