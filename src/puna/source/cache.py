"""The layout of the Hugging Face cache, which pulled models are kept in.

CACHE/models--ORG--NAME/blobs/DIGEST              the bytes, once
CACHE/models--ORG--NAME/snapshots/COMMIT/FILE     a link to them
CACHE/models--ORG--NAME/refs/REVISION             the commit it was last seen at
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from puna.formats import write_atomic
from puna.home import hub_caches
from puna.source.names import DEFAULT_REVISION, HubName, is_git_id, is_sha256


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A commit of a repository in a cache."""

    cache: Path
    repo: str
    commit: str

    @property
    def folder(self) -> Path:
        """The folder with its files."""
        return storage(self.cache, self.repo) / "snapshots" / self.commit

    def digests(self) -> dict[str, str]:
        """Return the digest each file's blob is named by; files that are no links are left out."""
        found = {}
        for path in sorted(self.folder.rglob("*")):
            blob = Path(os.path.realpath(path)).name
            if path.is_symlink() and path.is_file() and (is_sha256(blob) or is_git_id(blob)):
                found[path.relative_to(self.folder).as_posix()] = blob
        return found


def storage(cache: Path, repo: str) -> Path:
    """Return the folder of a repository in a cache."""
    return cache / f"models--{repo.replace('/', '--')}"


def find_cached(name: HubName) -> Snapshot | None:
    """Return the snapshot of a name in any cache, or None; no connection is made."""
    for cache in hub_caches():
        folder = storage(cache, name.repo)
        commit = _commit(folder, name.revision or DEFAULT_REVISION)
        if commit and (folder / "snapshots" / commit).is_dir():
            return Snapshot(cache, name.repo, commit)
    return None


def all_cached() -> Iterator[Snapshot]:
    """Yield every snapshot of a model in any cache."""
    for cache in hub_caches():
        for folder in sorted(cache.glob("models--*--*/snapshots/*")):
            repo = folder.parent.parent.name.removeprefix("models--").replace("--", "/", 1)
            if is_git_id(folder.name) and folder.is_dir():
                yield Snapshot(cache, repo, folder.name)


def write_ref(cache: Path, repo: str, revision: str, commit: str) -> None:
    """Note in the cache what commit a revision is, for other tools that share it."""
    path = storage(cache, repo) / "refs" / revision
    if revision != commit and not (path.is_file() and path.read_text() == commit):
        write_atomic(path, commit.encode())


def link_blob(blob: Path, path: Path) -> None:
    """Put a file of a snapshot in place: a link to its blob, or a copy where disks have no links.

    Raises:
        OSError: neither can be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.link")
    with suppress(FileNotFoundError):
        temporary.unlink()
    try:
        real = Path(os.path.realpath(blob.parent)) / blob.name
        temporary.symlink_to(os.path.relpath(real, os.path.realpath(path.parent)))
    except OSError:
        os.link(blob, temporary)
    os.replace(temporary, path)


def _commit(folder: Path, revision: str) -> str | None:
    if is_git_id(revision):
        return revision
    with suppress(OSError, ValueError):
        text = (folder / "refs" / revision).read_text(encoding="ascii").strip()
        if is_git_id(text):
            return text
    if re.fullmatch(r"[0-9a-f]{7,39}", revision):
        matches = [path.name for path in (folder / "snapshots").glob(f"{revision}*")]
        return matches[0] if len(matches) == 1 and is_git_id(matches[0]) else None
    return None
