"""The joint that opens a model: source → spec → weights → model → adapter, and its text parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from puna.adapter import read_adapter
from puna.errors import UsageError
from puna.families import NameTable, gguf_names, name_table, open_config, read_config
from puna.formats import Gguf
from puna.model import Decoder, build
from puna.source import Source, resolve
from puna.spec import ModelSpec
from puna.text import (
    ChatTemplate,
    Specials,
    Tokenizer,
    load_template,
    load_tokenizer,
    read_specials,
    specials_from_gguf,
    tokenizer_from_gguf,
)
from puna.weights import checkpoint_dtype, load_into, open_checkpoint, open_gguf

# What files made for ids alone say in place of a vocabulary.
_NO_VOCABULARY = ("no_vocab", "none")
DType = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True)
class TextParts:
    """What turns text into ids and back; any of it may be missing from a checkpoint."""

    tokenizer: Tokenizer | None
    template: ChatTemplate | None
    specials: Specials


@dataclass(frozen=True, slots=True)
class Parts:
    """An opened model, piece by piece. `adapter` is the slot of the adapter it was opened with.

    `gguf` is the header of the file where it is one.
    """

    source: Source
    config: Mapping[str, Any]
    spec: ModelSpec
    table: NameTable
    model: Decoder
    text: TextParts
    adapter: int | None
    gguf: Gguf | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """A model before any weight is touched; `gguf` is the header where it is a GGUF file."""

    source: Source
    config: Mapping[str, Any]
    spec: ModelSpec
    gguf: Gguf | None


def read_spec(model: str | Path, *, ignore_keys: Iterable[str] = ()) -> Description:
    """Return source, config and spec of a model; no weight is touched.

    Raises:
        SourceError, FormatError, ConfigError: what is not there or cannot be read exactly.
    """
    source = resolve(model)
    ignored = tuple(ignore_keys)
    config, found = open_config(source.path, ignore_keys=ignored)
    return Description(source, config, read_config(config, ignore_keys=ignored), found)


def read_text(folder: Path, config: Mapping[str, Any], gguf: Gguf | None = None) -> TextParts:
    """Return tokenizer, chat template and special ids found in `folder`, or in a GGUF file.

    Raises:
        TokenizerError, TemplateError: files that are there and cannot be used.
    """
    if gguf is not None:
        return _gguf_text(gguf, config)
    tokenizer = load_tokenizer(folder)
    return TextParts(
        tokenizer, load_template(folder, tokenizer), read_specials(folder, config, tokenizer)
    )


def _gguf_text(found: Gguf, config: Mapping[str, Any]) -> TextParts:
    """Return the text parts of a GGUF file: all of them come from its metadata."""
    where = str(found.files[0])
    specials = read_specials(found.files[0], config, None)
    if found.metadata.get("tokenizer.ggml.model") in (None, *_NO_VOCABULARY):
        return TextParts(None, None, specials)
    tokenizer = tokenizer_from_gguf(found.metadata, where)
    specials = specials_from_gguf(found.metadata, where)
    source = found.metadata.get("tokenizer.chat_template")
    if not isinstance(source, str):
        return TextParts(tokenizer, None, specials)
    bos, eos = (
        None if token is None else tokenizer.piece(token)
        for token in (tokenizer.bos_id, tokenizer.eos_id)
    )
    name = f"{where}, tokenizer.chat_template"
    template = ChatTemplate(source, bos_token=bos, eos_token=eos, name=name)
    return TextParts(tokenizer, template, specials)


def load_parts(
    model: str | Path,
    *,
    adapter: str | Path | None = None,
    dtype: DType = "auto",
    device: str = "auto",
    ignore_keys: Iterable[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Parts:
    """Open a model folder, GGUF file or built-in name, weights included.

    Args:
        model: a folder, a GGUF file, or a built-in name such as `cria`.
        adapter: a folder in PEFT's layout; its rows are used unless a request says otherwise.
        dtype: what weights and activations are kept in; `auto` is the checkpoint's own, and
            bfloat16 where most of its weights are quantized (GGUF).
        device: `auto` takes the first CUDA device if there is one.
        ignore_keys: config keys to pass over although they are unknown.
        progress: called with (bytes done, bytes in all).

    Raises:
        PunaError: the branch of the tree that says which part is at fault.
    """
    opened = read_spec(model, ignore_keys=ignore_keys)
    source, config, spec, gguf = opened.source, opened.config, opened.spec, opened.gguf
    checkpoint = open_checkpoint(source.path) if gguf is None else open_gguf(gguf)
    kind = _dtype(checkpoint_dtype(checkpoint) if dtype == "auto" else dtype)
    place = _device(device)
    table = name_table(spec)
    decoder = build(spec, dtype=kind)
    stored = table if gguf is None else gguf_names(spec)
    load_into(decoder, checkpoint, stored, dtype=kind, device=place, progress=progress)
    decoder.eval().requires_grad_(False)
    slot = None if adapter is None else read_adapter(Path(adapter), decoder, table)
    text = read_text(source.path, config, gguf)
    return Parts(source, config, spec, table, decoder, text, slot, gguf)


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
