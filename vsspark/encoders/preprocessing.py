"""What a published image model wants done to a picture, read from its `preprocessor_config.json`."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from pydantic import ValidationError

from vsspark.config import PreprocessingConfig
from vsspark.errors import ConfigError
from vsspark.images.fit import Fit

_KEPT = frozenset(PreprocessingConfig.model_fields)
# Steps beyond PreprocessingConfig that are known here; every other step that a file switches on is refused.
_STEPS = ("do_resize", "do_center_crop", "do_convert_rgb", "do_rescale", "do_normalize", "do_flip_channel_order")
_SHORTEST = ("CLIP", "ConvNext", "Bit", "LeViT", "ChineseCLIP", "Siglip2Fast")  # processors whose bare size is an edge
_BICUBIC, _BILINEAR = 3, 2


class Arithmetic(NamedTuple):
    """A pixel's value x of 0..255 becomes x * scale - shift, channel by channel; then the channels are turned round."""

    scale: tuple[float, float, float]
    shift: tuple[float, float, float]
    blue_first: bool


def read_preprocessing(text: str, where: str) -> PreprocessingConfig:
    """The steps that a `preprocessor_config.json` asks for. Raises ConfigError for one that is not known here."""
    try:
        given = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{where}: no JSON: {error}") from None
    if not isinstance(given, dict):
        raise ConfigError(f"{where}: got a {type(given).__name__}, expected an object")
    if isinstance(given.get("vision_config"), dict) or isinstance(given.get("image_processor"), dict):
        given = given.get("image_processor") or given  # a processor_config.json of several parts
    unknown = [name for name, value in given.items() if name.startswith("do_") and value and name not in _STEPS]
    unknown += [name for name in ("rescale_offset",) if given.get(name)]
    if unknown:
        raise ConfigError(f"{where}: {unknown[0]} is not done here; known are {', '.join(_STEPS)}")
    if given.get("do_resize") is False:
        raise ConfigError(f"{where}: do_resize is false; pictures differ in size, so the encoder needs a size")
    found = {name: value for name, value in given.items() if name in _KEPT and value is not None}
    kind = str(given.get("image_processor_type") or given.get("feature_extractor_type") or "")
    _add_sizes(given, found, kind, where)
    found.setdefault("resample", _BILINEAR if kind.startswith(("ViT", "MobileNet", "LeViT")) else _BICUBIC)
    for name in ("image_mean", "image_std"):
        if isinstance(found.get(name), int | float):
            found[name] = [found[name]] * 3
    if found.get("do_normalize", True) and not {"image_mean", "image_std"} <= set(found):
        raise ConfigError(f"{where}: image_mean and image_std are missing, or do_normalize: false")
    try:
        return PreprocessingConfig.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{where}: {key}: got {first['input']!r}, {first['msg'].lower()}") from None


def _add_sizes(given: dict[str, Any], found: dict[str, Any], kind: str, where: str) -> None:
    """Sets `size` and `crop_size`, whose meaning depends on other keys."""
    size = found.get("size")
    if size is None:
        raise ConfigError(f"{where}: size is missing")
    if isinstance(size, list) and len(size) == 2:
        size = {"height": size[0], "width": size[1]}
    square = given.get("default_to_square", not kind.startswith(_SHORTEST))
    if isinstance(size, int) and not square:
        size = {"shortest_edge": size}
    if isinstance(size, dict):
        size = {name: value for name, value in size.items() if value is not None}
    crop = found.pop("crop_size", None) if given.get("do_center_crop", "crop_size" in given) else None
    found.pop("crop_size", None)
    share = given.get("crop_pct")
    if share and isinstance(size, dict) and "shortest_edge" in size:  # ConvNeXt's rule
        side = size["shortest_edge"]
        size = {"shortest_edge": int(side / share)} if side < 384 else side
        crop = side if side < 384 else None
    if crop is None and given.get("do_center_crop"):
        raise ConfigError(f"{where}: do_center_crop is true and crop_size is missing")
    found["size"] = size
    if crop is not None:
        found["crop_size"] = (
            {"height": crop[0], "width": crop[1]} if isinstance(crop, list) and len(crop) == 2 else crop
        )


def fit_of(preprocessing: PreprocessingConfig, where: str) -> Fit:
    """Resize and cut. Raises ConfigError for a size that leaves pictures of several sizes."""
    size, crop = preprocessing.size, preprocessing.crop_size
    size = {"height": size, "width": size} if isinstance(size, int) else size
    crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
    for name, sides in (("size", size), ("crop_size", crop)):
        if sides is not None and set(sides) not in ({"height", "width"}, {"shortest_edge"}):
            raise ConfigError(f"{where}: {name}: got {sides}, expected height and width, or size.shortest_edge alone")
    cut = (crop["height"], crop["width"]) if crop else None
    if "shortest_edge" not in size:
        resized = size["height"], size["width"]
        return Fit(cut or resized, resized, None, preprocessing.resample)
    if cut is None:
        raise ConfigError(f"{where}: size.shortest_edge leaves the other side open; crop_size must say what is cut")
    return Fit(cut, None, size["shortest_edge"], preprocessing.resample)


def arithmetic_of(preprocessing: PreprocessingConfig) -> Arithmetic:
    factor = preprocessing.rescale_factor if preprocessing.do_rescale else 1.0
    mean, std = (0.0,) * 3, (1.0,) * 3
    if preprocessing.do_normalize:
        mean, std = preprocessing.image_mean, preprocessing.image_std
    scale = tuple(factor / part for part in std)
    shift = tuple(part / by for part, by in zip(mean, std, strict=True))
    return Arithmetic(scale, shift, preprocessing.do_flip_channel_order)
