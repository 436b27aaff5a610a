"""A model's folder before anything in it is opened: its files lie in it, and are files."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from puna.errors import SourceError


def check_folder(folder: Path) -> None:
    """Refuse a folder with a link that leads out of it, or with a pipe, socket or device.

    What a link leads to would be read, shown, and copied by whatever saves the model again; a
    folder from elsewhere must not choose that. The folder itself may be a link, and links within
    it are fine, as are those of a snapshot in a hub's cache to the blobs of its repository.
    Hidden files are no part of a model and are passed over, as is what cannot be listed.

    Raises:
        SourceError: names the entry and what it is.
    """
    roots = _roots(folder)
    for entry in _entries(folder, below=1):
        if entry.is_symlink():
            _check_link(entry, roots)
        elif not (entry.is_file() or entry.is_dir()):
            raise _no_file(entry)


def _entries(folder: str | Path, below: int) -> Iterator[os.DirEntry[str]]:
    """Yield what a folder holds, and what its own folders hold down to `below` levels."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            yield entry
            if below and entry.is_dir(follow_symlinks=False):
                yield from _entries(entry.path, below - 1)


def _roots(folder: Path) -> tuple[str, ...]:
    """Return where links may lead: into the folder, and from a snapshot to its blobs."""
    whole = Path(os.path.realpath(folder))
    if whole.parent.name == "snapshots" and whole.parent.parent.name.startswith("models--"):
        return str(whole), os.path.realpath(whole.parent.parent / "blobs")
    return (str(whole),)


def _check_link(entry: os.DirEntry[str], roots: tuple[str, ...]) -> None:
    target = os.path.realpath(entry.path)
    if not any(target == root or target.startswith(root + os.sep) for root in roots):
        raise SourceError(
            f"{entry.name!r:.120} is a link that leads out of the model's folder",
            where=f"{entry.path} → {target}",
            remedy="put the file itself in the link's place, or remove the link",
        )
    with suppress(OSError):  # one that leads nowhere is as good as not there
        mode = os.stat(target).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise _no_file(entry)


def _no_file(entry: os.DirEntry[str]) -> SourceError:
    return SourceError(
        f"{entry.name!r:.120} is a pipe, socket or device, and no file of a model",
        where=entry.path,
        remedy="remove it, or get the folder again",
    )
