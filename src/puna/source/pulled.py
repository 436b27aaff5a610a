"""Models of a hub that lie on this disk, pulled or in the user's cache; nothing is asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from puna.errors import SourceError
from puna.formats import check_folder
from puna.source.cache import Snapshot, find_cached
from puna.source.choose import matches
from puna.source.lock import Lock, LockedCommit, read_lock
from puna.source.names import DEFAULT_REVISION, HubName, is_git_id
from puna.source.read import find_license
from puna.source.record import Source

Wanted = Literal["model", "adapter"]
_MARKS = {"model": "config.json", "adapter": "adapter_config.json"}


def find_hub_model(name: HubName, wanted: Wanted = "model") -> Source | None:
    """Return the source of a hub name, or None where no cache has that revision.

    Raises:
        SourceError: it is there but not whole, or holds something else.
        FormatError: its lock file is broken.
    """
    lock = read_lock(name.repo)
    commit = locked_commit(lock, name.revision)
    if commit:
        locked = lock.commits[commit]
        snapshot = Snapshot(Path(locked.cache), name.repo, commit)
        if snapshot.folder.is_dir():
            _check_sizes(name, snapshot, locked)
            digests = {file: entry.sha256 for file, entry in locked.files.items()}
            return _source(name, snapshot, digests, locked.license, wanted)
    if snapshot_ := find_cached(name):
        return _source(name, snapshot_, snapshot_.digests(), None, wanted)
    return None


def locked_commit(lock: Lock, revision: str | None) -> str | None:
    """Return the pulled commit that a revision means, or None.

    Without a revision it is `main`, or the only commit that was pulled.
    """
    if revision is None:
        only = next(iter(lock.commits)) if len(lock.commits) == 1 else None
        return lock.revisions.get(DEFAULT_REVISION, only)
    if revision in lock.revisions:
        return lock.revisions[revision]
    found = [c for c in lock.commits if len(revision) >= 7 and c.startswith(revision)]
    return found[0] if len(found) == 1 else None


def pull_command(name: HubName) -> str:
    """Return the command that pulls a name."""
    if name.pick:
        return f"puna pull {HubName(name.repo, name.revision)} --file {name.pick}"
    return f"puna pull {name}"


def _check_sizes(name: HubName, snapshot: Snapshot, locked: LockedCommit) -> None:
    for file, entry in locked.files.items():
        path = snapshot.folder / file
        try:
            size = path.stat().st_size
        except OSError:
            size = -1
        if size != entry.size:
            state = "missing" if size < 0 else f"of {size} bytes, not {entry.size}"
            raise SourceError(
                f"{file} of {name.repo} is {state}", where=str(path), remedy=pull_command(name)
            )


def _source(
    name: HubName,
    snapshot: Snapshot,
    digests: Mapping[str, str],
    license_: str | None,
    wanted: Wanted,
) -> Source:
    folder = snapshot.folder
    check_folder(folder)
    ggufs = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.gguf")
        if "mmproj" not in path.name
    )
    path, kept = folder, dict(digests)
    if wanted == "adapter" or (name.pick is None and (folder / "config.json").is_file()):
        if not (folder / _MARKS[wanted]).is_file():
            raise SourceError(
                f"{name.repo} is no {wanted}: it holds no {_MARKS[wanted]}", where=str(folder)
            )
        kept = {file: d for file, d in digests.items() if not file.endswith(".gguf")}
    else:
        path = folder / _one_gguf(name, folder, ggufs)
        parts = {p for p in ggufs if _stem(p) == _stem(path.relative_to(folder).as_posix())}
        kept = {f: d for f, d in digests.items() if f in parts or not f.endswith(".gguf")}
    return Source(
        name.repo,
        path,
        revision=snapshot.commit if is_git_id(snapshot.commit) else None,
        files=kept,
        license=license_ or find_license(folder, {}),
        kind="hub",
        base=folder,
    )


def _one_gguf(name: HubName, folder: Path, ggufs: list[str]) -> str:
    first = [file for file in ggufs if _stem(file) == file or "-00001-of-" in file]
    found = [file for file in first if name.pick is None or matches(file, name.pick)]
    if len(found) == 1:
        return found[0]
    if name.pick is not None and not found:
        raise SourceError(
            f"{name.repo} is here, but not its file {name.pick!r:.80}",
            where=str(folder),
            remedy=pull_command(name),
        )
    if found:
        raise SourceError(
            f"{name.repo} is here with {len(found)} GGUF files",
            where=str(folder),
            remedy=f"name one: {', '.join(f'{name.repo}:{file}' for file in found[:4])}",
        )
    mark = "adapter" if (folder / "adapter_config.json").is_file() else None
    raise SourceError(
        f"{name.repo} is an adapter, not a model"
        if mark
        else f"{name.repo} is here without config.json",
        where=str(folder),
        remedy=f"open its base model with --adapter {name.repo}" if mark else pull_command(name),
    )


def _stem(file: str) -> str:
    head, mark, _ = file.rpartition("-of-")
    return head.rpartition("-")[0] if mark and file.endswith(".gguf") else file
