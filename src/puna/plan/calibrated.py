"""What no trace sees, as figures that bench/plan.py measures: the process, and loading."""

from __future__ import annotations

import torch

from puna.plan.record import Sketch
from puna.spec import Dense, LayerSpec, ModelSpec, MoE

# Python, torch and this package before a model is open, resident.
_PROCESS = 380 << 20


def runtime_bytes(kind: str) -> int:
    """Return what a process holds beside its tensors."""
    return _PROCESS


def loading_bytes(sketch: Sketch, dtype: torch.dtype, kind: str) -> int:
    """Return what loading holds for a moment beside the weights, in bytes.

    Weights that fit as they are stay views of the file. Others are copied, a tensor at a time,
    and the largest is there twice while it is.
    """
    return largest_tensor(sketch.spec) * dtype.itemsize


def largest_tensor(spec: ModelSpec) -> int:
    """Return the values of the largest tensor that a checkpoint may hold in one piece."""
    return max(spec.vocab * spec.width, *(_largest(layer, spec.width) for layer in spec.layers))


def _largest(layer: LayerSpec, width: int) -> int:
    mixer, ffn = layer.mixer, layer.ffn
    dense: Dense = ffn.expert if isinstance(ffn, MoE) else ffn
    rows = dense.width * (2 if dense.gate == "fused" else 1)
    return width * max(rows, mixer.q_width + 2 * mixer.kv_width)
