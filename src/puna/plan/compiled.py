"""What a step holds where compiled code runs it: buffers of known width, and logits."""

from __future__ import annotations

import torch

from puna.engine import STEP_ROWS, buffers_of, tiles_serve
from puna.model import threads
from puna.plan.bound import due_of
from puna.plan.packed import Packs
from puna.plan.record import Serve
from puna.spec import ModelSpec

_WIDE = 4  # bytes of a float32


def runs_compiled(dtype: torch.dtype, packs: Packs | None) -> bool:
    """Tell whether an engine on this machine's processor would run a model in compiled code."""
    if threads() is None:
        return False
    if packs is None:
        return not tiles_serve(dtype)
    return packs.format is not None


def compiled_bytes(spec: ModelSpec, use: Serve) -> int:
    """Return the most bytes of a step's own memory."""
    widths = [buffer.columns * buffer.each for buffer in buffers_of(spec)]
    due = due_of(use.batch)
    rows = min(STEP_ROWS, max(due, min(use.chunk, use.context)))
    # Inputs are prepared in bytes or in halves, with two numbers for each group of 32.
    prepared = max(widths[:-2]) * (2 + 2 * _WIDE / 32)
    # A pick makes a copy or two of a row of logits.
    logits = (due + 2) * spec.vocab
    return int(rows * (_WIDE * sum(widths[:-1]) + prepared)) + _WIDE * logits
