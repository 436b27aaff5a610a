"""Tensors from PyTorch files: scanned first, then read by `weights_only`, so that no code runs."""

from __future__ import annotations

import pickletools
import warnings
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from puna.errors import FormatError, PunaError, SourceError
from puna.formats import UNPACK, archive_kind

_TRUSTED = ("torch", "collections")
_REMEDY = "use the safetensors files of this model"
# A file of the old format begins with five pickles: mark, version, system, tensors, storages.
_IN_A_ROW = 5


def read_pickle(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a PyTorch file; anything in it that would run code is refused.

    Raises:
        SourceError: no such file.
        FormatError: not a PyTorch file, or one that asks for more than tensors.
    """
    try:
        _check_packed(path)
        zipped = is_archive(path)
        if zipped:
            _check_zip(path)
        _check_pickles(path, zipped)
        with warnings.catch_warnings():
            # Of odd pickles, which are read or refused all the same.
            warnings.simplefilter("ignore")
            value: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)  # noqa: TID251
    except PunaError:
        raise
    except OSError as error:
        raise SourceError(f"cannot read {path.name}: {error.strerror}", where=str(path)) from error
    except Exception as error:  # torch raises many kinds for a broken or hostile file
        raise _refused(path, "it is broken or holds more than tensors") from error
    if isinstance(value, dict) and isinstance(value.get("state_dict"), dict):
        value = value["state_dict"]
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise _refused(path, "it is not a table of tensors")
    return {name: _plain(path, name, tensor) for name, tensor in value.items()}


def is_archive(path: Path) -> bool:
    """Tell whether torch takes a file for a zip archive, and so maps it."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\3\4"


def _check_packed(path: Path) -> None:
    with path.open("rb") as file:
        kind = archive_kind(file.read(262))
    if kind not in (None, "zip"):  # torch's own form is a zip archive
        raise FormatError(f"{path.name} is a {kind} archive", where=str(path), remedy=UNPACK)


def _plain(path: Path, name: str, tensor: Any) -> Tensor:
    """Return a tensor whose every number lies in the file: none sparse, absent or repeated."""
    plain = (
        isinstance(tensor, Tensor)
        and tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        # From where it begins: its pages are let go of, and memory behind them is another's.
        and tensor.storage_offset() * tensor.itemsize + tensor.nbytes
        <= tensor.untyped_storage().nbytes()
    )
    if not plain:
        raise _refused(path, f"{name!r:.120} is not a plain tensor")
    return tensor.detach()  # type: ignore[no-any-return]


def _check_zip(path: Path) -> None:
    """Refuse archives that unpack to more than the file holds."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except OSError:
        raise
    except Exception as error:  # zipfile raises many kinds for a broken archive
        raise _refused(path, f"it is a broken archive ({error})") from error
    claimed = sum(entry.file_size for entry in entries)
    stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
    if not stored or claimed > path.stat().st_size:
        raise _refused(path, f"it unpacks to {claimed} bytes")


def _pickles(path: Path, zipped: bool) -> Iterator[IO[bytes]]:
    """Yield every stream that torch might unpickle."""
    if not zipped:
        with path.open("rb") as file:
            yield file
        return
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.filename.lower().endswith("data.pkl"):
                yield BytesIO(archive.read(entry))


def _check_pickles(path: Path, zipped: bool) -> None:
    """Name code that a pickle asks for, and refuse tuples that hold themselves many times over.

    `weights_only` refuses the code as well, but hashing (t, t) of (t, t) of … never ends.
    """
    for file in _pickles(path, zipped):
        for _ in range(_IN_A_ROW):
            try:
                fault = next(_faults(file), None)
            except Exception:  # broken bytes end the scan where they would end the reading
                break
            if fault:
                raise _refused(path, fault)


def _faults(file: IO[bytes]) -> Iterator[str]:
    tuples: set[Any] = set()
    texts: list[str] = []
    fresh = False  # whether the top of the stack is a tuple just made
    puts = 0
    for code, value, _ in pickletools.genops(file):
        name = code.name
        if name == "GLOBAL" and not _trusted(value):
            yield f"it asks to run {str(value).replace(' ', '.')!r:.80}"
        elif name == "STACK_GLOBAL" and not (texts and _trusted(texts[-2:][0])):
            yield f"it asks to run {'.'.join(texts[-2:])!r:.80}"
        elif name.endswith("GET") and value in tuples:
            yield "it repeats a tuple, which no saved tensor does"
        if "PUT" in name or name == "MEMOIZE":
            (tuples.add if fresh else tuples.discard)(puts if name == "MEMOIZE" else value)
            puts += 1
            continue
        fresh = name.startswith("TUPLE")
        if isinstance(value, str):
            texts.append(value)


def _trusted(name: Any) -> bool:
    return str(name).split(" ")[0].split(".")[0] in _TRUSTED


def _refused(path: Path, reason: str) -> FormatError:
    return FormatError(f"{path.name} is refused: {reason}", where=str(path), remedy=_REMEDY)
