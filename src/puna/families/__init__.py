"""One data file per family: how to read its config, and what it calls its tensors (no torch)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from puna.errors import ConfigError
from puna.families import (
    bloom,
    deepseek_v2,
    deepseek_v3,
    falcon,
    gemma,
    gemma2,
    gemma3,
    gpt2,
    gpt_neo,
    gpt_neox,
    gpt_oss,
    gptj,
    granite,
    llama,
    mistral,
    mixtral,
    mpt,
    olmo,
    olmo2,
    opt,
    phi3,
    qwen2,
    qwen3,
    qwen3_moe,
    smollm3,
    starcoder2,
)
from puna.families.gguf import (
    check_same,
    config_of,
    gguf_config,
    gguf_metadata,
    gguf_names,
    gguf_notes,
    gguf_tables,
    known_architectures,
    open_config,
)
from puna.families.keys import INERT, PAGE, Keys
from puna.families.table import (
    GroupedQKV,
    LatentHalves,
    Layout,
    NameTable,
    Place,
    Raised,
    RopePairs,
    Row,
    Slice,
    Transposed,
)
from puna.spec import ModelSpec, MoE, count_parameters

__all__ = [
    "INERT",
    "GroupedQKV",
    "LatentHalves",
    "Layout",
    "NameTable",
    "Place",
    "Raised",
    "RopePairs",
    "Row",
    "Slice",
    "Transposed",
    "check_same",
    "config_of",
    "families",
    "gguf_config",
    "gguf_metadata",
    "gguf_names",
    "gguf_notes",
    "gguf_tables",
    "known_architectures",
    "known_families",
    "name_table",
    "open_config",
    "read_config",
    "saved_form",
]

# Far above any model there is, and far below where sizes overflow.
_PARAMETERS = 1 << 44
# Names are spelled out for every layer and expert, also where only a few layers have experts; the
# largest published models have about 23,000.
_NAMED = 1 << 16

# A family is a module with MODEL_TYPES, read and names, and with text_only where folders of it
# may hold more than a decoder.
_FAMILIES = (
    llama,
    mistral,
    mixtral,
    falcon,
    bloom,
    gpt_neox,
    qwen2,
    qwen3,
    gemma,
    gemma2,
    gemma3,
    phi3,
    olmo,
    olmo2,
    smollm3,
    granite,
    starcoder2,
    gpt2,
    gptj,
    gpt_neo,
    mpt,
    opt,
    qwen3_moe,
    gpt_oss,
    deepseek_v2,
    deepseek_v3,
)
_BY_TYPE = {kind: family for family in _FAMILIES for kind in family.MODEL_TYPES}


def families() -> tuple[tuple[str, ...], ...]:
    """Return for each family the values of `model_type` that its file reads."""
    return tuple(family.MODEL_TYPES for family in _FAMILIES)


def known_families() -> tuple[str, ...]:
    """Return the values of `model_type` that can be read."""
    return tuple(_BY_TYPE)


def read_config(config: Mapping[str, Any], *, ignore_keys: Iterable[str] = ()) -> ModelSpec:
    """Return the spec of a published config.json.

    Raises:
        ConfigError: an unknown architecture, a key that is missing or wrong, or one that was not
            read and could change the function; `ignore_keys` passes over the last kind.
    """
    keys = Keys(config)
    kind = keys.take("model_type", default=None)
    family = _BY_TYPE.get(kind) if isinstance(kind, str) else None
    if family is None:
        raise ConfigError(
            f"the architecture {kind!r:.80} is not known",
            where="config.json, model_type",
            remedy=f"known: {', '.join(_BY_TYPE)}; how to add one: {PAGE}",
        )
    try:
        spec: ModelSpec = family.read(keys)
    except ArithmeticError as error:
        raise ConfigError(
            f"the numbers of config.json make no model: {error}", remedy="correct its sizes"
        ) from error
    keys.finish(ignore_keys)
    if count_parameters(spec) > _PARAMETERS:
        raise ConfigError(
            f"config.json describes a model of {count_parameters(spec):.1e} parameters, "
            "which cannot be meant",
            remedy="correct its sizes",
        )
    experts = max((x.ffn.experts for x in spec.layers if isinstance(x.ffn, MoE)), default=0)
    if experts * len(spec.layers) > _NAMED:
        raise ConfigError(
            f"config.json describes {len(spec.layers)} layers of up to {experts} experts, "
            "which cannot be meant",
            remedy="correct its sizes",
        )
    return spec


def name_table(spec: ModelSpec) -> NameTable:
    """Return the tensor names of a spec's family."""
    table: NameTable = _BY_TYPE[spec.family].names(spec)
    return table


def saved_form(spec: ModelSpec, config: Mapping[str, Any]) -> tuple[NameTable, Mapping[str, Any]]:
    """Return names and config of the folder that a loaded model is saved as.

    They are those it came from, except where that folder held more than the decoder: what was not
    read cannot be written, so the new folder is that of a decoder alone.
    """
    if "text_config" not in config:
        return name_table(spec), config
    alone: dict[str, Any] = _BY_TYPE[spec.family].text_only(config)
    return name_table(replace(spec, family=alone["model_type"])), alone
