"""GGUF metadata to the config that a family reads, tensor names to ours, and both backwards."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from puna.errors import ConfigError, FormatError
from puna.families.gguf.arch import HEADS, WIDTH, GgufArch, Shapes, Stored, Tables, Typed, shortest
from puna.families.gguf.archs import BY_FAMILY, BY_NAME
from puna.families.gguf.parts import scaled_rope
from puna.families.gguf.rope import TABLES, rope_tables, yarn_notes
from puna.families.keys import Keys
from puna.families.qwen3_moe import most_experts
from puna.families.table import NameTable
from puna.formats import Gguf, is_gguf, read_floats, read_gguf
from puna.source import read_json
from puna.spec import ModelSpec

_REMEDY = "convert the model again"
# Keys of every architecture that cannot change what the decoder computes, each with its reason.
_INERT = {
    "tensor_data_layout": "a note of old converters; each architecture has one",
    "pooling_type": "for embeddings, which are not read here",
}


def known_architectures() -> tuple[str, ...]:
    """Return the values of `general.architecture` that can be read."""
    return tuple(BY_NAME)


def open_config(
    path: Path, *, ignore_keys: Iterable[str] = ()
) -> tuple[dict[str, Any], Gguf | None]:
    """Return the config of a model's folder or GGUF file, and the header of the latter.

    Raises:
        SourceError, FormatError, ConfigError: what is not there or cannot be read exactly.
    """
    if not is_gguf(path):
        return read_json(path / "config.json", what="model config"), None
    found = read_gguf(path)
    return gguf_config(found, ignore_keys=ignore_keys), found


def gguf_config(found: Gguf, *, ignore_keys: Iterable[str] = ()) -> dict[str, Any]:
    """Return the config of a GGUF file in the published spelling, for `read_config`.

    Every key of its architecture is read, or refused by name. License and special ids come along.

    Args:
        found: the file.
        ignore_keys: keys, without the architecture, to pass over although they are unknown.

    Raises:
        ConfigError: an architecture that is not known, or keys that are missing, wrong or unknown.
        FormatError: a file that holds a vocabulary and no model.
    """
    name = found.architecture
    if name not in BY_NAME:
        raise ConfigError(
            f"the GGUF architecture {name!r:.80} is not known",
            where=f"{found.files[0]}, general.architecture",
            remedy=f"known: {', '.join(BY_NAME)}; or load the safetensors of this model",
        )
    shapes = {tensor: ref.shape for tensor, ref in found.tensors.items()}
    tables = {name: values for name in TABLES if (values := read_floats(found, name)) is not None}
    try:
        return config_of(found.metadata, shapes, tables, ignore_keys)
    except (ConfigError, FormatError) as error:
        where = error.where or str(found.files[0])
        raise type(error)(error.what, where=where, remedy=error.remedy) from error
    except ArithmeticError as error:
        raise ConfigError(
            f"the numbers of the metadata make no model: {error}",
            where=str(found.files[0]),
            remedy=_REMEDY,
        ) from error


def config_of(
    metadata: Mapping[str, Any],
    shapes: Shapes,
    tables: Tables,
    ignore: Iterable[str] = (),
) -> dict[str, Any]:
    """Return the config of plain metadata, tensor shapes and the values of the rope's tables."""
    arch = BY_NAME[metadata["general.architecture"]]
    prefix = f"{arch.name}."
    own = {
        key.removeprefix(prefix): shortest(value)
        for key, value in metadata.items()
        if key.startswith(prefix)
    }
    keys = Keys(own, arch.name, where=None, remedy=_REMEDY)
    embedding = shapes.get("token_embd.weight")
    if embedding is None or len(embedding) != 2:
        raise FormatError(
            "the file holds no token embedding; it is a vocabulary or a part of a model",
            remedy="give the file that holds the weights",
        )
    config: dict[str, Any] = {row.config: row.take(keys, ...) for row in arch.fields}
    if own[HEADS.key] > own[WIDTH.key]:
        raise ConfigError(
            f"{own[HEADS.key]} attention heads are too many for a width of {own[WIDTH.key]}",
            remedy=_REMEDY,
        )
    config["vocab_size"] = embedding[0]
    for key in ("vocab_size", *_INERT):
        keys.take(key, default=None)
    keys.neutral("attention.causal", True)
    arch.read(config, keys, Stored(arch.name, shapes, tables))
    keys.finish(ignore)
    config["tie_word_embeddings"] = "output.weight" not in shapes
    return config | _beside(metadata)


