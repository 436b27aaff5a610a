"""The index that names the shard of each tensor."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from puna.errors import FormatError, SourceError

_INDEX_BYTES = 64 << 20
_MOST_SHARDS = 10_000  # the largest published models have some hundred


def read_index(path: Path) -> dict[str, Path]:
    """Return the shard file of each tensor; names that climb out of the folder are refused.

    Raises:
        FormatError: not an index, or a shard name that is more than a file name.
        SourceError: the index or one of its shards is not there.
    """
    try:
        if path.stat().st_size > _INDEX_BYTES:
            raise FormatError(f"{path.name} is too large to be an index", where=str(path))
        value: Any = json.loads(path.read_bytes())
    except OSError as error:
        raise SourceError(f"cannot read {path.name}: {error.strerror}", where=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path.name} is not JSON: {error}", where=str(path)) from error
    names = value.get("weight_map") if isinstance(value, dict) else None
    if not isinstance(names, dict) or not names:
        raise FormatError(f"{path.name} has no weight_map", where=str(path))
    files = _files(path, names.values())
    for shard in sorted(files.values()):
        if not _is_file(shard):
            raise SourceError(
                f"the shard {shard.name!r:.120} is missing",
                where=str(path),
                remedy="download it into the same folder",
            )
    return {name: files[shard] for name, shard in names.items()}


def _files(index: Path, names: Iterable[Any]) -> dict[str, Path]:
    """Return the path of each shard, once however many tensors it holds."""
    files: dict[str, Path] = {}
    for name in names:
        if isinstance(name, str) and name in files:
            continue
        if len(files) == _MOST_SHARDS:
            raise FormatError(
                f"{index.name} names more than {_MOST_SHARDS:,} shards", where=str(index)
            )
        path = _shard(index, name)
        files[path.name] = path
    return files


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long for the disk, a folder that may not be entered
        return False


def _shard(index: Path, name: Any) -> Path:
    if not isinstance(name, str) or Path(name).name != name or name in {"", ".", ".."}:
        raise FormatError(
            f"{index.name} names a shard outside its folder: {name!r:.120}", where=str(index)
        )
    return index.parent / name
