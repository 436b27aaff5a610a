"""BLOOM: ALiBi, a norm after the embedding, one fused projection per head."""

from __future__ import annotations

from puna.families.keys import Keys
from puna.families.table import GroupedQKV, NameTable, Row
from puna.spec import Alibi, Attention, Dense, Embed, Head, LayerSpec, ModelSpec, Norm

MODEL_TYPES = ("bloom",)
# ALiBi sets no bound; the published models were trained on sequences of this length.
_TRAINED_CONTEXT = 2048


def read(keys: Keys) -> ModelSpec:
    """Read a BLOOM config; `seq_length` is the context where it is given."""
    width = keys.count("hidden_size", "n_embed")
    heads = keys.count("n_head", "num_attention_heads")
    keys.neutral("apply_residual_connection_post_layernorm", False)
    keys.neutral("slow_but_exact", False)
    keys.neutral("offset_alibi", 100)
    keys.skip("n_inner")
    head_dim = keys.share(width, heads)
    norm = Norm("layer", keys.number("layer_norm_epsilon", default=1e-5), bias=True)
    mixer = Attention(
        heads=heads,
        kv_heads=heads,
        head_dim=head_dim,
        scale=head_dim**-0.5,
        position=Alibi(),
        qkv="fused",
        qkv_bias=True,
        out_bias=True,
    )
    layer = LayerSpec(mixer, Dense(4 * width, "gelu_tanh", gate=None, bias=True), norm)
    return ModelSpec(
        family="bloom",
        vocab=keys.count("vocab_size"),
        width=width,
        context=keys.count("seq_length", "max_position_embeddings", default=_TRAINED_CONTEXT),
        embed=Embed(norm=norm),
        layers=(layer,) * keys.layers("n_layer", "num_hidden_layers"),
        final_norm=norm,
        head=Head(tied=keys.switch("tie_word_embeddings", default=True)),
    )


def names(spec: ModelSpec) -> NameTable:
    """Name the tensors of a BLOOM checkpoint."""
    mixer = spec.layers[0].mixer
    fused = GroupedQKV(mixer.kv_heads, 1, mixer.head_dim)
    parts = {
        "h.{i}.self_attention.query_key_value": ("layers.{i}.attn.project.qkv", fused),
        "h.{i}.self_attention.dense": ("layers.{i}.attn.out", None),
        "h.{i}.mlp.dense_h_to_4h": ("layers.{i}.ffn.up", None),
        "h.{i}.mlp.dense_4h_to_h": ("layers.{i}.ffn.down", None),
        "h.{i}.input_layernorm": ("layers.{i}.attn_norm", None),
        "h.{i}.post_attention_layernorm": ("layers.{i}.ffn_norm", None),
        "word_embeddings_layernorm": ("embed.norm", None),
        "ln_f": ("norm", None),
    }
    rows = [
        Row("transformer.word_embeddings.weight", "embed.tokens"),
        Row("lm_head.weight", "output.weight"),
        *(
            Row(f"transformer.{theirs}.{part}", f"{ours}.{part}", layout)
            for theirs, (ours, layout) in parts.items()
            for part in ("weight", "bias")
        ),
    ]
    extra = {"lm_head.weight": "tied: the head is the embedding"}
    return NameTable(rows, layers=len(spec.layers), prefix="transformer.", extra=extra)
