"""What a GGUF architecture is made of: one row per metadata key, and names of tensors.

A row serves both ways: metadata to the config that a family reads, and a spec to metadata.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, isfinite
from typing import Any, Literal

from puna.errors import ConfigError
from puna.families.keys import Keys
from puna.families.table import Layout, Row
from puna.spec import Dense, LinearScaling, ModelSpec, MoE, Rope, YarnScaling

Config = dict[str, Any]
Shapes = Mapping[str, tuple[int, ...]]
Tables = Mapping[str, Sequence[float]]
Typed = tuple[str, Any]


@dataclass(frozen=True, slots=True)
class Stored:
    """What a file holds beside its metadata: shapes of its tensors, and values of the small ones.

    `tables` has the values that rotary positions are made from, by tensor.
    """

    arch: str
    shapes: Shapes
    tables: Tables

    def has(self, name: str) -> bool:
        """Tell whether there is such a tensor."""
        return name in self.shapes


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


def moe_of(spec: ModelSpec) -> MoE | None:
    """Return the mixture of the first layer that has one."""
    return next((layer.ffn for layer in spec.layers if isinstance(layer.ffn, MoE)), None)


def window_of(spec: ModelSpec) -> int | None:
    """Return the window of the first layer that has one."""
    return next((layer.mixer.window for layer in spec.layers if layer.mixer.window), None)


def _ffn(spec: ModelSpec) -> Dense:
    """Return the dense network that a model has, or its experts'."""
    dense = (layer.ffn for layer in spec.layers if isinstance(layer.ffn, Dense))
    return next(dense, None) or _expert(spec)


def _expert(spec: ModelSpec) -> Dense:
    moe = moe_of(spec)
    return moe.expert if moe else _ffn(spec)


def ropes(spec: ModelSpec) -> tuple[Rope, ...]:
    """Return the different ropes of a spec, that of its first turning layer first."""
    found = (layer.mixer.position for layer in spec.layers)
    return tuple(dict.fromkeys(rope for rope in found if isinstance(rope, Rope)))


def _before_scaling(spec: ModelSpec) -> int:
    """Return the context that configs state: that from before linear scaling was applied."""
    for rope in ropes(spec):
        if isinstance(rope.scaling, LinearScaling) and rope.scaling.factor > 1:
            return ceil(spec.context / rope.scaling.factor - 1e-6)
    return spec.context


def _of_moe(spec: ModelSpec, name: str) -> int | None:
    return getattr(moe_of(spec), name, None)


CONTEXT = Field("context_length", "max_position_embeddings", "u32", _before_scaling)
# For families whose context does not grow with a scaling.
PLAIN_CONTEXT = replace(CONTEXT, of=lambda s: s.context)
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
    "attention.layer_norm_rms_epsilon", "rms_norm_eps", "f32", lambda s: s.layers[0].norm.eps
)
LAYER_EPS = Field(
    "attention.layer_norm_epsilon", "layer_norm_epsilon", "f32", lambda s: s.layers[0].norm.eps
)
HEAD_DIM = Field("attention.key_length", "head_dim", "u32", lambda s: s.layers[0].mixer.head_dim)
VALUE_DIM = Field("attention.value_length", "", "u32", lambda s: s.layers[0].mixer.head_dim)
EXPERT_FFN = Field(
    "expert_feed_forward_length", "moe_intermediate_size", "u32", lambda s: _expert(s).width
)
EXPERTS = Field("expert_count", "num_experts", "u32", lambda s: _of_moe(s, "experts"))
PICKED = Field("expert_used_count", "num_experts_per_tok", "u32", lambda s: _of_moe(s, "top_k"))
WINDOW = Field("attention.sliding_window", "sliding_window", "u32", lambda s: window_of(s))
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
    "layers.{i}.attn.norms.q.{part}": "blk.{i}.attn_q_norm.{part}",
    "layers.{i}.attn.norms.k.{part}": "blk.{i}.attn_k_norm.{part}",
    "layers.{i}.attn.out.{part}": "blk.{i}.attn_output.{part}",
    "layers.{i}.attn.sinks": "blk.{i}.attn_sinks.weight",
    "layers.{i}.attn_post_norm.{part}": "blk.{i}.post_attention_norm.{part}",
    "layers.{i}.ffn_post_norm.{part}": "blk.{i}.post_ffw_norm.{part}",
    "layers.{i}.ffn.gate.{part}": "blk.{i}.ffn_gate.{part}",
    "layers.{i}.ffn.up.{part}": "blk.{i}.ffn_up.{part}",
    "layers.{i}.ffn.down.{part}": "blk.{i}.ffn_down.{part}",
    "layers.{i}.ffn.router.{part}": "blk.{i}.ffn_gate_inp.{part}",
    "layers.{i}.ffn.correction": "blk.{i}.exp_probs_b.bias",
    "layers.{i}.ffn.shared.gate.{part}": "blk.{i}.ffn_gate_shexp.{part}",
    "layers.{i}.ffn.shared.up.{part}": "blk.{i}.ffn_up_shexp.{part}",
    "layers.{i}.ffn.shared.down.{part}": "blk.{i}.ffn_down_shexp.{part}",
    # Experts lie stacked in one tensor; the weights room takes them apart under these names.
    "layers.{i}.ffn.experts.{e}.gate.{part}": "blk.{i}.ffn_gate.{e}.{part}",
    "layers.{i}.ffn.experts.{e}.up.{part}": "blk.{i}.ffn_up.{e}.{part}",
    "layers.{i}.ffn.experts.{e}.down.{part}": "blk.{i}.ffn_down.{e}.{part}",
}


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
        notes: what llama.cpp computes otherwise although the file is right, in whole sentences.
        extra: tensors that may stand there and are not loaded, each with the reason.
        scalings: the rules of rotary scaling that llama.cpp follows here.
    """

    name: str
    families: tuple[str, ...]
    fields: tuple[Field, ...]
    read: Callable[[Config, Keys, Stored], None]
    write: Callable[[ModelSpec], dict[str, Typed]]
    names: Callable[[ModelSpec], Mapping[str, str]] = lambda spec: {}
    layouts: Callable[[ModelSpec], Mapping[str, Layout]] = lambda spec: {}
    lacks: Callable[[ModelSpec], str | None] = lambda spec: None
    notes: Callable[[ModelSpec], tuple[str, ...]] = lambda spec: ()
    extra: Callable[[ModelSpec], Mapping[str, str]] = lambda spec: {}
    scalings: tuple[type, ...] = (LinearScaling, YarnScaling)

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
