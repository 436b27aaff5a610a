"""Tensors of GGUF files: plain numbers as views of the map, blocks unpacked tensor by tensor."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import prod

import torch
from torch import Tensor

from puna.formats import GGML_TYPES, Gguf, TensorRef
from puna.quant import PLAIN, dequantize
from puna.weights.entry import Entry, keep
from puna.weights.read import MappedFile, release

# All experts of a layer in one tensor.
_STACKED = re.compile(r"(.+)_exps\.(weight|bias)")
# What quantized weights are unpacked to unless another dtype is asked for.
UNPACKED = torch.bfloat16


@dataclass(frozen=True, slots=True)
class GgufWeights:
    """The tensors of a GGUF file, with stacked experts taken apart."""

    found: Gguf

    def listing(self) -> Iterator[tuple[str, torch.dtype, int]]:
        """Yield name, dtype and bytes of each tensor as it is once unpacked."""
        for name, ref in _apart(self.found):
            dtype = PLAIN.get(ref.dtype, UNPACKED)
            yield name, dtype, prod(ref.shape) * dtype.itemsize

    def entries(self, dtype: torch.dtype) -> Iterator[Entry]:
        """Yield every tensor in the order of the files; blocks are unpacked to `dtype`."""
        maps = {file: MappedFile(file) for file in self.found.files}
        ordered = sorted(_apart(self.found), key=lambda item: (item[1].file, item[1].span))
        for name, ref in ordered:
            plain = PLAIN.get(ref.dtype)
            raw = maps[ref.file].bytes(ref)
            size = prod(ref.shape) * (plain or UNPACKED).itemsize
            if plain is not None:
                tensor = _view(raw, plain, ref.shape)
                yield Entry(name, ref.file, size, tensor, partial(release, raw))
            else:
                tensor = dequantize(raw, ref.dtype, ref.shape, dtype)
                release(raw)
                yield Entry(name, ref.file, size, tensor, keep)


def _view(raw: Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    if raw.data_ptr() % dtype.itemsize:
        raw = raw.clone()
    return raw.view(dtype).view(shape)


def _apart(found: Gguf) -> Iterator[tuple[str, TensorRef]]:
    """Yield every tensor; one that stacks experts comes as one tensor for each."""
    for name, ref in found.tensors.items():
        match = _STACKED.fullmatch(name)
        if match is None or len(ref.shape) < 2:
            yield name, ref
            continue
        experts, *shape = ref.shape
        block = GGML_TYPES[ref.dtype]
        size = prod(shape) // block.values * block.bytes
        for expert in range(experts):
            start = ref.span[0] + expert * size
            part = replace(ref, shape=tuple(shape), span=(start, start + size))
            yield f"{match[1]}.{expert}.{match[2]}", part
