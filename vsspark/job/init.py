"""`vsspark init`: a first configuration for a feed, written to a file."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vsspark.catalogue.understood import Understood, understand
from vsspark.config import CatalogueConfig, ColumnsConfig, Config
from vsspark.config.presets import PRESETS
from vsspark.errors import ConfigError
from vsspark.job.init_text import config_text
from vsspark.masking import mask_text
from vsspark.spark import session

_NOT_WRITTEN = ("table", "options", "allowed_roots")  # options hold passwords


def write_config(config: Config, args: argparse.Namespace, say: Callable[[str], None]) -> None:
    """Writes `args.output` for the feed `args.feed` and says what was guessed.

    Raises ConfigError for an output that exists (but for `args.force`) or cannot be written, before anything is read.
    """
    output = Path(args.output)
    for name, given in (("FEED", args.feed), ("--images", args.images or "")):
        if mask_text(given) != given:
            raise ConfigError(f"{name}: got {mask_text(given)} with a password in it, which would stand in the file")
    if output.exists() and not args.force:
        raise ConfigError(f"--output: {output} exists and stays as it is; --force overwrites it")
    if not output.parent.is_dir():
        raise ConfigError(f"--output: {output.parent} is no folder")
    update = {"table": args.feed, "images_root": args.images or config.catalogue.images_root}
    catalogue = config.catalogue.model_copy(update=update)
    spark = session.create("vsspark-init", config.spark)
    found = understand(spark, catalogue, given_keys(config.catalogue))
    try:
        output.write_text(config_text(found, output.name), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--output: {output} cannot be written: {error}") from None
    _say(found, output, say)


def given_keys(catalogue: CatalogueConfig) -> dict[str, Any]:
    """The keys that the user has given, without those that come from a preset."""
    given = catalogue.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    preset = PRESETS.get(given.get("preset") or "", {})
    own = {key: value for key, value in given.items() if key not in _NOT_WRITTEN and value != preset.get(key)}
    for key in ("columns", "csv"):
        if key in own:
            of_preset = preset.get(key, {})
            own[key] = {name: value for name, value in own[key].items() if value != of_preset.get(name)}
    return own


def _say(found: Understood, output: Path, say: Callable[[str], None]) -> None:
    columns = found.preset_columns | {role: name for role, name in found.columns.items() if name}
    say(f"feed        {found.settings['table']}, {found.format}, {len(found.names)} columns")
    say(f"preset      {found.settings['preset'] or 'none fits'}")
    for role in ColumnsConfig.model_fields:
        said = repr(columns[role]) if role in columns else "not found" if role not in found.refused else "not used: "
        note = found.refused.get(role) or found.notes.get(f"columns.{role}")
        say(f"{role:10}  {said}{f' ({note})' if note and role in columns else note or ''}")
    if "images_root" in found.notes:
        say(f"pictures    {found.settings.get('images_root') or ''}: {found.notes['images_root']}".replace(" : ", " "))
    if "table" in found.notes:
        say(f"rows        {found.notes['table']}")
    say(f"written     {output}")
    for key in found.open:
        say(f"to do       set catalogue.{key} in {output}: nothing could be guessed; the file lists what was found")
    say(f"next        vsspark ingest --check --config {output}, then vsspark recommend --config {output}")
