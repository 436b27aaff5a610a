"""A model as a folder that every tool opens: config, safetensors, tokenizer and chat template."""

from __future__ import annotations

from pathlib import Path

import torch

from puna.errors import UsageError
from puna.formats import write_atomic
from puna.loading import Parts
from puna.text import save_template, save_tokenizer
from puna.weights import save_folder

_DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def torch_dtype(kind: str) -> torch.dtype | None:
    """Return the dtype of a type of the command line, None where safetensors have none."""
    return _DTYPES.get(kind)


def export_safetensors(
    parts: Parts, folder: Path, dtype: torch.dtype | None = None
) -> tuple[str, ...]:
    """Write the folder; return what could not go with it, in words.

    Raises:
        UsageError: a model opened with an adapter.
        StorageError: the disk did not take it; weights that were there are still there.
    """
    if parts.adapter is not None:
        raise UsageError("the folder would hold no adapter", remedy="merge the adapter first")
    save_folder(parts.model, parts.table, folder, config=parts.config, dtype=dtype)
    notes = []
    if (tokenizer := parts.text.tokenizer) is not None:
        if not save_tokenizer(tokenizer, folder):
            notes.append("the tokenizer was rebuilt from a GGUF vocabulary and has no files")
    elif parts.gguf is not None:
        notes.append("the vocabulary of the GGUF file was not rebuilt, so no tokenizer was written")
    if (template := parts.text.template) is not None:
        save_template(template, folder)
        if parts.gguf is not None:
            write_atomic(folder / "chat_template.jinja", template.source.encode())
    return tuple(notes)
