"""Remove a pulled model: what Puna fetched, unless another model has it, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from puna.errors import SourceError, StorageError, UsageError
from puna.home import hub_cache, own_cache
from puna.source.cache import Snapshot, storage
from puna.source.catalog import catalog_id
from puna.source.choose import matches
from puna.source.lock import LockedCommit, drop_files, read_lock
from puna.source.names import HubName, is_git_id, is_sha256, parse_hub_name
from puna.source.ollama import find_ollama
from puna.source.places import builtin_names
from puna.source.pulled import locked_commit


@dataclass(frozen=True, slots=True)
class Removal:
    """What would be removed: files by commit, blobs that nothing else uses, and their bytes."""

    repo: str
    files: dict[str, tuple[str, ...]]
    blobs: tuple[Path, ...]
    size: int
    shared: int
    kept_elsewhere: tuple[Path, ...]


def plan_removal(model: str) -> Removal:
    """Return what removing a model means; nothing is touched.

    Args:
        model: `ORG/NAME` for all pulled revisions, with `@REVISION` for one, with `:FILE` for one
            GGUF file; or a name of the catalog.

    Raises:
        UsageError: a model that is not Puna's to remove; says whose it is.
        SourceError: nothing of that name was pulled.
    """
    name = parse_hub_name(catalog_id(model) or model)
    lock = read_lock(name.repo) if name else None
    if name is None or lock is None:
        raise _not_ours(model)
    if not lock.commits:
        left = _leftovers(name)
        if left.blobs:
            return left
        raise _not_ours(model)
    commits = dict(lock.commits)
    if name.revision:
        commit = locked_commit(lock, name.revision)
        if commit is None:
            raise SourceError(
                f"{name.repo} was not pulled at {name.revision!r:.80}",
                remedy=f"pulled are: {', '.join([*lock.revisions, *(c[:12] for c in commits)])}",
            )
        commits = {commit: lock.commits[commit]}
    files = {commit: _chosen(name, entry) for commit, entry in commits.items()}
    return _weigh(name.repo, lock.commits, files)


def remove(removal: Removal) -> None:
    """Carry out a removal; the lock file changes first, so that a kill leaves no broken model.

    Raises:
        StorageError: a file that cannot be removed.
    """
    commits = read_lock(removal.repo).commits
    for commit, names in removal.files.items():
        entry = commits.get(commit)
        snapshot = _snapshot(removal.repo, commit, entry)
        if snapshot is None:
            continue
        fetched = [name for name in names if entry is None or entry.files[name].fetched]
        if entry is not None:
            drop_files(removal.repo, commit, set(names))
        for name in fetched:
            _unlink(snapshot.folder / name, storage(snapshot.cache, removal.repo))
    for blob in removal.blobs:
        _unlink(blob, blob.parent.parent)
    for commit in removal.files:
        if snapshot := _snapshot(removal.repo, commit, commits.get(commit)):
            _tidy(snapshot)


def _snapshot(repo: str, commit: str, entry: LockedCommit | None) -> Snapshot | None:
    """Return where a commit lies; one that no lock has is Puna's in Puna's own cache alone."""
    cache = own_cache() if entry is None else Path(entry.cache)
    return Snapshot(cache, repo, commit) if cache else None


def _chosen(name: HubName, entry: LockedCommit) -> tuple[str, ...]:
    if name.pick is None:
        return tuple(entry.files)
    found = tuple(f for f in entry.files if f.endswith(".gguf") and matches(f, name.pick))
    if not found:
        raise SourceError(f"{name.repo} was not pulled with a file {name.pick!r:.80}")
    rest = {file for file in entry.files if file.endswith(".gguf")} - set(found)
    return found if rest else tuple(entry.files)


def _weigh(
    repo: str, commits: Mapping[str, LockedCommit], files: dict[str, tuple[str, ...]]
) -> Removal:
    going: set[Path] = set()
    blobs: dict[Path, int] = {}
    elsewhere: set[Path] = set()
    for commit, names in files.items():
        entry = commits[commit]
        snapshot = Snapshot(Path(entry.cache), repo, commit)
        for name in names:
            locked = entry.files[name]
            if not locked.fetched:
                elsewhere.add(snapshot.cache)
                continue
            going.add(snapshot.folder / name)
            blob = storage(snapshot.cache, repo) / "blobs" / locked.blob
            if blob.is_file() and not blob.is_symlink():
                blobs[blob] = locked.size
    kept = {blob for blob in blobs if any(_users(blob, going))}
    free = {blob: size for blob, size in blobs.items() if blob not in kept}
    shared = sum(blobs[blob] for blob in kept)
    return Removal(repo, files, tuple(free), sum(free.values()), shared, tuple(sorted(elsewhere)))


def _leftovers(name: HubName) -> Removal:
    """Return what a pull that broke off left: partial files, and whole ones in Puna's own cache."""
    folder = storage(hub_cache(), name.repo)
    mine = own_cache() is not None
    snapshots = (folder / "snapshots").glob("*") if mine else ()
    found = (folder / "blobs").glob("*" if mine else "*.incomplete")
    named = [path for path in found if is_sha256(path.stem) or is_git_id(path.stem)]
    blobs = {path: path.stat().st_size for path in named if not path.is_symlink()}
    files = {
        place.name: tuple(Snapshot(hub_cache(), name.repo, place.name).digests())
        for place in snapshots
        if is_git_id(place.name)
    }
    return Removal(name.repo, files, tuple(blobs), sum(blobs.values()), 0, ())


def _users(blob: Path, going: set[Path]) -> Iterator[Path]:
    """Yield files of snapshots that need a blob and are not being removed."""
    real = blob.resolve()
    for path in (blob.parent.parent / "snapshots").rglob("*"):
        if path.is_symlink() and path not in going and path.resolve() == real:
            yield path


def _unlink(path: Path, store: Path) -> None:
    """Remove a file whose folder really lies in the store."""
    folder = Path(os.path.realpath(path.parent))
    if not folder.is_relative_to(os.path.realpath(store)):
        raise StorageError("a folder of the store leads out of it", where=str(path.parent))
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot remove {path.name}: {error.strerror}", where=str(path)
        ) from error


def _tidy(snapshot: Snapshot) -> None:
    """Remove folders that are empty now, and references to a commit that is gone."""
    store = storage(snapshot.cache, snapshot.repo)
    for folder in sorted((p for p in snapshot.folder.rglob("*") if p.is_dir()), reverse=True):
        with suppress(OSError):
            folder.rmdir()
    with suppress(OSError):
        snapshot.folder.rmdir()
    if not snapshot.folder.exists():
        for ref in (path for path in (store / "refs").rglob("*") if path.is_file()):
            if ref.read_text(errors="replace").strip() == snapshot.commit:
                ref.unlink()
    for folder in (store / "refs", store / "snapshots", store / "blobs", store):
        with suppress(OSError):
            folder.rmdir()


def _not_ours(model: str) -> UsageError | SourceError:
    if model in builtin_names():
        return UsageError(f"{model} is part of Puna and cannot be removed")
    if model.startswith("ollama:") or find_ollama(model):
        name = model.removeprefix("ollama://").removeprefix("ollama:")
        return UsageError(f"{model} belongs to Ollama", remedy=f"ollama rm {name}")
    if os.path.isdir(model):
        return UsageError(
            f"{model} is a folder of yours, which Puna does not remove", remedy="remove it yourself"
        )
    return SourceError(
        f"{model!r:.120} was not pulled by Puna",
        remedy="puna list shows what was; models of the hub cache go with: hf cache rm",
    )
