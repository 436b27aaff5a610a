"""The joint that opens a model, source → spec → weights → model → adapter, and saves it again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from puna.adapter import read_adapter
from puna.errors import AdapterError, UsageError
from puna.families import NameTable, gguf_names, name_table, saved_form
from puna.formats import Gguf
from puna.model import Decoder, build
from puna.reading import describe, read_text
from puna.source import (
    Source,
    compare_base,
    resolve,
    resolve_adapter,
    resolve_or_pull,
    verify_source,
)
from puna.spec import ModelSpec
from puna.text import TextParts, save_specials, save_template, save_tokenizer
from puna.weights import checkpoint_dtype, load_into, open_checkpoint, open_gguf, save_folder

# Passed as a key to ignore, it lets an adapter onto another base than it names.
BASE_KEY = "base_model_name_or_path"
DType = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True)
class Parts:
    """An opened model, piece by piece.

    `adapter` is the slot of the adapter it was opened with, `gguf` the header of the file where it
    is one; `notes` is what the user should know.
    """

    source: Source
    config: Mapping[str, Any]
    spec: ModelSpec
    table: NameTable
    model: Decoder
    text: TextParts
    adapter: int | None
    gguf: Gguf | None = None
    notes: tuple[str, ...] = ()


def load_parts(
    model: str | Path,
    *,
    adapter: str | Path | None = None,
    dtype: DType = "auto",
    device: str = "auto",
    ignore_keys: Iterable[str] = (),
    pull: bool = False,
    on_pull: Callable[[int, int, str], None] | None = None,
    on_check: Callable[[int, int], None] | None = None,
    template: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Parts:
    """Open a model by whatever `puna.source.resolve` knows it by, weights included.

    Args:
        model: a folder, a GGUF file, the id of a pulled model, or a built-in name such as `cria`.
        adapter: a folder in PEFT's layout, or the id of one that was pulled; its rows are used
            unless a request says otherwise.
        dtype: what weights and activations are kept in; `auto` is the checkpoint's own, and
            bfloat16 where most of its weights are quantized (GGUF).
        device: `auto` takes the first CUDA device if there is one.
        ignore_keys: config keys to pass over although they are unknown.
        template: a published chat format by name, or a file, in place of the folder's.
        pull: whether to pull what is not on this disk.
        on_pull: called with (bytes done, bytes in all, file) of a pull.
        on_check: called with (bytes done, bytes in all) as digests are checked.
        progress: called with (bytes done, bytes in all) as weights are read.

    Raises:
        PunaError: the branch of the tree that says which part is at fault.
    """
    ignored = tuple(ignore_keys)
    source = resolve_or_pull(model, on_bytes=on_pull) if pull else resolve(model)
    verify_source(source, on_check)
    if source.ollama is not None and source.ollama.adapters:
        raise AdapterError(
            f"{source.name} of Ollama's store has an adapter in GGUF, which is not read",
            where=str(source.ollama.adapters[0]),
            remedy="load its base, with the adapter as a LoRA folder in PEFT's layout",
        )
    opened = describe(source, ignore_keys=ignored)
    config, spec, gguf = opened.config, opened.spec, opened.gguf
    beside, notes = _find_adapter(adapter, source, ignored, pull)
    weights = source.weights or source.path
    checkpoint = open_checkpoint(weights) if gguf is None else open_gguf(gguf)
    kind = _dtype(checkpoint_dtype(checkpoint) if dtype == "auto" else dtype)
    place = _device(device)
    table = name_table(spec)
    decoder = build(spec, dtype=kind)
    stored = table if gguf is None else gguf_names(spec)
    load_into(decoder, checkpoint, stored, device=place, progress=progress)
    decoder.eval().requires_grad_(False)
    tuned = None if beside is None else beside.path
    slot = None if tuned is None else read_adapter(tuned, decoder, table)
    text = read_text(source, config, gguf, template=template, adapter=tuned)
    return Parts(source, config, spec, table, decoder, text, slot, gguf, notes)


def save_parts(parts: Parts, folder: Path, *, dtype: torch.dtype | None = None) -> None:
    """Write a folder that this package and others load: weights, config, text files.

    Args:
        parts: the opened model, its adapters merged.
        folder: made where it is not there.
        dtype: what weights are written in; None leaves them as they are.

    Raises:
        StorageError: the disk did not take it; what was there before is still there.
    """
    table, config = saved_form(parts.spec, parts.config)
    save_folder(parts.model, table, folder, config=config, dtype=dtype)
    save_specials(parts.source.path, folder)
    if parts.text.tokenizer is not None:
        save_tokenizer(parts.text.tokenizer, folder)
    if parts.text.template is not None:
        save_template(parts.text.template, folder)


def _find_adapter(
    adapter: str | Path | None, model: Source, ignored: tuple[str, ...], pull: bool
) -> tuple[Source | None, tuple[str, ...]]:
    """Return where an adapter is, its digests checked, and a remark if it names another base."""
    if adapter is None:
        return None, ()
    source = resolve_or_pull(adapter, "adapter") if pull else resolve_adapter(adapter)
    verify_source(source)
    remark = compare_base(source, model, insist=BASE_KEY not in ignored)
    return source, (remark,) if remark else ()


def _dtype(name: str) -> torch.dtype:
    if name not in get_args(DType) or name == "auto":
        choices = ", ".join(get_args(DType))
        raise UsageError(f"unknown dtype {name!r}", remedy=f"choose one of {choices}")
    kind: torch.dtype = getattr(torch, name)
    return kind


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name).item()  # "meta" holds no values, and fails here too
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {name!r} cannot be used here", remedy="use cpu") from error
    return name
