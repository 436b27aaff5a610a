"""The key of the local server, made at first start and kept in PUNA_HOME."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from puna.errors import StorageError
from puna.home import home

_MARK = "puna-"


def server_key() -> str:
    """Return the key, made now if there is none; only its owner may read the file.

    Raises:
        StorageError: PUNA_HOME cannot be written or read, or the key in it is none.
    """
    path = home() / "server_key"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            if key := path.read_text(encoding="ascii", errors="replace").strip():
                return _sound(key, path)
            handle = os.open(path, os.O_WRONLY | os.O_TRUNC)
        key = _MARK + secrets.token_urlsafe(24)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(key + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(
            f"cannot keep the server's key: {error.strerror}",
            where=str(path),
            remedy="set PUNA_HOME to a folder you can write, or pass --api-key",
        ) from error
    return key


def _sound(key: str, path: Path) -> str:
    if not key.isascii() or not key.isprintable() or " " in key:
        raise StorageError(
            "the server's key is damaged",
            where=str(path),
            remedy="remove the file to have a new one made, or pass --api-key",
        )
    return key
