"""Model files that are safe to open, and the reason for those that are not. Nothing in a model file is executed."""

from __future__ import annotations

import hashlib
import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

from vsspark.errors import ConfigError

_HDF5 = b"\x89HDF\r\n\x1a\n"
_KINDS = {
    b"PK\x03\x04": "a zip archive, as whole Keras models are",
    b"\x80": "a Python pickle",
    b"<": "HTML or XML",
    b"version https://git-lfs": "a Git LFS pointer",
}
_ALLOWED = "allowed are HDF5 weights as Keras saves them (.weights.h5, .h5), or imagenet"


def check_weights(path: str, key: str = "encoder.weights") -> Path:
    """The path of an HDF5 weights file. Raises ConfigError naming the key it was given under for everything else."""
    file = Path(path)
    if not file.is_file():
        problem = "a directory" if file.is_dir() else "no such file"
        raise ConfigError(f"{key}: {path}: found {problem}; {_ALLOWED}")
    try:
        with file.open("rb") as stream:
            head = stream.read(64)
    except OSError as error:
        raise ConfigError(f"{key}: {path} cannot be read: {error}") from None
    if not head.startswith(_HDF5):
        kind = next(
            (text for magic, text in _KINDS.items() if head.startswith(magic)),
            f"a file that begins with {head[:12]!r}" if head else "an empty file",
        )
        raise ConfigError(f"{key}: {path}: found {kind}; {_ALLOWED}")
    if file.suffix != ".h5":
        raise ConfigError(f"{key}: {path}: the name must end in .weights.h5 or .h5 for Keras to read it")
    return file


def load_weights(model, file: Path, what: str, key: str = "encoder.weights") -> None:
    """Fills the model from a checked weights file. Raises ConfigError when it is truncated, corrupt or of another
    architecture.
    """
    import h5py

    groups = ""
    try:
        with h5py.File(file, "r") as content:
            groups = ", ".join(sorted(content)[:6])
        with warnings.catch_warnings():
            # Keras only warns of layers that it leaves at random when it believes the file to come from an older
            # version.
            warnings.filterwarnings("error", message="Skipping nested container")
            model.load_weights(file)
    # H5py and Keras raise every kind for a broken file: OSError, KeyError, ValueError, RuntimeError, TypeError.
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        problem = (
            f"found {first}"
            if isinstance(error, OSError)
            else f"it does not fit {what} ({model.count_params():,} parameters): found groups {groups}; {first}"
        )
        raise ConfigError(f"{key}: {file}: {problem}; {_ALLOWED}") from None


def check_keras_archive(path: Path, key: str) -> None:
    """Passes a `.keras` archive made of Keras's own layers. Raises ConfigError when it is none, or holds code: a
    Lambda, or a class from elsewhere.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ConfigError(
            f"{key}: {path} is no Keras model archive: {error}; allowed are .keras files saved by Keras 3"
        ) from None
    _check_classes(config, path, key, ("keras",))


def check_keras_config(path: Path, key: str) -> None:
    """Passes a preset's JSON file that names classes of Keras and KerasHub alone. Raises ConfigError."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{key}: {path} is no JSON: {error}") from None
    _check_classes(config, path, key, ("keras", "keras_hub"))


def _check_classes(config: Any, path: Path, key: str, packages: tuple[str, ...]) -> None:
    for node in _nodes(config):
        name = str(node.get("class_name"))
        if name in ("Lambda", "__lambda__"):
            raise ConfigError(f"{key}: {path} holds a Lambda layer, which is code; allowed are Keras's own layers")
        module = node.get("module")
        if isinstance(module, str) and module != "builtins" and module.partition(".")[0] not in packages:
            raise ConfigError(
                f"{key}: {path} wants {module}.{name}, which is code from elsewhere; allowed are Keras's own layers"
            )
        if node.get("registered_name") and not isinstance(module, str):
            raise ConfigError(
                f"{key}: {path} wants the custom class {node['registered_name']}; allowed are Keras's own layers"
            )


def content_hash(*parts: bytes | Path) -> str:
    """12 hex digits of the SHA-256 over texts and files' contents."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            with part.open("rb") as stream:
                part = hashlib.file_digest(stream, "sha256").digest()
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:12]


def _nodes(tree: Any):
    """Every dictionary in a JSON tree."""
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)
