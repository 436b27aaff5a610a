"""Tensors from files: safetensors as views of a private map, pickles by `weights_only` alone."""

from __future__ import annotations

import ctypes
import math
import mmap
import pickletools
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from puna.errors import FormatError, PunaError, SourceError
from puna.formats import TensorRef, read_header

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
_PAGE = mmap.PAGESIZE
_madvise = getattr(ctypes.CDLL(None), "madvise", None)


class MappedFile:
    """A file mapped copy-on-write: its tensors are views, and writing to one changes no file."""

    def __init__(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError) as error:
            raise SourceError(f"cannot read {path.name}: {error}", where=str(path)) from error

    def tensor(self, ref: TensorRef) -> Tensor:
        """Return the tensor as a view; the map lives as long as the view does."""
        dtype = DTYPES.get(ref.dtype)
        if dtype is None:
            raise FormatError(
                f"a tensor of dtype {ref.dtype} is not supported",
                where=str(ref.file),
                remedy="use a checkpoint that is not quantized",
            )
        if ref.span[0] == ref.span[1]:
            return torch.empty(ref.shape, dtype=dtype)
        view = torch.frombuffer(
            self._map, dtype=torch.uint8, count=ref.span[1] - ref.span[0], offset=ref.span[0]
        )
        if view.data_ptr() % dtype.itemsize:
            mapped, view = view, view.clone()
            release(mapped)
        return view.view(dtype).view(ref.shape)


def release(mapped: Tensor) -> None:
    """Give back the pages of a mapped tensor that was copied, so that it is not held twice.

    Only for views of a file: memory of the heap would lose what it holds.
    """
    address = mapped.data_ptr()
    start = -(-address // _PAGE) * _PAGE
    length = (address + mapped.nbytes) // _PAGE * _PAGE - start
    if length > 0 and _madvise is not None:
        _madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), mmap.MADV_DONTNEED)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of one safetensors or PyTorch file by name."""
    if path.suffix != ".safetensors":
        return read_pickle(path)
    refs = read_header(path)
    if not refs:
        return {}
    mapped = MappedFile(path)
    return {name: mapped.tensor(ref) for name, ref in refs.items()}


def read_pickle(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a PyTorch file; anything in it that would run code is refused.

    Raises:
        SourceError: no such file.
        FormatError: not a PyTorch file, or one that asks for more than tensors.
    """
    if not path.is_file():
        raise SourceError(f"the weights {path.name} are missing", where=str(path))
    try:
        zipped = is_archive(path)
        if zipped:
            _check_zip(path)
        with warnings.catch_warnings():
            # Of odd pickles, which are read or refused all the same.
            warnings.simplefilter("ignore")
            value: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)  # noqa: TID251
    except OSError as error:
        raise SourceError(f"cannot read {path.name}: {error.strerror}", where=str(path)) from error
    except PunaError:
        raise
    except Exception as error:  # torch raises many kinds for a broken or hostile file
        raise FormatError(
            f"{path.name} is refused: {_reason(path, zipped)}",
            where=str(path),
            remedy="use the safetensors files of this model",
        ) from error
    if isinstance(value, dict) and isinstance(value.get("state_dict"), dict):
        value = value["state_dict"]
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise FormatError(f"{path.name} is not a table of tensors", where=str(path))
    return {name: _plain(path, name, tensor) for name, tensor in value.items()}


def is_archive(path: Path) -> bool:
    """Tell whether torch takes a file for a zip archive, and so maps it."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\3\4"


def _plain(path: Path, name: str, tensor: Any) -> Tensor:
    """Return a tensor whose every number lies in the file: none sparse, absent or repeated."""
    plain = (
        isinstance(tensor, Tensor)
        and tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and nbytes(tuple(tensor.shape), tensor.dtype) <= tensor.untyped_storage().nbytes()
    )
    if not plain:
        raise FormatError(f"{path.name} holds {name!r:.120}, not a plain tensor", where=str(path))
    return tensor.detach()  # type: ignore[no-any-return]


def _check_zip(path: Path) -> None:
    """Refuse archives that unpack to more than the file holds."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except Exception as error:  # zipfile raises many kinds for a broken archive
        raise FormatError(f"{path.name} is a broken archive: {error}", where=str(path)) from error
    claimed = sum(entry.file_size for entry in entries)
    stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
    if not stored or claimed > path.stat().st_size:
        raise FormatError(f"{path.name} is refused: it unpacks to {claimed} bytes", where=str(path))


def _reason(path: Path, zipped: bool) -> str:
    """Name the first global of the pickle that is neither torch's nor a container."""
    try:
        if zipped:
            with zipfile.ZipFile(path) as archive:
                name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
                raw = archive.open(name).read(1 << 20)
        else:
            with path.open("rb") as file:
                raw = file.read(1 << 20)
        strings: list[str] = []
        for code, value, _ in pickletools.genops(raw):
            if code.name == "GLOBAL" and not str(value).startswith(("torch", "collections")):
                return f"it asks to run {str(value).replace(' ', '.')[:80]}"
            if code.name == "STACK_GLOBAL" and not strings[-2:][0].startswith(
                ("torch", "collections")
            ):
                return f"it asks to run {'.'.join(strings[-2:])[:80]}"
            if isinstance(value, str):
                strings.append(value)
    except Exception:  # a reason that cannot be found in broken bytes is not given
        pass
    return "it is broken or holds more than tensors"


def nbytes(shape: tuple[int, ...], dtype: torch.dtype) -> int:
    """Return the bytes of a dense tensor."""
    return math.prod(shape) * dtype.itemsize
