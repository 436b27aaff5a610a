"""A model as a folder that every tool opens: config, safetensors, tokenizer and chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from puna.errors import UsageError
from puna.loading import Parts
from puna.saving import save_parts


def export_safetensors(
    parts: Parts,
    folder: Path,
    dtype: Literal["float32", "float16", "bfloat16"] | None = None,
    *,
    insist: bool = True,
) -> tuple[str, ...]:
    """Write the folder; return what could not go with it and how far it drifts, in words.

    Args:
        parts: the opened model.
        folder: made where it is not there.
        dtype: what weights are written in; None leaves them as they are.
        insist: whether to raise where the format makes another model of it.

    Raises:
        UsageError: a model opened with an adapter.
        StorageError: the disk did not take it; weights that were there are still there.
        SealError: what was written does not do what the model does.
    """
    if parts.adapter is not None:
        raise UsageError("the folder would hold no adapter", remedy="merge the adapter first")
    kind: torch.dtype | None = None if dtype is None else getattr(torch, dtype)
    drift = save_parts(parts, folder, dtype=kind, insist=insist)
    if parts.text.tokenizer is None and parts.gguf is not None:
        return ("the GGUF file has no vocabulary, so no tokenizer was written", *drift)
    return drift
