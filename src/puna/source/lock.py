"""The lock file of a pulled model: which commit a revision was, and what its files were.

`PUNA_HOME/pulled/models--ORG--NAME/puna.lock.json`, one per repository. Paths in it are checked as
if a stranger had written it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from puna.errors import FormatError, StorageError
from puna.formats import write_atomic
from puna.home import home
from puna.source.digest import exclusive
from puna.source.names import check_commit, check_file_name, is_git_id, is_sha256
from puna.source.read import read_json

LOCK_NAME = "puna.lock.json"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class LockedFile:
    """One file: bytes, SHA-256, what the cache calls its blob, and whether Puna fetched it."""

    size: int
    sha256: str
    blob: str
    fetched: bool


@dataclass(frozen=True, slots=True)
class LockedCommit:
    """A commit as it was pulled: the cache it lies in, the hub, when (UTC), license, files."""

    cache: str
    endpoint: str
    pulled: str
    license: str | None
    files: Mapping[str, LockedFile]


@dataclass(frozen=True, slots=True)
class Lock:
    """What was pulled of a repository: commits by revision, and each commit's files."""

    repo: str
    revisions: Mapping[str, str] = field(default_factory=dict)
    commits: Mapping[str, LockedCommit] = field(default_factory=dict)


def lock_path(repo: str) -> Path:
    """Return where the lock file of a repository is, or would be."""
    return home() / "pulled" / f"models--{repo.replace('/', '--')}" / LOCK_NAME


def read_lock(repo: str) -> Lock:
    """Return the lock of a repository; an empty one where nothing was pulled.

    Raises:
        FormatError: the file is broken, hostile, or of a newer version.
    """
    path = lock_path(repo)
    if not path.is_file():
        return Lock(repo)
    return _parse(read_json(path, what="lock file"), path)


def all_locks() -> list[Lock]:
    """Return the lock of every pulled repository, by name."""
    paths = sorted((home() / "pulled").glob(f"models--*--*/{LOCK_NAME}"))
    return [_parse(read_json(path, what="lock file"), path) for path in paths]


def enter_commit(repo: str, revisions: tuple[str, ...], commit: str, new: LockedCommit) -> Lock:
    """Record a pulled commit; files that were pulled of it before stay recorded.

    Raises:
        StorageError: the lock file cannot be written.
    """
    path = lock_path(repo)
    try:
        with exclusive(path):
            lock = read_lock(repo)
            if (old := lock.commits.get(commit)) and old.cache == new.cache:
                new = replace(new, files={**old.files, **_kept_fetched(old.files, new.files)})
            lock = Lock(
                repo,
                {**lock.revisions, **dict.fromkeys(revisions, commit)},
                {**lock.commits, commit: new},
            )
            _write(path, lock)
    except OSError as error:
        raise StorageError(
            f"cannot write the lock file: {error.strerror}", where=str(path)
        ) from error
    return lock


def drop_files(repo: str, commit: str, names: set[str]) -> None:
    """Remove files from the record of a commit, and what is empty then.

    Raises:
        StorageError: the lock file cannot be written.
    """
    path = lock_path(repo)
    try:
        with exclusive(path):
            lock = read_lock(repo)
            old = lock.commits[commit]
            files = {name: file for name, file in old.files.items() if name not in names}
            commits = {**lock.commits, commit: replace(old, files=files)}
            if not files:
                del commits[commit]
            revisions = {r: c for r, c in lock.revisions.items() if c in commits}
            if commits:
                _write(path, Lock(repo, revisions, commits))
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot write the lock file: {error.strerror}", where=str(path)
        ) from error


def _kept_fetched(
    old: Mapping[str, LockedFile], new: Mapping[str, LockedFile]
) -> dict[str, LockedFile]:
    """Return `new`, where what Puna fetched once stays marked as fetched."""
    return {
        name: replace(file, fetched=file.fetched or (name in old and old[name].fetched))
        for name, file in new.items()
    }


def _write(path: Path, lock: Lock) -> None:
    write_atomic(
        path, (json.dumps({"version": _VERSION, **asdict(lock)}, indent=1) + "\n").encode()
    )


def _parse(value: Mapping[str, Any], path: Path) -> Lock:
    if value.get("version") != _VERSION:
        raise FormatError(
            f"the lock file has version {value.get('version')!r:.20}, not {_VERSION}",
            where=str(path),
            remedy="use the version of Puna that wrote it, or pull the model again elsewhere",
        )
    repo, revisions, commits = (value.get(key) for key in ("repo", "revisions", "commits"))
    if (
        not isinstance(repo, str)
        or not isinstance(revisions, dict)
        or not isinstance(commits, dict)
    ):
        raise _broken(path, "repo, revisions or commits is missing")
    parsed = {
        check_commit(commit, where=str(path)): _commit(body, path)
        for commit, body in commits.items()
    }
    if path != lock_path(repo):
        raise _broken(path, f"it is of {repo!r:.80}")
    if not all(isinstance(commit, str) and commit in parsed for commit in revisions.values()):
        raise _broken(path, "a revision names a commit that is not there")
    return Lock(repo, revisions, parsed)


def _commit(body: Any, path: Path) -> LockedCommit:
    if not isinstance(body, dict) or not isinstance(body.get("files"), dict):
        raise _broken(path, "a commit is no object with files")
    cache, endpoint, pulled = (body.get(key) for key in ("cache", "endpoint", "pulled"))
    stated = body.get("license")
    if not (
        isinstance(cache, str)
        and isinstance(endpoint, str)
        and isinstance(pulled, str)
        and isinstance(stated, str | None)
    ):
        raise _broken(path, "cache, endpoint, pulled or license is no text")
    files = {
        check_file_name(name, where=str(path)): _file(entry, path)
        for name, entry in body["files"].items()
    }
    return LockedCommit(cache, endpoint, pulled, stated, files)


def _file(entry: Any, path: Path) -> LockedFile:
    if not isinstance(entry, dict):
        raise _broken(path, "a file is no object")
    size, sha256, blob, fetched = (entry.get(k) for k in ("size", "sha256", "blob", "fetched"))
    if (
        type(size) is not int
        or not is_sha256(sha256)
        or not (is_sha256(blob) or is_git_id(blob))
        or not isinstance(fetched, bool)
    ):
        raise _broken(path, "size, sha256, blob or fetched of a file cannot be")
    return LockedFile(size, str(sha256), str(blob), fetched)


def _broken(path: Path, why: str) -> FormatError:
    return FormatError(
        f"the lock file is broken: {why}",
        where=str(path),
        remedy="delete it and pull the model again; what is on disk is used",
    )
