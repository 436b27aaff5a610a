"""LLaMA 1 to 3.2 and what shares its architecture: Alpaca, Vicuna, Guanaco, TinyLlama."""

from __future__ import annotations

from puna.families.keys import MANY, Keys
from puna.families.rope import read_rope
from puna.families.table import NameTable, Row
from puna.spec import Attention, Dense, Embed, Head, LayerSpec, ModelSpec, MoE, Norm

MODEL_TYPES = ("llama",)

ATTENTION_ROWS = (
    Row("model.embed_tokens.weight", "embed.tokens"),
    *(
        Row(f"model.layers.{{i}}.self_attn.{their}_proj.{part}", f"layers.{{i}}.attn.{our}.{part}")
        for their, our in (("q", "project.q"), ("k", "project.k"), ("v", "project.v"), ("o", "out"))
        for part in ("weight", "bias")
    ),
    Row("model.layers.{i}.input_layernorm.weight", "layers.{i}.attn_norm.weight"),
    Row("model.layers.{i}.post_attention_layernorm.weight", "layers.{i}.ffn_norm.weight"),
    Row("model.norm.weight", "norm.weight"),
    Row("lm_head.weight", "output.weight"),
)
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
    bias = keys.switch("mlp_bias", default=False)
    ffn = Dense(
        keys.count("intermediate_size"), keys.activation("hidden_act", default="silu"), True, bias
    )
    return read_body(
        keys, "llama", ffn, attention_bias=keys.switch("attention_bias", default=False)
    )


def read_body(
    keys: Keys,
    family: str,
    ffn: Dense | MoE,
    *,
    attention_bias: bool = False,
    theta: float = 10_000.0,
    eps: float = 1e-6,
    context: int | None = 2048,
    window: int | None = None,
    kv_heads: int | None = None,
) -> ModelSpec:
    """Read what LLaMA and its close relatives share; keyword arguments are family defaults."""
    width, heads = keys.count("hidden_size"), keys.count("num_attention_heads")
    length = keys.count("max_position_embeddings", default=context)
    head_dim = keys.count("head_dim", default=width // heads)
    norm = Norm("rms", keys.number("rms_norm_eps", default=eps))
    mixer = Attention(
        heads=heads,
        kv_heads=keys.count("num_key_value_heads", default=kv_heads or heads),
        head_dim=head_dim,
        scale=head_dim**-0.5,
        position=read_rope(keys, head_dim=head_dim, context=length, theta=theta),
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
        layers=(layer,) * keys.count("num_hidden_layers", most=MANY),
        final_norm=norm,
        head=Head(tied=keys.switch("tie_word_embeddings", default=False)),
    )


def names(spec: ModelSpec) -> NameTable:
    """Name the tensors of a LLaMA checkpoint."""
    return NameTable(
        (*ATTENTION_ROWS, *FFN_ROWS), layers=len(spec.layers), prefix="model.", extra=EXTRA
    )
