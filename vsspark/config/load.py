"""A YAML file and `--set dotted.key=value` -> validated settings."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from vsspark.config.recommend import SIMILAR
from vsspark.config.sections import Config
from vsspark.errors import ConfigError
from vsspark.masking import MASK, is_secret_name, mask_text, masked

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_Settings = TypeVar("_Settings", bound=BaseModel)


def load_config(path: str | os.PathLike | None = None, overrides: Sequence[str] = ()) -> Config:
    """The validated configuration: defaults, then the YAML file, then `dotted.key=value` overrides; local paths that
    executors see made absolute.

    Raises ConfigError, see `load_settings`.
    """
    config = load_settings(Config, path, overrides)
    _check_together(config)
    config = _with_absolute_paths(config)
    if config.images.link_roots is None and config.catalogue.allowed_roots is not None:
        return config.model_copy(
            update={"images": config.images.model_copy(update={"link_roots": config.catalogue.allowed_roots})}
        )
    return config


def load_settings(model: type[_Settings], path: str | os.PathLike | None, overrides: Sequence[str]) -> _Settings:
    """The validated settings of a model: its defaults, then the YAML file, then `dotted.key=value` overrides.

    Raises ConfigError listing every mistake: the dotted key, what was given, what is allowed.
    """
    tree = {} if path is None else _read_tree(path)
    for item in overrides:
        _apply_override(tree, item, model)
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(problem, model) for problem in error.errors()]
        raise ConfigError(f"{path or 'the built-in defaults'}: " + "; ".join(lines)) from None


def recorded_settings(model: type[_Settings], recorded: Mapping[str, Any]) -> _Settings:
    """A section as a run has recorded it in `runs.config`.

    Another release may have recorded it: keys that are no longer known are left out, and a value that is no longer
    allowed is the default's.
    """
    known = {key: value for key, value in recorded.items() if key in model.model_fields}
    try:
        return model.model_validate(known)
    except ValidationError as error:
        wrong = {problem["loc"][0] for problem in error.errors() if problem["loc"]}
        return model.model_validate({key: value for key, value in known.items() if key not in wrong})


def _read_tree(path: str | os.PathLike) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise ConfigError(f"config file {path} does not exist") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"config file {path} cannot be read as YAML: {error}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"config file {path} holds a {type(tree).__name__}, expected sections such as `catalogue:`")
    return tree


def _with_absolute_paths(config: Config) -> Config:
    """The same with the relative paths that executors use made absolute: each executor has a working directory of its
    own.
    """
    paths = {
        "output": {"path": _absolute(config.output.path)},
        "demo": {"path": _absolute(config.demo.path)},
        "catalogue": {"allowed_roots": _all_absolute(config.catalogue.allowed_roots)},
        "recommend": {"rules": config.recommend.rules and _absolute(config.recommend.rules)},
        "images": {"link_roots": _all_absolute(config.images.link_roots)},
    }
    return config.model_copy(
        update={name: getattr(config, name).model_copy(update=section) for name, section in paths.items()}
    )


def _all_absolute(roots: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return None if roots is None else tuple(_absolute(root) for root in roots)


def _absolute(path: str) -> str:
    """A relative path below the working directory, free of `..`; URIs and absolute paths as they are."""
    return path if path.startswith("/") or _SCHEME.match(path) else os.path.abspath(path)


def _check_together(config: Config) -> None:
    columns, own = config.catalogue.columns, config.catalogue.table is not None
    for surface, keys in config.recommend.lists().items():
        where = "recommend" if surface == SIMILAR else f"recommend.surfaces.{surface}"
        stock_key = "min_stock" if keys.min_stock is not None else "in_stock_only"
        if keys.stocked_only and own and columns.in_stock is None:
            raise ConfigError(
                f"{where}.{stock_key}: got {str(getattr(keys, stock_key)).lower()} without "
                "catalogue.columns.in_stock, which must name the catalogue's stock column"
            )
        if keys.price is not None and own and columns.price is None:
            raise ConfigError(
                f"{where}.price: got limits without catalogue.columns.price, which must name the catalogue's prices"
            )
    if config.report.path is not None and "://" in config.report.path:
        raise ConfigError(
            f"report.path: got {mask_text(repr(config.report.path))}, expected a file on the driver's disk"
        )
    if "://" in config.evaluation.path:
        raise ConfigError(
            f"evaluation.path: got {mask_text(repr(config.evaluation.path))}, expected a folder on the driver's disk"
        )


def _apply_override(tree: dict[str, Any], item: str, model: type[BaseModel]) -> None:
    key, equals, text = item.partition("=")
    # A Spark property's own name has dots: everything after `spark.` is one key.
    parts = ["spark", key.removeprefix("spark.")] if key.startswith("spark.") else key.split(".")
    if not equals or not all(parts):
        raise ConfigError(f"--set {item!r}: expected dotted.key=value, for example --set knn.k=10")
    try:
        # A Spark property is text: a credential must not turn into a number.
        value = text if parts[0] == "spark" else _plain(text) if _is_text(parts, model) else yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {key}: the value is not YAML: {error}") from None
    node = tree
    for part in parts[:-1]:
        child = node.get(part)
        if child is None:
            child = node[part] = {}
        if not isinstance(child, dict):
            raise ConfigError(f"--set {item!r}: {part} is a value, not a section")
        node = child
    node[parts[-1]] = value


def _is_text(parts: Sequence[str], model: type[BaseModel]) -> bool:
    """Whether the key's value is a text, or null, and nothing else."""
    annotation: Any = model
    for part in parts:
        if get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
            continue
        sections = [a for a in (annotation, *get_args(annotation)) if isinstance(a, type) and issubclass(a, BaseModel)]
        if not sections or part not in sections[0].model_fields:
            return False
        annotation = sections[0].model_fields[part].annotation
    return _kinds(annotation) <= {str, type(None)}


def _kinds(annotation: Any) -> set[Any]:
    """The plain types that a value may have."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return set().union(*map(_kinds, get_args(annotation)))
    if get_origin(annotation) is Literal:
        return {type(value) for value in get_args(annotation)}
    return {annotation}


def _plain(text: str) -> str | None:
    """A text as it stands on the command line: null and nothing at all are None, quotes around it are YAML's."""
    if text in ("", "null"):
        return None
    if len(text) > 2 and text[0] == text[-1] and text[0] in "'\"":
        return str(yaml.safe_load(text))
    return text


def _explain(problem: dict[str, Any], model: type[BaseModel]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key, allowed are {', '.join(_siblings(problem['loc'], model))}"
    value = MASK if is_secret_name(key) else mask_text(repr(masked(problem["input"])))
    return f"{key}: got {value}, {problem['msg'][0].lower()}{problem['msg'][1:]}"


def _siblings(loc: tuple, model: type[BaseModel]) -> list[str]:
    section: Any = model
    for part in loc[:-1]:
        section = get_args(section)[0] if isinstance(part, int) else section.model_fields[part].annotation
    return sorted(section.model_fields)
