"""LLaMA 1 to 3.2 and what shares its architecture: Alpaca, Vicuna, Guanaco, TinyLlama."""

from __future__ import annotations

from typing import Literal

from puna.families.keys import Keys
from puna.families.rope import read_rope
from puna.families.table import NameTable, Row
from puna.spec import Attention, Dense, Embed, Head, LayerSpec, ModelSpec, MoE, Norm, Rope

MODEL_TYPES = ("llama",)

PROJECTION_ROWS = tuple(
    Row(f"model.layers.{{i}}.self_attn.{their}_proj.{part}", f"layers.{{i}}.attn.{our}.{part}")
    for their, our in (("q", "project.q"), ("k", "project.k"), ("v", "project.v"), ("o", "out"))
    for part in ("weight", "bias")
)
QK_NORM_ROWS = tuple(
    Row(f"model.layers.{{i}}.self_attn.{x}_norm.weight", f"layers.{{i}}.attn.norms.{x}.weight")
    for x in ("q", "k")
)
NORM_ROWS = (
    Row("model.layers.{i}.input_layernorm.weight", "layers.{i}.attn_norm.weight"),
    Row("model.layers.{i}.post_attention_layernorm.weight", "layers.{i}.ffn_norm.weight"),
)
END_ROWS = (
    Row("model.embed_tokens.weight", "embed.tokens"),
    Row("model.norm.weight", "norm.weight"),
    Row("lm_head.weight", "output.weight"),
)
ATTENTION_ROWS = (*PROJECTION_ROWS, *NORM_ROWS, *END_ROWS)
FFN_ROWS = tuple(
    Row(f"model.layers.{{i}}.mlp.{name}_proj.{part}", f"layers.{{i}}.ffn.{name}.{part}")
    for name in ("gate", "up", "down")
    for part in ("weight", "bias")
)
EXTRA = {
    "model.layers.{i}.self_attn.rotary_emb.inv_freq": "a table that follows from the config",
    "lm_head.weight": "tied: the head is the embedding",
}


def read(keys: Keys) -> ModelSpec:
    """Read a LLaMA config."""
    ffn = read_ffn(keys, bias=keys.switch("mlp_bias", default=False))
    return read_body(
        keys, "llama", ffn, attention_bias=keys.switch("attention_bias", default=False)
    )


def read_ffn(keys: Keys, *, bias: bool = False, gate: Literal["split", "fused"] = "split") -> Dense:
    """Read the gated network that LLaMA and its relatives share."""
    act = keys.activation("hidden_act", default="silu")
    return Dense(keys.count("intermediate_size"), act, gate, bias)


def read_body(
    keys: Keys,
    family: str,
    ffn: Dense | MoE,
    *,
    norm: Norm | None = None,
    attention_bias: bool = False,
    theta: float = 10_000.0,
    eps: float = 1e-6,
    context: int = 2048,
    original: int | None = None,
    window: int | None = None,
    kv_heads: int | None = None,
    head_dim: int | None = None,
    tied: bool = False,
    position: Rope | None = None,
) -> ModelSpec:
    """Read what LLaMA and its relatives share; keyword arguments are family defaults.

    A `norm` of None is an rms norm whose epsilon the config says, and a `position` of None the one
    rope that it describes. What a family does otherwise it changes in the spec that comes back.
    """
    width, heads = keys.count("hidden_size"), keys.count("num_attention_heads")
    length = keys.count("max_position_embeddings", default=context)
    head_dim = keys.count("head_dim", default=head_dim) or keys.share(width, heads)
    norm = norm or Norm("rms", keys.number("rms_norm_eps", default=eps))
    mixer = Attention(
        heads=heads,
        kv_heads=keys.nullable_count("num_key_value_heads", absent=kv_heads) or heads,
        head_dim=head_dim,
        scale=head_dim**-0.5,
        position=position
        or read_rope(keys, head_dim=head_dim, context=length, theta=theta, original=original),
        qkv_bias=attention_bias,
        out_bias=attention_bias,
        window=window,
    )
    layer = LayerSpec(mixer, ffn, norm)
    return ModelSpec(
        family=family,
        vocab=keys.count("vocab_size"),
        width=width,
        context=length,
        embed=Embed(),
        layers=(layer,) * keys.layers("num_hidden_layers"),
        final_norm=norm,
        head=Head(tied=keys.switch("tie_word_embeddings", default=tied)),
    )


def names(spec: ModelSpec) -> NameTable:
    """Name the tensors of a LLaMA checkpoint."""
    return table(spec, *ATTENTION_ROWS, *FFN_ROWS)


def table(spec: ModelSpec, *rows: Row) -> NameTable:
    """Return the table of a checkpoint that is laid out as LLaMA's, with these rows."""
    return NameTable(rows, layers=len(spec.layers), prefix="model.", extra=EXTRA)
