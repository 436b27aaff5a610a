"""Falcon in its published forms: 7B (one key/value head), 40B and 180B (grouped), RW (ALiBi)."""

from __future__ import annotations

from puna.families.keys import Keys
from puna.families.rope import read_rope
from puna.families.table import GroupedQKV, NameTable, Row
from puna.spec import Alibi, Attention, Dense, Embed, Head, LayerSpec, ModelSpec, Norm

MODEL_TYPES = ("falcon", "RefinedWeb", "RefinedWebModel")

_NORMS = {
    "sequential": {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"},
    "parallel_shared": {"input_layernorm": "attn_norm"},
    "parallel_split": {"ln_attn": "attn_norm", "ln_mlp": "ffn_norm"},
}


def read(keys: Keys) -> ModelSpec:
    """Read a Falcon config, in the first spelling (RefinedWeb) or the present one."""
    width = keys.count("hidden_size", "n_embed")
    heads = keys.count("num_attention_heads", "n_head")
    context = keys.count("max_position_embeddings", default=2048)
    head_dim = keys.share(width, heads)
    grouped = keys.switch("new_decoder_architecture", default=keys.has("n_head_kv"))
    bias = keys.switch("bias", default=False)
    keys.neutral("apply_residual_connection_post_layernorm", False)
    alibi = keys.switch("alibi", default=False)
    position = (
        Alibi(divided=True, rounded=True)
        if alibi
        else read_rope(keys, head_dim=head_dim, context=context)
    )
    keys.skip("rope_theta", "rope_scaling", "rope_parameters")
    norm = Norm("layer", keys.number("layer_norm_epsilon", default=1e-5), bias=True)
    mixer = Attention(
        heads=heads,
        kv_heads=_kv_heads(keys, heads, grouped),
        head_dim=head_dim,
        scale=head_dim**-0.5,
        position=position,
        qkv="fused",
        qkv_bias=bias,
        out_bias=bias,
    )
    ffn = Dense(
        keys.count("ffn_hidden_size", default=4 * width),
        keys.activation("activation", default="gelu"),
        gate=None,
        bias=bias,
    )
    layer = LayerSpec(mixer, ffn, norm, _residual(keys, grouped))  # type: ignore[arg-type]
    return ModelSpec(
        family="falcon",
        vocab=keys.count("vocab_size"),
        width=width,
        context=context,
        embed=Embed(),
        layers=(layer,) * keys.layers("num_hidden_layers", "n_layer"),
        final_norm=norm,
        head=Head(tied=keys.switch("tie_word_embeddings", default=True)),
    )


def _kv_heads(keys: Keys, heads: int, grouped: bool) -> int:
    published = keys.count("num_kv_heads", "n_head_kv", default=heads)
    multi_query = keys.switch("multi_query", default=True)
    if grouped:
        return published
    return 1 if multi_query else heads


def _residual(keys: Keys, grouped: bool) -> str:
    parallel = keys.switch("parallel_attn", default=True)
    norms = keys.count("num_ln_in_parallel_attn", default=2 if grouped else 1)
    if grouped:
        return "parallel_split" if norms == 2 else "parallel_shared"
    return "parallel_shared" if parallel else "sequential"


def names(spec: ModelSpec) -> NameTable:
    """Name the tensors of a Falcon checkpoint."""
    layer = spec.layers[0]
    mixer = layer.mixer
    fused = GroupedQKV(mixer.kv_heads, mixer.heads // mixer.kv_heads, mixer.head_dim)
    block = "transformer.h.{i}."
    linears = {
        "self_attention.query_key_value": ("attn.project.qkv", fused),
        "self_attention.dense": ("attn.out", None),
        "mlp.dense_h_to_4h": ("ffn.up", None),
        "mlp.dense_4h_to_h": ("ffn.down", None),
    }
    rows = [
        Row("transformer.word_embeddings.weight", "embed.tokens"),
        Row("lm_head.weight", "output.weight"),
    ]
    for part in ("weight", "bias"):
        rows.append(Row(f"transformer.ln_f.{part}", f"norm.{part}"))
        for theirs, (ours, layout) in linears.items():
            rows.append(Row(f"{block}{theirs}.{part}", f"layers.{{i}}.{ours}.{part}", layout))
        for theirs, ours in _NORMS[layer.residual].items():
            rows.append(Row(f"{block}{theirs}.{part}", f"layers.{{i}}.{ours}.{part}"))
    extra = {
        "lm_head.weight": "tied: the head is the embedding",
        f"{block}self_attention.rotary_emb.inv_freq": "a table that follows from the config",
    }
    return NameTable(rows, layers=len(spec.layers), prefix="transformer.", extra=extra)
