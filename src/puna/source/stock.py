"""What models are on this disk: built in, pulled, in Ollama's store, in the user's hub cache."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from puna.errors import PunaError
from puna.source.cache import Snapshot, all_cached
from puna.source.lock import all_locks
from puna.source.ollama import ollama_bytes, ollama_names, read_ollama
from puna.source.places import builtin_names, resolve
from puna.source.read import find_license


@dataclass(frozen=True, slots=True)
class Item:
    """One model: how to name it, where it comes from, bytes on disk, and what is recorded."""

    name: str
    kind: str
    size: int
    license: str | None
    revision: str | None
    pulled: str | None
    path: Path

    @property
    def place(self) -> str | None:
        """The cache or store that holds it; None for what ships inside."""
        if self.kind == "built in":
            return None
        return str(self.path.parents[4 if self.kind == "ollama" else 2])


def inventory() -> list[Item]:
    """Return every model on this disk.

    Raises:
        FormatError: a lock file is broken.
    """
    pulled = _pulled()
    known = {(item.name.partition("@")[0], item.revision) for item in pulled}
    cached = [_cached(snapshot) for snapshot in all_cached()]
    return [
        *(_builtin(name) for name in builtin_names()),
        *pulled,
        *(item for item in cached if item and (item.name, item.revision) not in known),
        *(_ollama(name, manifest) for name, manifest in ollama_names()),
    ]


def _builtin(name: str) -> Item:
    folder = resolve(name).path
    size = sum(path.stat().st_size for path in folder.iterdir())
    return Item(name, "built in", size, find_license(folder, {}), None, None, folder)


def _pulled() -> list[Item]:
    items = []
    for lock in all_locks():
        for commit, entry in lock.commits.items():
            names = [r for r, c in lock.revisions.items() if c == commit and r != "main"]
            main = lock.revisions.get("main") == commit or not names
            folder = Snapshot(Path(entry.cache), lock.repo, commit).folder
            size = sum({file.blob: file.size for file in entry.files.values()}.values())
            name = lock.repo if main else f"{lock.repo}@{names[0]}"
            items.append(Item(name, "pulled", size, entry.license, commit, entry.pulled, folder))
    return items


def _cached(snapshot: Snapshot) -> Item | None:
    files = [path for path in snapshot.folder.rglob("*") if path.is_file()]
    weights = any(path.suffix in {".safetensors", ".bin", ".gguf"} for path in files)
    if not weights:
        return None
    size = sum({path.resolve(): path.stat().st_size for path in files}.values())
    stated = find_license(snapshot.folder, {})
    return Item(snapshot.repo, "hub cache", size, stated, snapshot.commit, None, snapshot.folder)


def _ollama(name: str, manifest: Path) -> Item:
    stated = None
    with suppress(PunaError):  # one that cannot be opened is listed all the same
        stated = read_ollama(name).license
    return Item(f"ollama:{name}", "ollama", ollama_bytes(manifest), stated, None, None, manifest)
