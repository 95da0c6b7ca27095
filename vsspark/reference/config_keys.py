"""The page of the configuration: type, default and meaning of every key."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from vsspark.config import Config
from vsspark.config.section import Section
from vsspark.reference.comments import cell, comments_in, plain

_HEAD = """\
# Every key of the configuration

Made from the fields and comments in [vsspark/config](../../vsspark/config) by `python -m vsspark.reference`: change those, not this page.

A key is given in the YAML file (`--config`) or on the command line (`--set knn.k=10`), which wins. An unknown key, a wrong type or a value that is not allowed is
refused by name, with exit code 2.
"""
_KINDS = {str: "text", int: "whole number", float: "number", bool: "`true`, `false`", Any: "anything"}
_BOUNDS = {"ge": "{} or more", "gt": "above {}", "le": "{} or less", "lt": "below {}"}


def config_page() -> str:
    """The page as Markdown."""
    sections = dict(_sections("", Config))
    names = {section: name for name, section in reversed(sections.items())}
    parts = [_HEAD]
    for name, section in sections.items():
        rows = [_row(name, key, field, section, names) for key, field in section.model_fields.items()]
        rows = [row for row in rows if row]
        if rows:
            title = [f"{'#' * (2 + name.count('.'))} {name or 'Other keys'}"]
            about = [plain(" ".join(section.__doc__.split()))] if name and _is_documented(section) else []
            table = "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows])
            parts.append("\n\n".join([*title, *about, table]) + "\n")
    return "\n".join([parts[0], *parts[2:], parts[1]])  # keys of no section come last


def _sections(name: str, section: type[Section]) -> Iterator[tuple[str, type[Section]]]:
    """(dotted key, section) of the section itself and of all below it."""
    yield name, section
    for key, field in section.model_fields.items():
        inner = _inner_section(field.annotation)
        if inner is not None:
            yield from _sections(f"{name}.{key}".lstrip("."), inner)


def _inner_section(annotation: Any) -> type[Section] | None:
    """The section that a key holds; None for values, and for lists of sections."""
    choices = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return next((choice for choice in choices if _is_section(choice)), None)


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _is_documented(section: type[Section]) -> bool:
    return bool(section.__doc__) and section.__doc__ != Section.__doc__


def _row(name: str, key: str, field: FieldInfo, section: type[Section], names: dict[type[Section], str]) -> str:
    """The key's line; "" for one that is a section of its own and no more."""
    if _is_section(field.annotation):
        return ""
    owner = next(each for each in section.__mro__ if key in vars(each).get("__annotations__", {}))
    comments = comments_in(sys.modules[owner.__module__])
    default = "needed" if field.is_required() else f"`{_json(field.get_default(call_default_factory=True))}`"
    cells = (f"`{name}.{key}`".replace("`.", "`"), type_text(field.annotation, field.metadata, names), default)
    meaning = plain(comments.get(f"{owner.__name__}.{key}", ""))
    return f"| {' | '.join(map(cell, (*cells, meaning)))} |"


def _json(value: Any) -> str:
    return json.dumps(value.model_dump() if isinstance(value, Section) else value, ensure_ascii=False)


def type_text(annotation: Any, metadata: Sequence[Any] = (), names: dict[type[Section], str] | None = None) -> str:
    """What a key may hold, in words."""
    origin, inner, names = get_origin(annotation), get_args(annotation), names or {}
    bounds = _bounds(metadata)
    if origin is Annotated:
        return type_text(inner[0], (*inner[1:], *metadata), names)
    if origin in (Union, UnionType):
        texts = dict.fromkeys(type_text(choice, metadata, names) for choice in inner if choice is not NoneType)
        return " or ".join(texts) + ("; null" if NoneType in inner else "")
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin is tuple:
        each = inner[:1] if inner[1:] == (...,) else inner
        count = "list of" if inner[1:] == (...,) else f"list of {len(inner)}:"
        return f"{count} {' and '.join(dict.fromkeys(type_text(one, (), names) for one in each))}{bounds}"
    if origin is dict:
        return f"map of {type_text(inner[0], (), names)} to {type_text(inner[1], (), names)}"
    if _is_section(annotation):
        return f"section like `{names[annotation]}`"
    return _KINDS[annotation] + bounds


def _bounds(metadata: Sequence[Any]) -> str:
    """The limits of a number, text or list: ", 0 to 1"."""
    metadata = [each for given in metadata for each in getattr(given, "metadata", [given])]
    limits = {name: getattr(each, name) for each in metadata for name in _BOUNDS if hasattr(each, name)}
    if {"ge", "le"} <= limits.keys():
        return f", {limits['ge']:g} to {limits['le']:g}"
    said = [_BOUNDS[name].format(f"{limit:g}") for name, limit in limits.items()]
    said += ["not empty" for each in metadata if getattr(each, "min_length", None)]
    return f", {' and '.join(said)}" if said else ""
