"""Writing a file so that a reader sees the old one or the new one, and nothing between."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from puna.errors import StorageError


def write_atomic(path: Path, chunks: bytes | Iterable[bytes | memoryview]) -> None:
    """Write beside `path`, force to disk, rename into place.

    Raises:
        StorageError: the disk did not take it; what was at `path` is still there.
    """
    parts = [chunks] if isinstance(chunks, bytes) else chunks
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as error:
        raise StorageError(
            f"cannot write {path.name}: {error.strerror}; what was there before is untouched",
            where=str(path),
            remedy="free some space or choose another folder",
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
