"""From the bytes of a ggml tensor to numbers, a slice of blocks at a time."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor

from puna.errors import FormatError
from puna.formats import GGML_TYPES
from puna.quant import simple
from puna.quant import super as supers

PLAIN = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F64": torch.float64,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
}
NATIVE: dict[str, Callable[[Tensor], Tensor]] = {
    "Q4_0": simple.q4_0,
    "Q4_1": simple.q4_1,
    "Q5_0": simple.q5_0,
    "Q5_1": simple.q5_1,
    "Q8_0": simple.q8_0,
    "IQ4_NL": simple.iq4_nl,
    "MXFP4": simple.mxfp4,
    "Q2_K": supers.q2_k,
    "Q3_K": supers.q3_k,
    "Q4_K": supers.q4_k,
    "Q5_K": supers.q5_k,
    "Q6_K": supers.q6_k,
    "IQ4_XS": supers.iq4_xs,
}
# Values unpacked at once. More is no faster, and buffers of many MiB between parameters that stay
# would leave holes in the heap.
_SLICE = 1 << 18


def dequantize(
    raw: Tensor,
    kind: str,
    shape: tuple[int, ...],
    dtype: torch.dtype = torch.float32,
    *,
    out: Tensor | None = None,
) -> Tensor:
    """Return the numbers that `raw` stands for, in a new tensor or in `out`.

    Values are computed in float32, bit for bit as ggml's reference does, and then rounded to
    `dtype`. Formats that are seldom used (IQ1 to IQ3, TQ) are unpacked by the `gguf` package.

    Args:
        raw: uint8 [bytes], on the CPU.
        kind: a name of `GGML_TYPES`, such as `Q4_K`.
        shape: what the values make up, in row-major order.
        dtype: a floating dtype.
        out: a contiguous tensor of this shape and dtype to be filled with blocks' numbers.

    Raises:
        FormatError: a format that is unknown, or bytes that do not make up the shape.
    """
    block = GGML_TYPES.get(kind)
    if block is None:
        raise FormatError(f"the number format {kind!r:.40} is unknown")
    if raw.numel() * block.values != prod(shape) * block.bytes:
        raise FormatError(f"{raw.numel()} bytes of {kind} do not make up the shape {list(shape)}")
    if kind in PLAIN:
        return raw.clone().view(PLAIN[kind]).view(shape).to(dtype)
    unpack = NATIVE.get(kind) or _by_library(kind)
    flat = torch.empty(prod(shape), dtype=dtype) if out is None else out.view(-1)
    blocks = raw.view(-1, block.bytes)
    step = _SLICE // block.values
    for start in range(0, len(blocks), step):
        values = unpack(blocks[start : start + step])
        flat[start * block.values :][: values.numel()].view(values.shape).copy_(values)
    return flat.view(shape)


def _by_library(kind: str) -> Callable[[Tensor], Tensor]:
    import numpy as np
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize as reference

    number = GGMLQuantizationType[kind]

    def unpack(blocks: Tensor) -> Tensor:
        with np.errstate(all="ignore"):  # a scale that is no number gives values that are none
            return torch.from_numpy(reference(blocks.numpy(), number))

    return unpack
