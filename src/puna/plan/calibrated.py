"""What no trace sees, as figures that bench/plan.py measures: the process, and loading."""

from __future__ import annotations

import torch

from puna.plan.packed import packing_bytes
from puna.plan.record import Sketch, Tune, Use
from puna.spec import Dense, LayerSpec, ModelSpec, MoE

_NAMES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
# Python, torch and this package before a model is open, resident.
_PROCESS = 240 << 20
# A CUDA context with its libraries; not measured here, but what is commonly seen.
_CONTEXT = 600 << 20
# Buffers and compiled kernels that the libraries of products keep: in a forward, and with a
# backward.
_FORWARD, _BACKWARD = 32 << 20, 112 << 20
# Experts get another number of rows in each step, and each number is a product of its own shape,
# whose kernel is kept: up to 1,024, of about 176 KiB in tuning and 270 KiB for the few rows of
# serving.
_RAGGED_TUNED, _RAGGED_SERVED = 1024 * (176 << 10), 1024 * (270 << 10)


def runtime_bytes(kind: str) -> int:
    """Return what a process holds on a device before a model is open."""
    return _CONTEXT if kind == "cuda" else _PROCESS


def kernel_bytes(spec: ModelSpec, use: Use, dtype: torch.dtype, kind: str) -> int:
    """Return what the libraries hold that do the arithmetic of a use, in bytes."""
    tuned = isinstance(use, Tune)
    held = _BACKWARD if tuned else _FORWARD
    mixture = any(isinstance(layer.ffn, MoE) for layer in spec.layers)
    compiled = mixture and kind == "cpu" and dtype is not torch.float32
    if not compiled:
        return held
    return held + (_RAGGED_TUNED if tuned else _RAGGED_SERVED)


def loading_bytes(sketch: Sketch, dtype: torch.dtype, kind: str) -> int:
    """Return what loading holds for a moment beside the weights, in bytes.

    Weights that are packed, or put in the layout of a kernel, are there twice, a tensor at a time.
    Weights that fit as they are stay views of the file. Others are copied, a tensor at a time,
    and the largest is there twice while it is.
    """
    if sketch.packing is not None:
        return packing_bytes(largest_tensor(sketch.spec))
    as_they_are = max(sketch.stored, key=lambda name: sketch.stored[name], default="")
    if kind == "cpu" and _NAMES.get(as_they_are) is dtype:
        return 0
    return largest_tensor(sketch.spec) * dtype.itemsize


def largest_tensor(spec: ModelSpec) -> int:
    """Return the values of the largest tensor that a checkpoint may hold in one piece."""
    return max(spec.vocab * spec.width, *(_largest(layer, spec.width) for layer in spec.layers))


def _largest(layer: LayerSpec, width: int) -> int:
    mixer, ffn = layer.mixer, layer.ffn
    dense: Dense = ffn.expert if isinstance(ffn, MoE) else ffn
    rows = dense.width * (2 if dense.gate == "fused" else 1)
    return width * max(rows, mixer.q_width + 2 * mixer.kv_width)
