"""The hub, through `huggingface_hub`: what a revision holds, and errors in plain words."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from puna.errors import FormatError, PunaError, SourceError, StorageError, UsageError
from puna.home import offline
from puna.source.names import check_climbs_not, check_commit, is_git_id, is_sha256

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")
_TIMEOUT = 30.0
# Seconds to wait before the second, third … try, and the most that a hub may ask for.
_WAITS = (0.5, 1.0, 2.0)
_LONGEST_WAIT = 120.0


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a commit: bytes, and the digest it is known by (SHA-256, or git's SHA-1)."""

    name: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What a revision is: its commit, license as stated, files by name."""

    repo: str
    commit: str
    license: str | None
    files: dict[str, HubFile]


def open_hub() -> HfApi:
    """Return the hub's interface, with the user's HF_ENDPOINT and token; nothing is reported home.

    Raises:
        SourceError: offline mode is on.
    """
    if offline():
        raise SourceError(
            "offline mode is on (HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE): no connection is made",
            remedy="unset it, or use a model that puna list shows",
        )
    import huggingface_hub
    from huggingface_hub import constants

    # Without this the library asks the hub what calls it, and tells.
    constants.HF_HUB_DISABLE_TELEMETRY = True
    return huggingface_hub.HfApi(library_name="puna")


def read_listing(api: HfApi, repo: str, revision: str) -> Listing:
    """Return commit, license and files of a revision.

    Raises:
        SourceError: not there, not allowed, or no connection.
        FormatError: an answer that cannot be meant, or file names that lead out of their folder.
    """
    where = f"{api.endpoint}/{repo}"
    with hub_errors(repo, api.endpoint, revision):
        info = retrying(lambda: _model_info(api, repo, revision))
        commit = check_commit(info.sha, where=where)
        files = [_sibling(sibling, where) for sibling in info.siblings or ()]
        if any(file is None for file in files):
            tree = retrying(lambda: list(api.list_repo_tree(repo, recursive=True, revision=commit)))
            files = [_entry(entry, where) for entry in tree if hasattr(entry, "blob_id")]
    return Listing(repo, commit, _license(info), {file.name: file for file in files if file})


def _model_info(api: HfApi, repo: str, revision: str) -> Any:
    """Return what the hub says of a revision, digests included where it gives them whole."""
    try:
        return api.model_info(repo, revision=revision, files_metadata=True, timeout=_TIMEOUT)
    except (KeyError, TypeError):  # a mirror that lists large files in a form of its own
        return api.model_info(repo, revision=revision, timeout=_TIMEOUT)


def retrying(
    call: Callable[[], T],
    progressed: Callable[[], bool] | None = None,
    sleep: Callable[[float], object] = time.sleep,
) -> T:
    """Return what `call` returns, tried again where the hub is busy or a connection broke.

    Args:
        call: what to do.
        progressed: says whether the last try got further, which makes it count for nothing.
        sleep: waits for some seconds.

    Raises:
        Exception: of the last try.
    """
    tries = 0
    while True:
        try:
            return call()
        except Exception as error:
            wait = _wait(error, tries)
            if progressed and progressed():
                tries, wait = 0, _WAITS[0] if wait is None and _is_transient(error) else wait
            if wait is None:
                raise
            sleep(wait)
            tries += 1


@contextmanager
def hub_errors(repo: str, endpoint: str, revision: str = "") -> Iterator[None]:
    """Turn what the library raises into errors of this package."""
    try:
        yield
    except PunaError:
        raise
    except Exception as error:
        raise _explain(error, repo, endpoint, revision) from error


def _wait(error: Exception, tries: int) -> float | None:
    """Return the seconds to wait before the next try, or None where there is none."""
    if tries >= len(_WAITS) or not _is_transient(error):
        return None
    response = getattr(error, "response", None)
    asked = response.headers.get("Retry-After", "") if response is not None else ""
    if asked.isdigit():
        return float(asked) if float(asked) <= _LONGEST_WAIT else None
    return _WAITS[tries]


def _is_transient(error: Exception) -> bool:
    import httpx2

    response = getattr(error, "response", None)
    if response is not None:
        return response.status_code in {408, 429} or response.status_code >= 500
    return isinstance(error, httpx2.TransportError) and not isinstance(error, httpx2.ProxyError)


def _explain(error: Exception, repo: str, endpoint: str, revision: str) -> PunaError:
    import httpx2
    from huggingface_hub import errors

    where = f"{endpoint}/{repo}"
    match error:
        case errors.GatedRepoError():
            return SourceError(
                f"{repo} is gated: its license must be accepted before it can be read",
                where=where,
                remedy="accept it on that page, then set HF_TOKEN to a token of that account",
            )
        case errors.RevisionNotFoundError():
            return SourceError(f"{repo} has no revision {revision!r:.80}", where=where)
        case errors.EntryNotFoundError():
            return SourceError(f"a file of {repo} is not there (any more)", where=where)
        case errors.RepositoryNotFoundError():
            return SourceError(
                f"there is no model {repo}, or it is private",
                where=where,
                remedy="check the name; for a private model set HF_TOKEN",
            )
        case errors.HfHubHTTPError():
            return _status(error, repo, where)
        case errors.HFValidationError():
            return UsageError(f"{repo!r:.120} is not the id of a model")
        case httpx2.TransportError() | errors.OfflineModeIsEnabled():
            return SourceError(
                f"no connection to the hub: {error or type(error).__name__}",
                where=endpoint,
                remedy="check network and proxy; what was pulled before works without",
            )
        case httpx2.HTTPError() | httpx2.InvalidURL():
            return SourceError(f"the hub cannot be reached: {error}", where=endpoint)
        case OSError(errno=number) if number is not None:
            return StorageError(
                f"cannot write {repo} to the disk: {error.strerror}; "
                "what was fetched is kept, and the pull goes on from there",
                where=str(error.filename or where),
                remedy="free some space, or set PUNA_HOME or HF_HOME to another disk",
            )
    return FormatError(
        f"the hub's answer about {repo} cannot be read: {type(error).__name__}: {error}",
        where=where,
    )


def _status(error: Any, repo: str, where: str) -> PunaError:
    status = error.response.status_code
    said = f": {error.server_message}" if error.server_message else ""
    if status == 401:
        return SourceError(
            f"the hub does not accept the token{said}", where=where, remedy="set HF_TOKEN anew"
        )
    if status == 403:
        return SourceError(
            f"this token may not do that with {repo}{said}",
            where=where,
            remedy="set HF_TOKEN to a token with the right to read it, or to write for a push",
        )
    if status == 429:
        wait = error.response.headers.get("Retry-After", "")
        return SourceError(
            "the hub answers 429: too many requests",
            where=where,
            remedy=f"try again in {wait or 'some'} seconds; what was fetched is kept",
        )
    if status == 416:
        return FormatError(f"the hub has less of a file of {repo} than it announced", where=where)
    remedy = "try again later; what was fetched is kept" if status >= 500 else None
    return SourceError(f"the hub answers {status}{said}", where=where, remedy=remedy)


def _sibling(sibling: Any, where: str) -> HubFile | None:
    """Return a file as a model's page lists it; None where size or digest is missing."""
    name = check_climbs_not(sibling.rfilename, where=where)
    size, digest = sibling.size, sibling.blob_id
    if sibling.lfs:
        size, digest = sibling.lfs.size, sibling.lfs.sha256
    return None if size is None or digest is None else _file(name, size, digest, where)


def _entry(entry: Any, where: str) -> HubFile:
    name = check_climbs_not(entry.path, where=where)
    if entry.lfs:
        return _file(name, entry.lfs.size, entry.lfs.sha256, where)
    return _file(name, entry.size, entry.blob_id, where)


def _file(name: str, size: Any, digest: Any, where: str) -> HubFile:
    if type(size) is not int or size < 0 or not (is_sha256(digest) or is_git_id(digest)):
        raise FormatError(
            f"the hub gives {name!r:.120} the size {size!r:.30} and digest {digest!r:.80}",
            where=where,
        )
    return HubFile(name, size, digest)


def _license(info: Any) -> str | None:
    card = getattr(info, "card_data", None)
    for key in ("license_name", "license"):
        value = card.get(key) if card is not None else None
        if isinstance(value, str) and value and value != "other":
            return value
    tags = [t for t in info.tags or () if isinstance(t, str) and t.startswith("license:")]
    return tags[0].removeprefix("license:") if tags else None
