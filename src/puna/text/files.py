"""Reading and copying the small files that a tokenizer or a chat template is made of."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from puna.errors import PunaError, StorageError, TokenizerError

_MOST_BYTES = 256 << 20  # the largest published tokenizer.json has about 35 MB


def read_bytes(path: Path, error: type[PunaError] = TokenizerError) -> bytes:
    """The bytes of one file; `error` names the file where it cannot be read or is too large."""
    try:
        if (size := path.stat().st_size) > _MOST_BYTES:
            raise error(f"{path.name} has {size:,} bytes, too many to be one", where=str(path))
        return path.read_bytes()
    except OSError as exc:
        raise error(f"{path.name} cannot be read: {exc.strerror}", where=str(path)) from None


def read_head(path: Path, size: int = 4096) -> bytes:
    """The first bytes of a file.

    Raises:
        TokenizerError: it cannot be read.
    """
    try:
        with path.open("rb") as handle:
            return handle.read(size)
    except OSError as exc:
        raise TokenizerError(
            f"{path.name} cannot be read: {exc.strerror}", where=str(path)
        ) from None


def check_size(path: Path, most: int) -> None:
    """Refuses a file of more than `most` bytes before any of it is read.

    Raises:
        TokenizerError: it is larger, or cannot be looked at.
    """
    try:
        size = path.stat().st_size
    except OSError as exc:
        raise TokenizerError(
            f"{path.name} cannot be read: {exc.strerror}", where=str(path)
        ) from None
    if size > most:
        raise TokenizerError(
            f"{path.name} has {size:,} bytes, too many for a vocabulary", where=str(path)
        )


def read_text(path: Path, error: type[PunaError] = TokenizerError) -> str:
    """The text of one UTF-8 file; `error` names the file where it is not UTF-8."""
    try:
        return read_bytes(path, error).decode("utf-8")
    except UnicodeDecodeError as exc:
        raise error(f"{path.name} is not UTF-8 (byte {exc.start})", where=str(path)) from None


def read_object(path: Path, error: type[PunaError] = TokenizerError) -> dict[str, Any]:
    """One JSON object from a file; anything else is an `error` that names the file."""
    text = read_text(path, error)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as exc:
        raise error(
            f"{path.name} is not JSON: {exc.msg}", where=f"{path}, line {exc.lineno}"
        ) from None
    except (RecursionError, ValueError) as exc:
        raise error(f"{path.name} cannot be read as JSON: {exc}", where=str(path)) from None
    if not isinstance(value, dict):
        raise error(f"{path.name} must hold a JSON object", where=str(path))
    return value


def read_object_if_any(path: Path, error: type[PunaError] = TokenizerError) -> dict[str, Any]:
    """As `read_object`, and `{}` where the file is absent."""
    return read_object(path, error) if path.is_file() else {}


def copy_files(files: Iterable[Path], folder: Path) -> tuple[Path, ...]:
    """Copies files byte by byte into a folder, each written through before it gets its name.

    Raises:
        StorageError: a file could not be read or written; a file of that name that was there
            before is still whole.
    """
    return tuple(_copy(source, folder) for source in files)


def write_text(target: Path, text: str) -> Path:
    """Writes one UTF-8 file, through to the disk before it gets its name.

    Raises:
        StorageError: it could not be written; a file that was there before is still whole.
    """
    return _write(target, text.encode())


def _copy(source: Path, folder: Path) -> Path:
    target = folder / source.name
    try:
        if target.exists() and target.samefile(source):
            return target
        data = source.read_bytes()
    except OSError as exc:
        raise StorageError(
            f"{source.name} could not be copied: {exc.strerror or exc}", where=str(target)
        ) from None
    return _write(target, data)


def _write(target: Path, data: bytes) -> Path:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        scratch = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            scratch.chmod(0o644)
            scratch.replace(target)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as exc:
        raise StorageError(
            f"{target.name} could not be written: {exc.strerror or exc}", where=str(target)
        ) from None
    return target
