"""One file of a hub to one blob of a cache: resumed where it broke off, checked before it counts.

`huggingface_hub` (2.4) starts every file anew in a new process: its partial files carry a random
name and are removed. So the transfer is done here, on the library's session, headers and errors:
a partial file keeps its name, and a range request goes on from its end. What arrives is hashed as
it lies on the disk, and only then takes the name that makes it part of a model.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from puna.errors import FormatError
from puna.source.cache import link_blob, storage
from puna.source.digest import hash_file, is_as_recorded, open_ledger, remember
from puna.source.hub import HubFile, retrying

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_CHUNK = 256 << 10


class Stopped(Exception):
    """Another file of the same pull failed, or the user broke off."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where files of one commit go; `stop` ends every transfer at its next chunk."""

    api: HfApi
    repo: str
    commit: str
    cache: Path
    stop: threading.Event

    @property
    def storage(self) -> Path:
        """The folder of the repository in the cache."""
        return storage(self.cache, self.repo)

    def blob(self, file: HubFile) -> Path:
        """Where the bytes of a file are kept."""
        return self.storage / "blobs" / file.digest

    def partial(self, file: HubFile) -> Path:
        """Where they are gathered."""
        return self.storage / "blobs" / f"{file.digest}.incomplete"

    def link(self, file: HubFile) -> Path:
        """Where the commit has the file."""
        return self.storage / "snapshots" / self.commit / file.name


def has_size(place: Place, file: HubFile) -> bool:
    """Return whether the commit has a file of that name and size."""
    path = place.link(file)
    return path.is_file() and path.stat().st_size == file.size


def is_here(place: Place, file: HubFile, on_bytes: Callable[[int], None] | None = None) -> bool:
    """Return whether the commit has the file, whole and with its digest."""
    if not has_size(place, file):
        return False
    with open_ledger() as ledger:
        return is_as_recorded(place.link(file), file.digest, ledger, on_bytes)


def bytes_to_fetch(place: Place, file: HubFile) -> int:
    """Return how many bytes of a file that is not here are not on this disk in another form."""
    blob, partial = place.blob(file), place.partial(file)
    if not place.link(file).exists() and blob.is_file() and blob.stat().st_size == file.size:
        return 0
    begun = partial.stat().st_size if partial.is_file() else 0
    return file.size - begun if begun <= file.size else file.size


def fetch(place: Place, file: HubFile, on_bytes: Callable[[int], None]) -> None:
    """Bring one file to its place; of two processes that want it, one fetches and one waits.

    Raises:
        FormatError: what the hub sends is not what it announced; nothing of it is kept.
        Stopped: `place.stop` was set.
        Exception: of the library or the disk.
    """
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    blob = place.blob(file)
    blob.parent.mkdir(parents=True, exist_ok=True)
    # The lock that the library itself takes, so that other tools on this cache wait too.
    lock = place.cache / ".locks" / place.storage.name / f"{file.digest}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    if place.stop.is_set():
        raise Stopped
    with WeakFileLock(lock):
        if not _is_good(blob, file):
            _gather(place, file, on_bytes)
        link_blob(blob, place.link(file))


def _is_good(blob: Path, file: HubFile) -> bool:
    if not blob.is_file() or blob.stat().st_size != file.size:
        return False
    with open_ledger() as ledger:
        return is_as_recorded(blob, file.digest, ledger)


def _gather(place: Place, file: HubFile, on_bytes: Callable[[int], None]) -> None:
    partial, blob = place.partial(file), place.blob(file)
    resumed = partial.is_file() and partial.stat().st_size > 0
    _transfer(place, file, partial, on_bytes)
    digests = hash_file(partial)
    if file.digest not in digests and resumed:
        # A partial file may be damaged by a crash of the machine; a whole one of one go may not.
        on_bytes(-file.size)
        partial.unlink()
        _transfer(place, file, partial, on_bytes)
        digests = hash_file(partial)
    if file.digest not in digests:
        partial.unlink()
        raise FormatError(
            f"{file.name} is not what the hub announced: its digest is {digests[0][:16]}…, "
            f"not {file.digest[:16]}…; it was thrown away",
            where=f"{place.api.endpoint}/{place.repo}",
            remedy="try again; if it happens twice, do not trust this copy of the model",
        )
    os.replace(partial, blob)
    remember(blob, digests)


def _transfer(place: Place, file: HubFile, partial: Path, on_bytes: Callable[[int], None]) -> None:
    """Fill the partial file to its announced size and force it to the disk."""
    handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        if os.fstat(handle).st_size > file.size:
            os.ftruncate(handle, 0)
        seen = -1

        def progressed() -> bool:
            nonlocal seen
            before, seen = seen, os.fstat(handle).st_size
            return before >= 0 and seen > before

        progressed()
        while (at := os.lseek(handle, 0, os.SEEK_END)) < file.size:
            retrying(lambda: _stream(place, file, handle, on_bytes), progressed, place.stop.wait)
            if os.fstat(handle).st_size <= at:
                raise FormatError(
                    f"the hub sends {at} bytes of {file.name} where it announced {file.size}",
                    where=f"{place.api.endpoint}/{place.repo}",
                    remedy="try again later",
                )
        os.fsync(handle)
    finally:
        os.close(handle)


def _stream(place: Place, file: HubFile, handle: int, on_bytes: Callable[[int], None]) -> None:
    """Append what one request gives to the file, from where it ends."""
    at = os.lseek(handle, 0, os.SEEK_END)
    wanted = f"bytes={at}-" if at else None
    with ask(place.api, place.repo, place.commit, file.name, wanted) as response:
        if at and not continues(response, at):
            os.ftruncate(handle, 0)
            on_bytes(-at)
            at = os.lseek(handle, 0, os.SEEK_SET)
        for chunk in response.iter_bytes(_CHUNK):
            if place.stop.is_set():
                raise Stopped
            at += len(chunk)
            if at > file.size:
                os.ftruncate(handle, 0)
                raise FormatError(
                    f"the hub sends more of {file.name} than the {file.size} bytes it announced",
                    where=f"{place.api.endpoint}/{place.repo}",
                    remedy="do not trust this copy of the model",
                )
            _write(handle, chunk)
            on_bytes(len(chunk))


@contextmanager
def ask(api: HfApi, repo: str, commit: str, file: str, span: str | None) -> Iterator[Any]:
    """Yield the hub's answer to one request for a file, or for a `span` of it (`bytes=0-7`).

    Raises:
        Exception: of the library, also where the hub says no.
    """
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        build_hf_headers,
        hf_raise_for_status,
        http_stream_backoff,
    )

    headers = build_hf_headers(token=api.token, library_name="puna")
    headers["Accept-Encoding"] = "identity"
    if span:
        headers["Range"] = span
    # The page of the file and not of its storage: links to storage expire within the hour.
    url = hf_hub_url(repo, file, revision=commit, endpoint=api.endpoint)
    with http_stream_backoff(
        "GET",
        url,
        headers=headers,
        timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
        max_retries=0,
        retry_on_exceptions=(),
        retry_on_status_codes=(),
    ) as response:
        hf_raise_for_status(response)
        yield response


def continues(response: Any, at: int) -> bool:
    """Return whether an answer begins at a byte of the file, as it was asked to."""
    span = str(response.headers.get("Content-Range", ""))
    return response.status_code == 206 and span.startswith(f"bytes {at}-")


def _write(handle: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(handle, view) :]
