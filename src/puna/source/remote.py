"""What a model of a hub says of itself before it is pulled: its config, and headers of its weights.

Range requests bring the first bytes of each file of weights and nothing behind them. They go to
files of full size with a hole where the weights are, so that every reader of local files, and each
of its checks, serves here too.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from puna.errors import FormatError, PunaError, SourceError
from puna.formats import Gguf, is_gguf, read_gguf_part
from puna.source.catalog import catalog_id
from puna.source.choose import Choice, choose, shards
from puna.source.digest import hash_file
from puna.source.fetch import ask, continues
from puna.source.hub import HubFile, Listing, hub_errors, open_hub, read_listing, retrying
from puna.source.names import DEFAULT_REVISION, check_file_name, need_hub_name
from puna.source.pulling import side_by_side
from puna.source.read import read_json
from puna.source.record import Source

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# The most that is read of one file: what the readers of configs, indexes and headers take.
_MOST = 64 << 20
# A GGUF header does not say how long it is: these first bytes are tried, then twice as many.
_FIRST = 1 << 20
_CHUNK = 64 << 10

# Called with files done, files in all, and the file that came last.
OnFile = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Outline:
    """A model of a hub as its headers tell it.

    Attributes:
        source: config and headers; it opens as a pulled model does, but its weights are holes.
        total: bytes that a pull would bring.
        fetched: bytes of files that came.
    """

    source: Source
    total: int
    fetched: int


@dataclass(slots=True)
class _Far:
    """Files of one commit, and the folder that what is read of them goes to."""

    api: HfApi
    repo: str
    commit: str
    folder: Path
    fetched: int = 0
    guard: Lock = field(default_factory=Lock)

    @property
    def where(self) -> str:
        return f"{self.api.endpoint}/{self.repo}"

    def count(self, size: int) -> None:
        with self.guard:
            self.fetched += size


_Reader = Callable[[_Far, HubFile], None]


@contextmanager
def outline(
    model: str, *, tables: Iterable[str] = (), on_file: OnFile | None = None
) -> Iterator[Outline]:
    """Yield what a hub says of a model; the files are gone when the block ends.

    Args:
        model: `ORG/NAME[@REVISION][:GGUF]`, or a name of the catalog.
        tables: small tensors of GGUF files that belong to the config, read with the header.
        on_file: called as headers arrive.

    Raises:
        UsageError: no id, or a GGUF file that is not there.
        SourceError: not there, not allowed, no connection, an adapter, or offline mode.
        FormatError: a hub that does not send what it announced, or headers that are none.
    """
    name = need_hub_name(catalog_id(model) or model)
    api = open_hub()
    listing = read_listing(api, name.repo, name.revision or DEFAULT_REVISION)
    choice = choose(listing, name.pick, f"{api.endpoint}/{name.repo}")
    with tempfile.TemporaryDirectory(prefix="puna-", ignore_cleanup_errors=True) as folder:
        far = _Far(api, name.repo, listing.commit, Path(folder))
        try:
            with hub_errors(name.repo, api.endpoint, listing.commit):
                files = _with_shards(far, listing, choice)
                _bring(far, files, tuple(tables), on_file)
            yield Outline(_source(far, listing, files), sum(f.size for f in files), far.fetched)
        except PunaError as error:  # a place in the folder says nothing to the user
            error.where = error.where and error.where.replace(folder, far.where)
            raise


def _with_shards(far: _Far, listing: Listing, choice: Choice) -> tuple[HubFile, ...]:
    """Return the files of a choice, and those that its index names, which is read whole."""
    if choice.index is None:
        return choice.files
    _whole(far, choice.index)
    names = read_json(far.folder / choice.index.name, what="index of the weights").get("weight_map")
    where = f"{far.where}/{choice.index.name}"
    if not isinstance(names, dict) or not names:
        raise FormatError("the index of the weights has no weight_map", where=where)
    return (*choice.files, *shards(listing, names, where))


def _bring(
    far: _Far, files: Iterable[HubFile], tables: tuple[str, ...], on_file: OnFile | None
) -> None:
    """Read config and headers, several at a time."""
    readers: dict[str, _Reader] = {
        ".safetensors": _safetensors,
        ".gguf": partial(_gguf, tables=tables),
        ".bin": _nothing,
    }
    wanted = [
        (_whole if file.name == "config.json" else readers[Path(file.name).suffix], file)
        for file in files
        if file.name == "config.json" or Path(file.name).suffix in readers
    ]
    done = 0

    def bring(read: _Reader, file: HubFile) -> None:
        nonlocal done
        read(far, file)
        with far.guard:
            done += 1
            if on_file:
                on_file(done, len(wanted), file.name)

    side_by_side(partial(bring, read, file) for read, file in wanted)


def _whole(far: _Far, file: HubFile) -> None:
    """Read a small file, and hold it against its digest."""
    if file.size > _MOST:
        raise FormatError(f"{file.name} has {file.size} bytes, too many to be one", where=far.where)
    path = _write(far, file, _read(far, file, 0, file.size))
    if file.digest not in hash_file(path):
        raise FormatError(
            f"{file.name} is not what the hub announced: its digest differs",
            where=far.where,
            remedy="try again; if it happens twice, do not trust this copy of the model",
        )


def _nothing(far: _Far, file: HubFile) -> None:
    """Read nothing: of a pickle, which is not opened before it was pulled, the size must do."""
    _write(far, file, b"")


def _safetensors(far: _Far, file: HubFile) -> None:
    """Read the length of the header and the header, and not one byte behind it."""
    start = _read(far, file, 0, min(8, file.size))
    length: int = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if length > min(max(file.size - 8, 0), _MOST):
        raise FormatError(
            f"{file.name} says its header has {length} bytes, and the file has {file.size}",
            where=far.where,
        )
    _write(far, file, start + _read(far, file, 8, 8 + length))


def _gguf(far: _Far, file: HubFile, tables: tuple[str, ...]) -> None:
    """Read first bytes until the header is among them, then the tables that it points to."""
    raw, size = b"", min(_FIRST, file.size)
    while True:
        raw += _read(far, file, len(raw), size)
        path = _write(far, file, raw)
        last = size == min(file.size, _MOST) or not is_gguf(path)
        if found := _header(path, len(raw), last):
            break
        size = min(2 * size, file.size, _MOST)
    with path.open("r+b") as handle:
        for name in tables:
            ref = found.tensors.get(name)
            if ref and len(ref.shape) == 1 and ref.span[1] - ref.span[0] <= _CHUNK:
                handle.seek(ref.span[0])
                handle.write(_read(far, file, *ref.span))


def _header(path: Path, known: int, last: bool) -> Gguf | None:
    """Return the header of a file of which `known` bytes are true; None where it needs more.

    A reader that ran on into the hole places the tensors behind the point where it stopped.
    """
    try:
        found = read_gguf_part(path)
    except FormatError:
        if last:
            raise
        return None
    begin = min((ref.span[0] for ref in found.tensors.values()), default=path.stat().st_size)
    if begin <= known:
        return found
    if last:
        raise FormatError(f"the header of {path.name} is longer than {known} bytes")
    return None


def _read(far: _Far, file: HubFile, start: int, stop: int) -> bytes:
    """Return bytes [start, stop) of a file."""
    return retrying(lambda: _read_once(far, file, start, stop)) if stop > start else b""


def _read_once(far: _Far, file: HubFile, start: int, stop: int) -> bytes:
    raw = bytearray()
    with ask(far.api, far.repo, far.commit, file.name, f"bytes={start}-{stop - 1}") as response:
        skip = 0 if continues(response, start) else start  # some mirrors always send all of it
        if skip > _MOST:
            raise FormatError(f"the hub sends no part of {file.name}", where=far.where)
        for chunk in response.iter_bytes(_CHUNK):
            raw += chunk
            far.count(len(chunk))
            if len(raw) >= skip + stop - start:
                break
    if len(raw) < skip + stop - start:
        raise FormatError(
            f"the hub sends less of {file.name} than the {file.size} bytes it announced",
            where=far.where,
            remedy="try again later",
        )
    return bytes(raw[skip : skip + stop - start])


def _write(far: _Far, file: HubFile, raw: bytes) -> Path:
    """Write the first bytes of a file that has its full size, the rest a hole."""
    path = far.folder / check_file_name(file.name, where=far.where)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as handle:
        handle.write(raw)
        handle.truncate(file.size)
    return path


def _source(far: _Far, listing: Listing, files: tuple[HubFile, ...]) -> Source:
    names = [file.name for file in files]
    ggufs = sorted(name for name in names if name.endswith(".gguf"))
    if not ggufs and "config.json" not in names:
        adapter = "adapter_config.json" in names
        raise SourceError(
            f"{far.repo} is an adapter, not a model" if adapter else f"{far.repo} has no config",
            where=far.where,
            remedy="plan its base model" if adapter else "plan another conversion of this model",
        )
    path = far.folder / ggufs[0] if ggufs else far.folder
    return Source(far.repo, path, far.commit, license=listing.license, kind="hub", base=far.folder)
