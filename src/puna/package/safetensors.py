"""A model as a folder that every tool opens: config, safetensors, tokenizer and chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from puna.errors import UsageError
from puna.loading import Parts
from puna.text import save_template, save_tokenizer
from puna.weights import save_folder


def export_safetensors(
    parts: Parts,
    folder: Path,
    dtype: Literal["float32", "float16", "bfloat16"] | None = None,
) -> tuple[str, ...]:
    """Write the folder; return what could not go with it, in words.

    Args:
        parts: the opened model.
        folder: made where it is not there.
        dtype: what weights are written in; None leaves them as they are.

    Raises:
        UsageError: a model opened with an adapter.
        StorageError: the disk did not take it; weights that were there are still there.
    """
    if parts.adapter is not None:
        raise UsageError("the folder would hold no adapter", remedy="merge the adapter first")
    kind: torch.dtype | None = None if dtype is None else getattr(torch, dtype)
    save_folder(parts.model, parts.table, folder, config=parts.config, dtype=kind)
    notes = []
    if (tokenizer := parts.text.tokenizer) is not None:
        if not save_tokenizer(tokenizer, folder):
            notes.append("the tokenizer was rebuilt from a GGUF vocabulary and has no files")
    elif parts.gguf is not None:
        notes.append("the vocabulary of the GGUF file was not rebuilt, so no tokenizer was written")
    if (template := parts.text.template) is not None:
        save_template(template, folder)
    return tuple(notes)
