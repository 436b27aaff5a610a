"""The joint that writes a GGUF file: weights, hyperparameters and vocabulary of an opened model."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import torch

from puna.errors import UsageError
from puna.families import (
    check_same,
    config_of,
    gguf_metadata,
    gguf_names,
    gguf_notes,
    gguf_tables,
    read_config,
)
from puna.formats import Typed
from puna.loading import Parts
from puna.saving import prove, seal_parts
from puna.seal import KEY, Seal, digests_of_gguf, moved
from puna.source import Source, find_license
from puna.spec import ModelSpec
from puna.text import GgufText, gguf_text, gguf_text_again, text_of_gguf
from puna.weights import plan_gguf, save_gguf

# Formats by the names of the command line, with the number llama.cpp has for a file of each.
GGUF_TYPES = {
    "f32": ("F32", 0),
    "f16": ("F16", 1),
    "bf16": ("BF16", 32),
    "q8_0": ("Q8_0", 7),
    "q5_1": ("Q5_1", 9),
    "q5_0": ("Q5_0", 8),
    "q4_1": ("Q4_1", 3),
    "q4_0": ("Q4_0", 2),
}


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: values per number format, and what another tool will do differently."""

    path: Path
    bytes: int
    types: Mapping[str, int]
    notes: tuple[str, ...]


def export_gguf(
    parts: Parts,
    path: Path,
    kind: str = "bf16",
    *,
    insist: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Write a model as one GGUF file that llama.cpp opens, and that opens here as the same model.

    The metadata is read back before anything is written: a model that GGUF cannot describe is
    refused rather than changed. The file carries the model's seal; what was written is opened and
    held against it.

    Args:
        parts: the opened model; adapters are not written, so merge one first.
        path: the file, replaced in one step.
        kind: a key of `GGUF_TYPES`, for all matrices.
        insist: whether to refuse a format that makes another model of it; without that, the
            figures are among the notes.
        progress: called with (bytes done, bytes in all).

    Raises:
        UsageError: an unknown format, a model opened with an adapter, a value out of range.
        ConfigError: a model that GGUF or llama.cpp cannot describe.
        TokenizerError: a tokenizer that GGUF cannot describe.
        StorageError: the disk did not take it; what was there before is still there.
        SealError: the file would not do what the model does; what was there before still is.
    """
    if kind not in GGUF_TYPES:
        raise UsageError(
            f"unknown type {kind!r:.40}", remedy=f"choose one of {', '.join(GGUF_TYPES)}"
        )
    if parts.adapter is not None:
        raise UsageError("a GGUF file holds no adapter", remedy="merge the adapter first")
    format_, number = GGUF_TYPES[kind]
    plan = plan_gguf(parts.model, gguf_names(parts.spec), format_)
    metadata = describe_gguf(parts.spec, {name: planned.shape for name, planned in plan.items()})
    tables = gguf_tables(parts.spec)
    extra = {name: torch.tensor(table, dtype=torch.float32) for name, table in tables.items()}
    text = _text(parts)
    seal = _tellable(seal_parts(parts), text, parts)
    metadata |= _general(parts, number) | text.keys | _sealed(seal, text.keys, format_)
    drift: list[str] = []

    def check(written: Path) -> None:
        source = Source(path.stem, written, kind="file")
        drift.extend(prove(seal, source, parts, insist=insist)[1])

    size = save_gguf(path, parts.model, plan, metadata, extra=extra, check=check, progress=progress)
    types: Counter[str] = Counter()
    for planned in plan.values():
        types[planned.kind] += prod(planned.shape)
    own = (*gguf_notes(parts.spec), *_fallback(types, format_), *text.notes, *_left(parts))
    notes = (*own, *drift)
    return Exported(path, size, dict(types.most_common()), notes)


def _left(parts: Parts) -> tuple[str, ...]:
    """Say what a store keeps beside its GGUF file that the written one cannot hold."""
    kept = parts.source.ollama
    if kept is None:
        return ()
    left = {"template": kept.template, "system message": kept.system, "parameters": kept.params}
    names = ", ".join(name for name, value in left.items() if value)
    return (f"of Ollama's store this file does not hold: {names}",) if names else ()


def describe_gguf(spec: ModelSpec, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Typed]:
    """Return the hyperparameters of a file to be written, held against the spec they came from.

    Args:
        spec: the model.
        shapes: the tensors of the file, which say a part of what it is.

    Raises:
        ConfigError: a model that GGUF or llama.cpp cannot describe.
    """
    metadata = gguf_metadata(spec)
    plain = {key: _stored(kind, value) for key, (kind, value) in metadata.items()}
    tables = {n: [_stored("f32", x) for x in table] for n, table in gguf_tables(spec).items()}
    every = {**shapes, **{name: (len(table),) for name, table in tables.items()}}
    check_same(spec, read_config(config_of(plain, every, tables)))
    return metadata


def _tellable(seal: Seal, text: GgufText, parts: Parts) -> Seal:
    """Return a seal without the prompts that become other ids in GGUF, as the notes say."""
    if not text.notes:
        return seal
    plain = {key: value for key, (_, value) in text.keys.items()}
    as_read = text_of_gguf(plain, parts.config, parts.source.path)
    lost = {one.name for one in moved(seal.prompts, as_read, context=parts.spec.context)}
    kept = tuple(golden for golden in seal.prompts if golden.name not in lost)
    return replace(seal, prompts=kept or seal.prompts)


def _sealed(seal: Seal, text: Mapping[str, Typed], format_: str) -> dict[str, Typed]:
    digests = digests_of_gguf({key: value for key, (_, value) in text.items()})
    body = replace(seal, digests=digests, stored=format_).to_json()
    return {KEY: ("str", json.dumps(body, ensure_ascii=False))}


def _general(parts: Parts, number: int) -> dict[str, Typed]:
    keys: dict[str, Typed] = {
        "general.type": ("str", "model"),
        "general.name": ("str", parts.source.name),
        "general.file_type": ("u32", number),
        "general.quantization_version": ("u32", 2),
    }
    if (license_ := find_license(parts.source.path, parts.config)) is not None:
        keys["general.license"] = ("str", license_)
    return keys


def _text(parts: Parts) -> GgufText:
    if parts.gguf is not None:  # as the file had it, whatever kind of tokenizer it is
        return GgufText(gguf_text_again(parts.gguf.metadata))
    text = parts.text
    return gguf_text(text.tokenizer, text.template, text.specials, parts.spec.vocab)


def _stored(kind: str, value: Any) -> Any:
    return struct.unpack("<f", struct.pack("<f", value))[0] if kind == "f32" else value


def _fallback(types: Mapping[str, int], wanted: str) -> list[str]:
    odd = [kind for kind in types if kind not in (wanted, "F32", "Q8_0")]
    return [f"some rows do not fill whole blocks of {wanted}; they are in {odd[0]}"] if odd else []
