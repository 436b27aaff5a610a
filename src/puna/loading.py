"""The joint that opens a model: source → spec → weights → model → adapter, and its text parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from puna.adapter import read_adapter
from puna.errors import UsageError
from puna.families import NameTable, name_table, read_config
from puna.model import Decoder, build
from puna.source import Source, read_json, resolve
from puna.spec import ModelSpec
from puna.text import (
    ChatTemplate,
    Specials,
    Tokenizer,
    load_template,
    load_tokenizer,
    open_template,
    read_specials,
)
from puna.weights import checkpoint_dtype, load_into, open_checkpoint

DType = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True)
class TextParts:
    """What turns text into ids and back; any of it may be missing from a checkpoint."""

    tokenizer: Tokenizer | None
    template: ChatTemplate | None
    specials: Specials


@dataclass(frozen=True, slots=True)
class Parts:
    """An opened model, piece by piece. `adapter` is the slot of the adapter it was opened with."""

    source: Source
    config: Mapping[str, Any]
    spec: ModelSpec
    table: NameTable
    model: Decoder
    text: TextParts
    adapter: int | None


def read_spec(
    model: str | Path, *, ignore_keys: Iterable[str] = ()
) -> tuple[Source, dict[str, Any], ModelSpec]:
    """Return source, config and spec of a model; no weight is touched.

    Raises:
        SourceError, FormatError, ConfigError: what is not there or cannot be read exactly.
    """
    source = resolve(model)
    config = read_json(source.path / "config.json", what="model config")
    return source, config, read_config(config, ignore_keys=ignore_keys)


def read_text(
    folder: Path,
    config: Mapping[str, Any],
    *,
    template: str | Path | None = None,
    adapter: Path | None = None,
) -> TextParts:
    """Return tokenizer, chat template and special ids found in `folder`.

    Args:
        folder: of the checkpoint.
        config: its config.json.
        template: a published format by name, or a file, in place of the folder's template.
        adapter: a tuned folder; the template that it was tuned with goes before the base's.

    Raises:
        TokenizerError, TemplateError: files that are there and cannot be used.
    """
    tokenizer = load_tokenizer(folder)
    if template is not None:
        found: ChatTemplate | None = open_template(template, folder=folder, tokenizer=tokenizer)
    else:
        tuned = None if adapter is None else load_template(adapter, tokenizer)
        found = tuned or load_template(folder, tokenizer)
    return TextParts(tokenizer, found, read_specials(folder, config, tokenizer))


def load_parts(
    model: str | Path,
    *,
    adapter: str | Path | None = None,
    dtype: DType = "auto",
    device: str = "auto",
    ignore_keys: Iterable[str] = (),
    template: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Parts:
    """Open a model folder or built-in name, weights included.

    Args:
        model: a folder, or a built-in name such as `cria`.
        adapter: a folder in PEFT's layout; its rows are used unless a request says otherwise.
        dtype: what weights and activations are kept in; `auto` is the checkpoint's own.
        device: `auto` takes the first CUDA device if there is one.
        ignore_keys: config keys to pass over although they are unknown.
        template: a published chat format by name, or a file, in place of the folder's.
        progress: called with (bytes done, bytes in all).

    Raises:
        PunaError: the branch of the tree that says which part is at fault.
    """
    source, config, spec = read_spec(model, ignore_keys=ignore_keys)
    checkpoint = open_checkpoint(source.path)
    kind = _dtype(checkpoint_dtype(checkpoint) if dtype == "auto" else dtype)
    place = _device(device)
    table = name_table(spec)
    decoder = build(spec, dtype=kind)
    load_into(decoder, checkpoint, table, dtype=kind, device=place, progress=progress)
    decoder.eval().requires_grad_(False)
    tuned = None if adapter is None else Path(adapter)
    slot = None if tuned is None else read_adapter(tuned, decoder, table)
    text = read_text(source.path, config, template=template, adapter=tuned)
    return Parts(source, config, spec, table, decoder, text, slot)


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
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {name!r} cannot be used here", remedy="use cpu") from error
    return name
