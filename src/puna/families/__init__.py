"""One data file per family: how to read its config, and what it calls its tensors (no torch)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from puna.errors import ConfigError
from puna.families import bloom, falcon, gpt_neox, llama, mistral, mixtral
from puna.families.gguf import (
    check_same,
    config_of,
    gguf_config,
    gguf_metadata,
    gguf_names,
    gguf_rope_table,
    known_architectures,
    open_config,
)
from puna.families.keys import INERT, Keys
from puna.families.table import GroupedQKV, Layout, NameTable, Place, Raised, RopePairs, Row
from puna.spec import ModelSpec

__all__ = [
    "INERT",
    "GroupedQKV",
    "Layout",
    "NameTable",
    "Place",
    "Raised",
    "RopePairs",
    "Row",
    "check_same",
    "config_of",
    "gguf_config",
    "gguf_metadata",
    "gguf_names",
    "gguf_rope_table",
    "known_architectures",
    "known_families",
    "name_table",
    "open_config",
    "read_config",
]

_FAMILIES = (llama, mistral, mixtral, falcon, bloom, gpt_neox)
_BY_TYPE = {kind: family for family in _FAMILIES for kind in family.MODEL_TYPES}


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
            remedy=f"known: {', '.join(_BY_TYPE)}",
        )
    spec: ModelSpec = family.read(keys)
    keys.finish(ignore_keys)
    return spec


def name_table(spec: ModelSpec) -> NameTable:
    """Return the tensor names of a spec's family."""
    table: NameTable = _BY_TYPE[spec.family].names(spec)
    return table
