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
from puna.formats import GGML_TYPES, Gguf, TensorRef
from puna.quant import PLAIN, dequantize
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
class GgufWeights:
    """The tensors of a GGUF file, with stacked experts taken apart."""

    found: Gguf

    def listing(self) -> Iterator[tuple[str, torch.dtype, int]]:
        """Yield name, dtype and bytes of each tensor as it is once unpacked."""
        for part in _apart(self.found):
            dtype = PLAIN.get(part.ref.dtype, UNPACKED)
            yield part.name, dtype, prod(part.ref.shape) * dtype.itemsize

    def entries(self, dtype: torch.dtype) -> Iterator[Entry]:
        """Yield every tensor in the order of the files; blocks are unpacked to `dtype`."""
        return _join_halves(self._stored(dtype))

    def _stored(self, dtype: torch.dtype) -> Iterator[Entry]:
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
    fits = (
        isinstance(k, Tensor)
        and isinstance(v, Tensor)
        and k.ndim == v.ndim == 3
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
    whole = join_halves(k, v)  # type: ignore[arg-type]
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
