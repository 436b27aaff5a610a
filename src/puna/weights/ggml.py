"""Tensors of GGUF files: plain numbers as views of the map, blocks unpacked tensor by tensor."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import prod

import torch
from torch import Tensor

from puna.errors import WeightsError
from puna.families import Slice
from puna.formats import GGML_TYPES, Gguf, TensorRef
from puna.quant import PLAIN, Grouped, dequantize, repack
from puna.weights.entry import Entry, keep
from puna.weights.layout import join_halves
from puna.weights.read import MappedFile, release

# All experts of a layer in one tensor.
_STACKED = re.compile(r"(.+)_exps\.(weight|bias)")
# The map from a latent to keys and values, in two tensors.
_HALF = re.compile(r"(blk\.\d+\.attn)_([kv])_b\.weight")
# What quantized weights are unpacked to unless another dtype is asked for.
UNPACKED = torch.bfloat16


@dataclass(frozen=True, slots=True)
class Blocks:
    """A tensor in blocks that nobody has unpacked yet: uint8 [bytes], the format, the shape."""

    raw: Tensor
    kind: str
    shape: torch.Size

    @property
    def dtype(self) -> torch.dtype:
        """Float32, which holds every value."""
        return torch.float32

    def part(self, layout: Slice | None, dtype: torch.dtype) -> Tensor:
        """Return the values, in a new tensor."""
        return dequantize(self.raw, self.kind, tuple(self.shape), dtype)

    def repack(self) -> Grouped | None:
        """Return the matrix packed with the same codes; None where that is not possible."""
        return repack(self.raw, self.kind, (self.shape[0], self.shape[1]))

    def __getitem__(self, rows: slice) -> Tensor:
        """Return rows [n, K] of a matrix whose rows are whole blocks."""
        block, width = GGML_TYPES[self.kind], self.shape[1]
        size = width // block.values * block.bytes
        raw = self.raw.view(self.shape[0], size)[rows]
        return dequantize(raw.reshape(-1), self.kind, (len(raw), width))


@dataclass(frozen=True, slots=True)
class GgufWeights:
    """The tensors of a GGUF file, with stacked experts taken apart."""

    found: Gguf

    def listing(self) -> Iterator[tuple[str, torch.dtype, int]]:
        """Yield name, dtype and bytes of each tensor as it is once unpacked."""
        for part in _apart(self.found):
            dtype = PLAIN.get(part.ref.dtype, UNPACKED)
            yield part.name, dtype, prod(part.ref.shape) * dtype.itemsize

    def entries(self, dtype: torch.dtype, *, lazily: bool = False) -> Iterator[Entry]:
        """Yield every tensor in the order of the files; blocks are unpacked to `dtype`.

        `lazily` leaves the unpacking of matrices to whoever takes them.
        """
        return _join_halves(self._stored(dtype, lazily))

    def _stored(self, dtype: torch.dtype, lazily: bool) -> Iterator[Entry]:
        maps = {file: MappedFile(file) for file in self.found.files}
        ordered = sorted(_apart(self.found), key=lambda part: (part.ref.file, part.ref.span))
        stack, room = "", torch.empty(0)
        for part in ordered:
            name, ref = part.name, part.ref
            plain = PLAIN.get(ref.dtype)
            raw = maps[ref.file].bytes(ref)
            size = prod(ref.shape) * (plain or UNPACKED).itemsize
            if plain is not None:
                tensor = _view(raw, plain, ref.shape)
                yield Entry(name, ref.file, size, tensor, partial(release, raw))
                continue
            if lazily and len(ref.shape) == 2 and not _HALF.fullmatch(name):
                blocks = Blocks(raw, ref.dtype, torch.Size(ref.shape))
                yield Entry(name, ref.file, size, blocks, partial(release, raw))
                continue
            if part.experts and part.stack != stack:
                # All experts of a stack lie in one piece: buffers that come and go between many
                # small ones would leave holes in the heap.
                stack, room = part.stack, torch.empty(part.experts, *ref.shape, dtype=dtype)
            out = room[part.expert] if part.experts else None
            tensor = dequantize(raw, ref.dtype, ref.shape, dtype, out=out)
            release(raw)
            yield Entry(name, ref.file, size, tensor, keep)


def _join_halves(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Pass entries on, two halves of a latent's map as the one tensor that they were cut from."""
    waiting: dict[str, Entry] = {}
    for entry in entries:
        match = _HALF.fullmatch(entry.name)
        if match is None:
            yield entry
        elif match[1] not in waiting:
            waiting[match[1]] = entry
        else:
            keys, values = sorted((entry, waiting.pop(match[1])), key=lambda half: half.name)
            yield _joined(f"{match[1]}_kv_b.weight", keys, values)
    for stem, entry in waiting.items():
        (missing,) = {f"{stem}_{letter}_b.weight" for letter in "kv"} - {entry.name}
        raise WeightsError(
            f"tensor {missing!r:.120} is missing",
            where=str(entry.file),
            remedy="download or convert the model again",
        )


def _joined(name: str, keys: Entry, values: Entry) -> Entry:
    k, v = keys.tensor, values.tensor
    assert isinstance(k, Tensor)  # halves are never left in blocks
    assert isinstance(v, Tensor)
    fits = (
        k.ndim == v.ndim == 3
        and (k.shape[0], k.shape[1]) == (v.shape[0], v.shape[2])
        and k.dtype.is_floating_point
        and v.dtype.is_floating_point
    )
    if not fits:
        raise WeightsError(
            f"tensors {keys.name!r:.120} {list(k.shape)} and {values.name!r:.120} "
            f"{list(v.shape)} are no two halves of one map",
            where=str(keys.file),
            remedy="download or convert the model again",
        )
    whole = join_halves(k, v)
    keys.release()
    values.release()
    return replace(keys, name=name, size=keys.size + values.size, tensor=whole, release=keep)


def _view(raw: Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    if raw.data_ptr() % dtype.itemsize:
        raw = raw.clone()
    return raw.view(dtype).view(shape)


@dataclass(frozen=True, slots=True)
class _Part:
    """A tensor, or one expert of a `stack` of so many `experts`."""

    name: str
    ref: TensorRef
    stack: str = ""
    expert: int = 0
    experts: int = 0


def _apart(found: Gguf) -> Iterator[_Part]:
    """Yield every tensor; one that stacks experts comes as one tensor for each."""
    for name, ref in found.tensors.items():
        match = _STACKED.fullmatch(name)
        if match is None or len(ref.shape) < 2:
            yield _Part(name, ref)
            continue
        experts, *shape = ref.shape
        block = GGML_TYPES[ref.dtype]
        size = prod(shape) // block.values * block.bytes
        for expert in range(experts):
            start = ref.span[0] + expert * size
            part = replace(ref, shape=tuple(shape), span=(start, start + size))
            yield _Part(f"{match[1]}.{expert}.{match[2]}", part, name, expert, experts)
