"""GPT-NeoX and Pythia: partial rotary positions, parallel or sequential residual."""

from __future__ import annotations

from puna.families.keys import Keys
from puna.families.rope import read_rope
from puna.families.table import GroupedQKV, NameTable, Row
from puna.spec import Attention, Dense, Embed, Head, LayerSpec, ModelSpec, Norm

MODEL_TYPES = ("gpt_neox",)


def read(keys: Keys) -> ModelSpec:
    """Read a GPT-NeoX config."""
    width, heads = keys.count("hidden_size"), keys.count("num_attention_heads")
    context = keys.count("max_position_embeddings", default=2048)
    bias = keys.switch("attention_bias", default=True)
    norm = Norm("layer", keys.number("layer_norm_eps", default=1e-5), bias=True)
    head_dim = keys.share(width, heads)
    mixer = Attention(
        heads=heads,
        kv_heads=heads,
        head_dim=head_dim,
        scale=head_dim**-0.5,
        position=read_rope(keys, head_dim=head_dim, context=context, share=0.25),
        qkv="fused",
        qkv_bias=bias,
        out_bias=bias,
    )
    ffn = Dense(
        keys.count("intermediate_size", default=4 * width),
        keys.activation("hidden_act", default="gelu"),
        gate=None,
        bias=True,
    )
    parallel = keys.switch("use_parallel_residual", default=True)
    layer = LayerSpec(mixer, ffn, norm, "parallel_split" if parallel else "sequential")
    return ModelSpec(
        family="gpt_neox",
        vocab=keys.count("vocab_size"),
        width=width,
        context=context,
        embed=Embed(),
        layers=(layer,) * keys.layers("num_hidden_layers"),
        final_norm=norm,
        head=Head(tied=keys.switch("tie_word_embeddings", default=False)),
    )


def names(spec: ModelSpec) -> NameTable:
    """Name the tensors of a GPT-NeoX checkpoint."""
    mixer = spec.layers[0].mixer
    fused = GroupedQKV(mixer.kv_heads, 1, mixer.head_dim)
    block, ours = "gpt_neox.layers.{i}.", "layers.{i}."
    parts = {
        f"{block}attention.query_key_value": (f"{ours}attn.project.qkv", fused),
        f"{block}attention.dense": (f"{ours}attn.out", None),
        f"{block}mlp.dense_h_to_4h": (f"{ours}ffn.up", None),
        f"{block}mlp.dense_4h_to_h": (f"{ours}ffn.down", None),
        f"{block}input_layernorm": (f"{ours}attn_norm", None),
        f"{block}post_attention_layernorm": (f"{ours}ffn_norm", None),
        "gpt_neox.final_layer_norm": ("norm", None),
    }
    rows = [
        Row("gpt_neox.embed_in.weight", "embed.tokens"),
        Row("embed_out.weight", "output.weight"),
        *(
            Row(f"{theirs}.{part}", f"{name}.{part}", layout)
            for theirs, (name, layout) in parts.items()
            for part in ("weight", "bias")
        ),
    ]
    table = "a table that follows from the config"
    extra = {
        "embed_out.weight": "tied: the head is the embedding",
        f"{block}attention.bias": "the causal mask",
        f"{block}attention.masked_bias": "the value of a masked score",
        f"{block}attention.rotary_emb.inv_freq": table,
    }
    return NameTable(rows, layers=len(spec.layers), prefix="gpt_neox.", extra=extra)
