"""Small files of a model folder: JSON of bounded size, and what the folder says of its license."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from puna.errors import FormatError, SourceError

_JSON_BYTES = 64 << 20


def read_json(path: Path, *, what: str) -> dict[str, Any]:
    """Return the JSON object in a file of at most 64 MiB.

    Raises:
        SourceError: the file is not there or cannot be read.
        FormatError: it is not one JSON object; with the line.
    """
    try:
        size = path.stat().st_size
        if size > _JSON_BYTES:
            raise _broken(f"the {what} has {size} bytes, too many to be one", path)
        value = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise SourceError(
            f"cannot read the {what}: {error.strerror}",
            where=str(path),
            remedy="give a folder that holds this file, and may be read",
        ) from error
    except json.JSONDecodeError as error:
        raise _broken(f"the {what} is not JSON: {error.msg}", path, error.lineno) from error
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise _broken(f"the {what} is not readable JSON: {error}", path) from error
    if not isinstance(value, dict):
        raise _broken(f"the {what} must be a JSON object", path)
    return value


def _broken(what: str, path: Path, line: int | None = None) -> FormatError:
    return FormatError(
        what,
        where=f"{path}, line {line}" if line else str(path),
        remedy="correct the file, or get it again",
    )


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
