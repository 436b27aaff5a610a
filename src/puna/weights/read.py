"""Tensors from safetensors files, as views of a private map."""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path

import torch
from torch import Tensor

from puna.errors import FormatError, SourceError
from puna.formats import TensorRef, read_header
from puna.weights.pickled import read_pickle

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
        view = self.bytes(ref)
        if view.data_ptr() % dtype.itemsize:
            mapped, view = view, view.clone()
            release(mapped)
        return view.view(dtype).view(ref.shape)

    def bytes(self, ref: TensorRef) -> Tensor:
        """Return the bytes of a tensor that has some, as a view: uint8 [bytes]."""
        return torch.frombuffer(
            self._map, dtype=torch.uint8, count=ref.span[1] - ref.span[0], offset=ref.span[0]
        )


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
