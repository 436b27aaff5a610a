"""What a GGUF architecture is made of: one row per metadata key, and names of tensors.

A row serves both ways: metadata to the config that a family reads, and a spec to metadata.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, Literal

from puna.errors import ConfigError
from puna.families.keys import Keys
from puna.families.table import Layout, Row
from puna.spec import Dense, ModelSpec, MoE

Shapes = Mapping[str, tuple[int, ...]]
Typed = tuple[str, Any]


@dataclass(frozen=True, slots=True)
class Field:
    """One metadata key: its name without the architecture, and the config key it becomes.

    `of` takes the value out of a spec; None leaves the key out.
    """

    key: str
    config: str
    kind: Literal["u32", "f32", "bool"]
    of: Callable[[ModelSpec], Any]

    def spelled(self, config: str) -> Field:
        """Return the same row for families that publish another name."""
        return replace(self, config=config)

    def take(self, keys: Keys, default: Any) -> Any:
        """Read the key; a `default` of ... means that it must be there."""
        more = {} if default is ... else {"default": default}
        if self.kind == "bool":
            return keys.take(self.key, **more)
        return (keys.count if self.kind == "u32" else keys.number)(self.key, **more)


def _ffn(spec: ModelSpec) -> Dense:
    ffn = spec.layers[0].ffn
    return ffn.expert if isinstance(ffn, MoE) else ffn


CONTEXT = Field("context_length", "max_position_embeddings", "u32", lambda s: s.context)
WIDTH = Field("embedding_length", "hidden_size", "u32", lambda s: s.width)
LAYERS = Field("block_count", "num_hidden_layers", "u32", lambda s: len(s.layers))
FFN = Field("feed_forward_length", "intermediate_size", "u32", lambda s: _ffn(s).width)
HEADS = Field(
    "attention.head_count", "num_attention_heads", "u32", lambda s: s.layers[0].mixer.heads
)
KV_HEADS = Field(
    "attention.head_count_kv", "num_key_value_heads", "u32", lambda s: s.layers[0].mixer.kv_heads
)
RMS_EPS = Field(
    "attention.layer_norm_rms_epsilon", "rms_norm_eps", "f32", lambda s: s.final_norm.eps
)
LAYER_EPS = Field(
    "attention.layer_norm_epsilon", "layer_norm_epsilon", "f32", lambda s: s.final_norm.eps
)
HEAD_DIM = Field("attention.key_length", "head_dim", "u32", lambda s: s.layers[0].mixer.head_dim)
VALUE_DIM = Field("attention.value_length", "", "u32", lambda s: s.layers[0].mixer.head_dim)
WINDOW = Field(
    "attention.sliding_window", "sliding_window", "u32", lambda s: s.layers[0].mixer.window
)
VOCAB = Field("vocab_size", "vocab_size", "u32", lambda s: s.vocab)
BODY = (CONTEXT, WIDTH, LAYERS, FFN, HEADS)

# GGUF names by ours; a family that departs from them says so in its record.
STANDARD: Mapping[str, str] = {
    "embed.tokens": "token_embd.weight",
    "embed.positions": "position_embd.weight",
    "embed.norm.{part}": "token_embd_norm.{part}",
    "norm.{part}": "output_norm.{part}",
    "output.{part}": "output.{part}",
    "layers.{i}.attn_norm.{part}": "blk.{i}.attn_norm.{part}",
    "layers.{i}.ffn_norm.{part}": "blk.{i}.ffn_norm.{part}",
    "layers.{i}.attn.project.q.{part}": "blk.{i}.attn_q.{part}",
    "layers.{i}.attn.project.k.{part}": "blk.{i}.attn_k.{part}",
    "layers.{i}.attn.project.v.{part}": "blk.{i}.attn_v.{part}",
    "layers.{i}.attn.project.qkv.{part}": "blk.{i}.attn_qkv.{part}",
    "layers.{i}.attn.out.{part}": "blk.{i}.attn_output.{part}",
    "layers.{i}.ffn.gate.{part}": "blk.{i}.ffn_gate.{part}",
    "layers.{i}.ffn.up.{part}": "blk.{i}.ffn_up.{part}",
    "layers.{i}.ffn.down.{part}": "blk.{i}.ffn_down.{part}",
    "layers.{i}.ffn.router.{part}": "blk.{i}.ffn_gate_inp.{part}",
    # Experts lie stacked in one tensor; the weights room takes them apart under these names.
    "layers.{i}.ffn.experts.{e}.gate.{part}": "blk.{i}.ffn_gate.{e}.{part}",
    "layers.{i}.ffn.experts.{e}.up.{part}": "blk.{i}.ffn_up.{e}.{part}",
    "layers.{i}.ffn.experts.{e}.down.{part}": "blk.{i}.ffn_down.{e}.{part}",
}


def no_layouts(spec: ModelSpec) -> dict[str, Layout]:
    """Say that every tensor is stored as we hold it."""
    return {}


@dataclass(frozen=True, slots=True)
class GgufArch:
    """One value of `general.architecture`.

    Attributes:
        name: the value, and the prefix of its keys.
        families: the spec families it holds.
        fields: its keys, all of which must be there.
        read: what the rows cannot say: config keys from the rest of the metadata and the tensors.
        write: the same backwards: more metadata from a spec.
        names: where GGUF names depart from `STANDARD`, by our name.
        layouts: how tensors are stored that are not stored as we hold them, by our name.
        lacks: what this architecture cannot compute in llama.cpp, or None.
    """

    name: str
    families: tuple[str, ...]
    fields: tuple[Field, ...]
    read: Callable[[dict[str, Any], Keys, Shapes], None]
    write: Callable[[ModelSpec], dict[str, Typed]]
    names: Callable[[ModelSpec], Mapping[str, str]] = lambda spec: {}
    layouts: Callable[[ModelSpec], Mapping[str, Layout]] = no_layouts
    lacks: Callable[[ModelSpec], str | None] = lambda spec: None
    extra: Mapping[str, str] = field(default_factory=dict)

    def rows(self, spec: ModelSpec) -> tuple[Row, ...]:
        """Return the tensors of a model of this architecture."""
        layouts = self.layouts(spec)
        return tuple(
            Row(
                theirs.replace("{part}", part),
                ours.replace("{part}", part),
                layouts.get(ours.removesuffix(".{part}")),
            )
            for ours, theirs in {**STANDARD, **self.names(spec)}.items()
            for part in (("weight", "bias") if "{part}" in ours else ("",))
        )


def shortest(value: Any) -> Any:
    """Return the number that a float32 was written for: 1e-05, not 9.99999974737875e-06."""
    if not isinstance(value, float) or not isfinite(value):
        return value
    try:
        stored = struct.pack("<f", value)
    except OverflowError:
        return value
    for digits in range(6, 10):
        short = float(f"{value:.{digits}g}")
        if struct.pack("<f", short) == stored:
            return short
    return value


def equal_or_refuse(keys: Keys, key: str, wanted: int, arch: str) -> None:
    """Accept a key only where it says what follows from the others."""
    if (found := keys.count(key, default=wanted)) != wanted:
        raise ConfigError(
            f"metadata key {arch}.{key} is {found}, and the others ask for {wanted}",
            remedy="this decoder has heads of one size; convert the model again",
        )
