"""Digests of files, and a ledger of what was checked so that no byte is hashed twice in vain.

A digest is a SHA-256 (64 digits) or the SHA-1 that git gives a file (40 digits): caches name large
files by the one and small ones by the other.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from puna.errors import SourceError, StorageError
from puna.formats import write_atomic
from puna.home import home

_CHUNK = 4 << 20
# Files up to this size are read at every load: it costs nothing, and trusts nothing.
_SMALL = 1 << 20

Stamp = tuple[int, int, int, int]


def hash_file(path: Path, on_bytes: Callable[[int], None] | None = None) -> tuple[str, str]:
    """Return the SHA-256 and git's SHA-1 of a file, read once.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            sha256 = hashlib.sha256()
            git = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
            while chunk := file.read(_CHUNK):
                sha256.update(chunk)
                git.update(chunk)
                if on_bytes:
                    on_bytes(len(chunk))
    except OSError as error:
        raise SourceError(f"cannot read {path.name}: {error.strerror}", where=str(path)) from error
    return sha256.hexdigest(), git.hexdigest()


def is_as_recorded(
    path: Path, digest: str, ledger: dict[str, Any], on_bytes: Callable[[int], None] | None = None
) -> bool:
    """Return whether a file has this digest; the ledger answers where it was seen unchanged.

    Unchanged is: the same size, times of change and inode as when it was hashed. The ledger gets
    an entry for a file that had to be hashed.

    Raises:
        SourceError: it cannot be read.
    """
    key = os.path.realpath(path)
    stamp = _stamp(path)
    known = _known(ledger.get(key), stamp)
    if stamp[0] > _SMALL and known is not None:
        if on_bytes:
            on_bytes(stamp[0])
        return digest in known
    digests = hash_file(path, on_bytes)
    if stamp[0] > _SMALL:
        ledger[key] = {"stamp": list(stamp), "digests": list(digests)}
    return digest in digests


def remember(path: Path, digests: tuple[str, str]) -> None:
    """Enter a file just hashed in the ledger."""
    if (stamp := _stamp(path))[0] > _SMALL:
        with open_ledger() as ledger:
            ledger[os.path.realpath(path)] = {"stamp": list(stamp), "digests": list(digests)}


def verify_files(
    folder: Path,
    files: Mapping[str, str],
    *,
    name: str,
    remedy: str,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Check that every file of a model still has the digest it is recorded with.

    Args:
        folder, files: digests by file name, relative to the folder.
        name: of the model.
        remedy: what a user does about a changed file.
        on_progress: called with bytes done and in all.

    Raises:
        SourceError: a file that changed or is missing.
    """
    total, done = sum(_stamp(folder / file)[0] for file in files), 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        if on_progress:
            on_progress(done, total)

    with open_ledger() as ledger:
        for file, digest in files.items():
            if not is_as_recorded(folder / file, digest, ledger, count):
                raise SourceError(
                    f"{file} of {name} changed: its digest is not the recorded {digest[:16]}…",
                    where=str(folder / file),
                    remedy=remedy,
                )


@contextmanager
def open_ledger() -> Iterator[dict[str, Any]]:
    """Yield the ledger, by real path; what was entered is kept where PUNA_HOME can be written."""
    path = home() / "checked.json"
    before = _read(path)
    ledger = dict(before)
    try:
        yield ledger
    finally:
        new = {key: value for key, value in ledger.items() if before.get(key) != value}
        if new:
            with suppress(StorageError, OSError), exclusive(path):
                kept = {k: v for k, v in _read(path).items() if os.path.exists(k)}
                write_atomic(path, json.dumps({**kept, **new}).encode())


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock that guards changes of `path`; it ends with the process.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path.with_name(f".{path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o644)
    try:
        with suppress(OSError):  # some network disks know no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _known(entry: Any, stamp: Stamp) -> list[str] | None:
    """Return the digests of an entry that is of the file as it is now."""
    if not isinstance(entry, dict) or entry.get("stamp") != list(stamp):
        return None
    digests = entry.get("digests")
    return digests if isinstance(digests, list) else None


def _stamp(path: Path) -> Stamp:
    try:
        stat = path.stat()
    except OSError as error:
        raise SourceError(f"cannot read {path.name}: {error.strerror}", where=str(path)) from error
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}  # only ever a saving of time: without it files are hashed again
    return value if isinstance(value, dict) else {}
