"""Pull a model: from its id to checked files on this disk and a lock file that says which."""

from __future__ import annotations

import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue

from puna.errors import FormatError, SourceError, StorageError
from puna.home import hub_cache, hub_caches, offline, own_cache
from puna.source.cache import write_ref
from puna.source.catalog import catalog_id
from puna.source.choose import Choice, choose, shards
from puna.source.digest import hash_file, verify_files
from puna.source.fetch import Place, bytes_to_fetch, fetch, has_size, is_here
from puna.source.hub import HubFile, Listing, hub_errors, open_hub, read_listing
from puna.source.lock import LockedCommit, LockedFile, enter_commit
from puna.source.names import DEFAULT_REVISION, HubName, need_hub_name, parse_hub_name
from puna.source.places import resolve, resolve_adapter
from puna.source.pulled import Wanted, find_hub_model, pull_command
from puna.source.read import read_json
from puna.source.record import Source
from puna.source.units import human_bytes

_WORKERS = 4
# Left free on the disk beyond the download itself.
_SPARE = 64 << 20

# Called with bytes done, bytes in all, and the file that moved last.
OnBytes = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull brought: the source, bytes in all, and bytes that came over the network."""

    source: Source
    total: int
    fetched: int


def pull(
    model: str,
    *,
    file: str | None = None,
    on_check: Callable[[int, int], None] | None = None,
    on_bytes: OnBytes | None = None,
) -> Pulled:
    """Bring a model of a hub to this disk and lock it; what is here already is only checked.

    In offline mode nothing is asked: a model that is here is checked, another is an error.

    Args:
        model: `ORG/NAME`, with `@REVISION` where it is not `main`, or a name of the catalog.
        file: a GGUF file of the repository, by name or by quant (`Q4_K_M`).
        on_check: called with bytes done and in all as files that are here are hashed.
        on_bytes: called as files arrive.

    Raises:
        UsageError: no id, or a file that is not there.
        SourceError: not there, not allowed, no connection.
        FormatError: the hub sends what it did not announce, or names that leave their folder.
        StorageError: the disk is too small or did not take it.
    """
    name = need_hub_name(catalog_id(model) or model)
    if file is not None:
        name = replace(name, pick=file)
    if offline():
        return _check_here(name, on_check)
    api = open_hub()
    revision = name.revision or DEFAULT_REVISION
    listing = read_listing(api, name.repo, revision)
    choice = choose(listing, name.pick, f"{api.endpoint}/{name.repo}")
    place = Place(api, name.repo, listing.commit, hub_cache(), threading.Event())
    with hub_errors(name.repo, api.endpoint, revision):
        files = _with_shards(place, listing, choice)
        place, missing = _where(place, files, on_check)
        fetched = _fetch_all(place, missing, on_bytes)
        # In Puna's own cache a pull that was killed fetched what this one found there.
        ours = place.cache == own_cache()
        locked = {file.name: _locked(place, file, ours or file in missing) for file in files}
        if place.cache == hub_cache():
            write_ref(place.cache, name.repo, revision, listing.commit)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    entry = LockedCommit(str(place.cache), api.endpoint, now, listing.license, locked)
    enter_commit(name.repo, (revision,), listing.commit, entry)
    source = _found(replace(name, revision=listing.commit), files)
    return Pulled(source, sum(f.size for f in files), fetched)


def resolve_or_pull(
    model: str | Path, wanted: Wanted = "model", *, on_bytes: OnBytes | None = None
) -> Source:
    """Find a model or an adapter on this disk, and pull it where it is not.

    Raises:
        PunaError: as `resolve` and `pull`.
    """
    find = resolve if wanted == "model" else resolve_adapter
    try:
        return find(model)
    except SourceError:
        name = catalog_id(str(model)) or str(model)
        if parse_hub_name(name) is None:
            raise
        pull(name, on_bytes=on_bytes)
        return find(model)


def _check_here(name: HubName, on_check: Callable[[int, int], None] | None) -> Pulled:
    source = _find_any(name)
    if source is None:
        raise SourceError(
            f"{name} is not on this disk, and offline mode makes no connection",
            remedy=f"unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE, then {pull_command(name)}",
        )
    verify_files(
        source.root,
        source.files or {},
        name=source.name,
        remedy="pull it again when online",
        on_progress=on_check,
    )
    total = sum((source.root / file).stat().st_size for file in source.files or {})
    return Pulled(source, total, 0)


def _find_any(name: HubName) -> Source | None:
    try:
        return find_hub_model(name)
    except SourceError:
        return find_hub_model(name, "adapter")


def _found(name: HubName, files: Iterable[HubFile]) -> Source:
    """Return the source of what was just pulled, model or adapter."""
    names = {file.name for file in files}
    adapter = "adapter_config.json" in names and "config.json" not in names
    source = find_hub_model(name, "adapter" if adapter else "model")
    assert source is not None
    return source


def _with_shards(place: Place, listing: Listing, choice: Choice) -> tuple[HubFile, ...]:
    """Return the files of a choice, and those that its index names; it is fetched if need be."""
    index = choice.index
    if index is None:
        return choice.files
    places = [replace(place, cache=cache) for cache in hub_caches()]
    here = next((at for at in places if is_here(at, index)), None)
    if here is None:
        _fetch_all(place, (index,), None)
    names = read_json((here or place).link(index), what="index of the weights").get("weight_map")
    where = f"{place.api.endpoint}/{place.repo}/{index.name}"
    if not isinstance(names, dict) or not names:
        raise FormatError("the index of the weights has no weight_map", where=where)
    return (*choice.files, *shards(listing, names, where))


def _where(
    place: Place, files: tuple[HubFile, ...], on_check: Callable[[int, int], None] | None
) -> tuple[Place, tuple[HubFile, ...]]:
    """Return the cache that has all files already, or the one to pull into, and what it lacks."""
    for cache in hub_caches():
        at = replace(place, cache=cache)
        whole = cache != place.cache and all(has_size(at, file) for file in files)
        if whole and not _missing(at, files, on_check):
            return at, ()
    return place, _missing(place, files, on_check)


def _missing(
    place: Place, files: tuple[HubFile, ...], on_check: Callable[[int, int], None] | None
) -> tuple[HubFile, ...]:
    total, done = sum(file.size for file in files if has_size(place, file)), 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        if on_check:
            on_check(done, total)

    return tuple(file for file in files if not is_here(place, file, count))


def _fetch_all(place: Place, missing: tuple[HubFile, ...], on_bytes: OnBytes | None) -> int:
    """Fetch files side by side; return the bytes that came."""
    total = sum({f.digest: bytes_to_fetch(place, f) for f in missing}.values())
    _check_space(place.cache, total)
    done, came, guard = 0, 0, threading.Lock()

    def counter(name: str) -> Callable[[int], None]:
        def count(size: int) -> None:
            nonlocal done, came
            with guard:
                done += size
                came += max(size, 0)
                if on_bytes:
                    on_bytes(max(done, 0), total, name)

        return count

    place = replace(place, stop=threading.Event())
    jobs = [partial(fetch, place, file, counter(file.name)) for file in missing]
    try:
        side_by_side(jobs)
    finally:
        place.stop.set()  # ends what is still under way at its next chunk
    return came


def side_by_side(jobs: Iterable[Callable[[], None]]) -> None:
    """Run jobs on a few threads; the first error is raised at once.

    The threads are daemons: one that waits for a silent hub holds up neither an error nor Ctrl-C.
    """
    waiting = deque(jobs)
    number = len(waiting)
    results: SimpleQueue[BaseException | None] = SimpleQueue()

    def work() -> None:
        with suppress(IndexError):
            while True:
                job = waiting.popleft()
                try:
                    job()
                except BaseException as error:
                    results.put(error)
                    return
                results.put(None)

    for _ in range(min(_WORKERS, number)):
        threading.Thread(target=work, name="pull", daemon=True).start()
    while number:
        # With a timeout: a Ctrl-C that the system hands to another thread wakes no endless wait.
        with suppress(Empty):
            if error := results.get(timeout=0.2):
                raise error
            number -= 1


def _check_space(cache: Path, needed: int) -> None:
    folder = next(p for p in (cache, *cache.parents) if p.is_dir())
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return
    if needed and needed + _SPARE > free:
        raise StorageError(
            f"the download needs {human_bytes(needed)} and {human_bytes(_SPARE)} to spare, "
            f"and the disk has {human_bytes(free)} free",
            where=str(cache),
            remedy="free some space (puna list, puna rm), or set PUNA_HOME or HF_HOME elsewhere",
        )


def _locked(place: Place, file: HubFile, fetched: bool) -> LockedFile:
    sha256 = file.digest if len(file.digest) == 64 else hash_file(place.link(file))[0]
    return LockedFile(file.size, sha256, file.digest, fetched)