def _beside(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return license and special ids as config.json spells them; every end of turn ends."""
    ids = {
        role: metadata.get(f"tokenizer.ggml.{key}_token_id")
        for role, key in (("bos", "bos"), ("pad", "padding"))
    }
    ends = [metadata.get(f"tokenizer.ggml.{key}_token_id") for key in ("eos", "eot", "eom")]
    found = {f"{role}_token_id": value for role, value in ids.items() if value is not None}
    if kept := list(dict.fromkeys(end for end in ends if end is not None)):
        found["eos_token_id"] = kept[0] if len(kept) == 1 else kept
    named = metadata.get("general.license.name"), metadata.get("general.license")
    if license_ := next((value for value in named if isinstance(value, str) and value), None):
        found["license"] = license_
    return found


def gguf_names(spec: ModelSpec) -> NameTable:
    """Return the tensor names of a spec in GGUF.

    Raises:
        ConfigError: a family that has no GGUF architecture here.
    """
    arch = _arch_of(spec)
    return NameTable(
        arch.rows(spec),
        layers=len(spec.layers),
        experts=most_experts(spec),
        extra=arch.extra(spec),
    )


def gguf_metadata(spec: ModelSpec) -> dict[str, Typed]:
    """Return architecture and hyperparameters of a spec, typed, for a file to be written.

    Raises:
        ConfigError: a family without a GGUF architecture, or one that llama.cpp cannot compute
            in this form.
    """
    arch = _arch_of(spec)
    lacking = arch.lacks(spec) or scaled_rope(spec, arch.scalings)
    if lacking is not None:
        raise ConfigError(
            f"llama.cpp's architecture {arch.name} cannot do {lacking}, which this model needs",
            remedy="export it as safetensors",
        )
    rows = {row.key: (row.kind, row.of(spec)) for row in arch.fields}
    keys: dict[str, Typed] = {"general.architecture": ("str", arch.name)}
    return keys | {f"{arch.name}.{key}": value for key, value in (rows | arch.write(spec)).items()}


def gguf_tables(spec: ModelSpec) -> dict[str, list[float]]:
    """Return the tensors of rotary factors that a spec needs, by name."""
    return rope_tables(spec)


def gguf_notes(spec: ModelSpec) -> tuple[str, ...]:
    """Return what llama.cpp computes otherwise although the file says it right."""
    return (*_arch_of(spec).notes(spec), *yarn_notes(spec))


def check_same(written: ModelSpec, back: ModelSpec) -> None:
    """Hold a spec against what a reader makes of the metadata written for it.

    Raises:
        ConfigError: GGUF cannot say something that the model needs.
    """
    # Layers that guess further ahead are in no opened model, and so in no file.
    back = replace(back, family=written.family, extra_layers=written.extra_layers)
    written, back = _single(written), _single(back)
    if back == written:
        return
    names = ("context", "embed", "layers", "final_norm", "head", "width", "vocab")
    odd = next(name for name in names if getattr(written, name) != getattr(back, name))
    ours, theirs = getattr(written, odd), getattr(back, odd)
    if odd == "layers":
        pairs = zip(written.layers, back.layers, strict=True)
        ours, theirs = next((a, b) for a, b in pairs if a != b)
        part = next(n for n in ("mixer", "ffn", "norm", "residual") if _differ(ours, theirs, n))
        odd, ours = f"layers, {part}", getattr(ours, part)
    raise ConfigError(
        f"GGUF cannot say this about the model: {odd} = {ours!r:.300}",
        remedy="export it as safetensors",
    )


def _single(value: Any) -> Any:
    """Return a record whose numbers are rounded to float32, which is what GGUF holds."""
    if isinstance(value, float):
        return struct.unpack("<f", struct.pack("<f", value))[0]
    if isinstance(value, tuple):
        return tuple(map(_single, value))
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: getattr(value, field.name) for field in fields(value)}
        return replace(value, **{name: _single(part) for name, part in parts.items()})
    return value


def _differ(a: Any, b: Any, name: str) -> bool:
    return bool(getattr(a, name) != getattr(b, name))


def _arch_of(spec: ModelSpec) -> GgufArch:
    arch = BY_FAMILY.get(spec.family)
    if arch is None:
        raise ConfigError(
            f"llama.cpp runs no model of the family {spec.family}, and GGUF has no words for it",
            remedy="export it as safetensors",
        )
    return arch
