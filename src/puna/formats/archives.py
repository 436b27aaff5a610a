"""Archives, which are never opened: what one is called, by its first bytes or its name."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_MAGIC: Final = {
    b"PK\3\4": "zip",
    b"\x1f\x8b": "gzip",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"Rar!": "rar",
}
_TAR: Final = (257, b"ustar")
_SUFFIXES: Final = {
    ".zip": "zip", ".gz": "gzip", ".tgz": "tar", ".tar": "tar", ".nemo": "tar", ".bz2": "bzip2",
    ".xz": "xz", ".zst": "zstd", ".7z": "7z", ".rar": "rar",
}  # fmt: skip
UNPACK: Final = "unpack it, look at what was in it, and give that folder"


def archive_kind(head: bytes) -> str | None:
    """Return what kind of archive begins with these bytes (262 tell all kinds), or None."""
    at, mark = _TAR
    if head[at : at + len(mark)] == mark:
        return "tar"
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)


def named_archive(path: Path) -> str | None:
    """Return what kind of archive a file's name says it is, or None."""
    return _SUFFIXES.get(path.suffix.lower())


def find_archive(folder: Path) -> Path | None:
    """Return the first archive of a folder by name, or None."""
    return next((path for path in sorted(folder.glob("*")) if named_archive(path)), None)
