"""Folders and built-in names; hub ids are refused with the way out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from puna.errors import FormatError, SourceError
from puna.formats import find_gguf

_BUILTIN = Path(__file__).resolve().parent.parent / "builtin"
_JSON_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """A model's name, and the folder that holds its files, or its one GGUF file."""

    name: str
    path: Path


def builtin_names() -> tuple[str, ...]:
    """Return the models that ship inside the package."""
    return tuple(sorted(path.parent.name for path in _BUILTIN.glob("*/config.json")))


def resolve(model: str | Path) -> Source:
    """Find a model: a built-in name, a folder that holds a config.json, or a GGUF file.

    A folder without a config.json stands for the one GGUF model in it.

    Raises:
        SourceError: nothing of that name, a folder without a model, or one with several.
    """
    if isinstance(model, str) and model in builtin_names():
        return Source(model, _BUILTIN / model)
    try:
        path = Path(model).expanduser()
        if (path / "config.json").is_file():
            return Source(path.resolve().name, path)
        if path.is_dir():
            return _only_gguf(path)
        if path.suffix == ".gguf" and path.is_file():
            return Source(path.stem, path)
        if path.exists():
            raise SourceError(
                f"{path} is a file",
                remedy="give a GGUF file, or the folder that holds its config.json",
            )
    except (OSError, RuntimeError) as error:  # a name too long, a folder barred, no such home
        reason = getattr(error, "strerror", None) or error
        raise SourceError(f"cannot open {str(model)!r:.120}: {reason}") from error
    raise SourceError(
        f"there is no model {str(model)!r:.120}",
        remedy=f"give a folder, or a built-in name: {', '.join(builtin_names())}; "
        "a model of a hub must be downloaded to a folder first",
    )


def _only_gguf(folder: Path) -> Source:
    models = find_gguf(folder)
    if len(models) == 1:
        return Source(models[0].stem, models[0])
    if models:
        raise SourceError(
            f"the folder {folder} holds {len(models)} GGUF models",
            remedy=f"give one of them, such as {models[0]}",
        )
    raise SourceError(
        f"the folder {folder} holds no config.json", remedy="give the folder of a checkpoint"
    )


def read_json(path: Path, *, what: str) -> dict[str, Any]:
    """Return the JSON object in a file of at most 64 MiB.

    Raises:
        SourceError: the file is not there or cannot be read.
        FormatError: it is not one JSON object; with the line.
    """
    try:
        size = path.stat().st_size
        if size > _JSON_BYTES:
            raise FormatError(f"the {what} has {size} bytes, too many to be one", where=str(path))
        value = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise SourceError(f"cannot read the {what}: {error.strerror}", where=str(path)) from error
    except json.JSONDecodeError as error:
        raise FormatError(
            f"the {what} is not JSON: {error.msg}", where=f"{path}, line {error.lineno}"
        ) from error
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise FormatError(f"the {what} is not readable JSON: {error}", where=str(path)) from error
    if not isinstance(value, dict):
        raise FormatError(f"the {what} must be a JSON object", where=str(path))
    return value


def find_license(folder: Path, config: Mapping[str, Any]) -> str | None:
    """Return the license as the folder states it: card, config, or first line of a license file."""
    for card in ("README.md", "MODEL_CARD.md"):
        head = _head(folder / card)
        for key in ("license_name", "license"):  # a card that says `other` names it apart
            if found := re.search(rf"^{key}:[ \t]*([^\s#].*)$", head, re.M):
                return found[1].strip().strip("\"'")
    if isinstance(stated := config.get("license"), str) and stated:
        return stated
    for path in sorted(folder.glob("LICEN[SC]E*")):
        lines = [line.strip() for line in _head(path).splitlines() if line.strip()]
        if lines:
            return f"{' '.join(lines[:2])} ({path.name})"
    return None


def _head(path: Path) -> str:
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return file.read(8192).decode("utf-8", "replace")
    except OSError:
        return ""
