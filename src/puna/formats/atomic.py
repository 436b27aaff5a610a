"""Writing a file so that a reader sees the old one or the new one, and nothing between."""

from __future__ import annotations

import fcntl
import glob
import os
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from puna.errors import StorageError


def write_atomic(
    path: Path,
    chunks: bytes | Iterable[bytes | memoryview],
    *,
    check: Callable[[Path], None] | None = None,
) -> None:
    """Write beside `path`, force to disk, rename into place.

    What a killed writer of the same path left behind is removed.

    Args:
        path: the file.
        chunks: what is in it.
        check: called with the whole file before it takes its place; what it raises leaves the old
            file there.

    Raises:
        StorageError: the disk did not take it; what was at `path` is still there.
    """
    parts = [chunks] if isinstance(chunks, bytes) else chunks
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, handle = _open_beside(path)
        with os.fdopen(handle, "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
            if check is not None:
                check(temporary)
            os.replace(temporary, path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as error:
        raise StorageError(
            f"cannot write {path.name}: {error.strerror or error}; "
            "what was there before is untouched",
            where=str(path),
            remedy="free some space or choose another folder",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Find out whether `write_atomic` could begin; nothing stays behind.

    Raises:
        StorageError: a folder stands at `path`, or the folder it is to lie in cannot be written.
    """
    if not path.name or path.is_dir():
        raise StorageError(
            f"cannot write {str(path)!r:.120}: it is a folder", remedy="give the name of a file"
        )
    try:
        made = [folder for folder in path.parents if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, handle = _open_beside(path)
        os.close(handle)
        temporary.unlink(missing_ok=True)
        for folder in made:
            folder.rmdir()
    except OSError as error:
        raise StorageError(
            f"cannot write into {str(path.parent)!r:.120}: {error.strerror or error}",
            where=str(path),
            remedy="choose a folder that can be made and written",
        ) from error


def _open_beside(path: Path) -> tuple[Path, int]:
    """Return a new file beside `path`, and its descriptor, locked for as long as it is open."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        _lock(folder)  # nobody sweeps between making a file and locking it
        for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
            _sweep(left)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)
        _lock(handle)
        return temporary, handle
    finally:
        os.close(folder)


def _sweep(left: Path) -> None:
    """Remove a file whose writer is gone: a lock ends with the process that held it."""
    with suppress(OSError):
        handle = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()
        finally:
            os.close(handle)


def _lock(handle: int) -> None:
    with suppress(OSError):  # some network disks know no locks; there nothing is swept
        fcntl.flock(handle, fcntl.LOCK_EX)


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # some network disks sync no folder; the file itself is written
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
