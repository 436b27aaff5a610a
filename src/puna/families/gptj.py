"""GPT-J: rotary positions over neighboring dims, a parallel block with one norm, a head bias."""

from __future__ import annotations

from puna.families.gpt2 import SUMMARY
from puna.families.keys import Keys
from puna.families.table import NameTable, Row, module_rows
from puna.spec import Attention, Dense, Embed, Head, LayerSpec, ModelSpec, Norm, Rope

MODEL_TYPES = ("gptj",)


def read(keys: Keys) -> ModelSpec:
    """Read a GPT-J config."""
    width = keys.count("n_embd", "hidden_size", default=4096)
    heads = keys.count("n_head", "num_attention_heads", default=16)
    head_dim = keys.share(width, heads)
    keys.neutral("rotary", True)
    keys.neutral("scale_attn_weights", True)
    keys.skip(*SUMMARY, "n_ctx")
    norm = Norm("layer", keys.number("layer_norm_epsilon", default=1e-5), bias=True)
    mixer = Attention(
        heads=heads,
        kv_heads=heads,
        head_dim=head_dim,
        scale=head_dim**-0.5,
        position=Rope(10_000.0, keys.count("rotary_dim", default=64), interleaved=True),
    )
    ffn = Dense(
        keys.count("n_inner", default=4 * width),
        keys.activation("activation_function", default="gelu_new"),
        gate=None,
        bias=True,
    )
    layer = LayerSpec(mixer, ffn, norm, "parallel_shared")
    return ModelSpec(
        family="gptj",
        vocab=keys.count("vocab_size", default=50400),
        width=width,
        context=keys.count("n_positions", "max_position_embeddings", default=2048),
        embed=Embed(),
        layers=(layer,) * keys.layers("n_layer", "num_hidden_layers", default=28),
        final_norm=norm,
        # The head has a bias even where its weight is the embedding.
        head=Head(tied=keys.switch("tie_word_embeddings", default=False), bias=True),
    )


def names(spec: ModelSpec) -> NameTable:
    """Name the tensors of a GPT-J checkpoint."""
    block, ours = "transformer.h.{i}.", "layers.{i}."
    modules = {
        f"{block}attn.q_proj": f"{ours}attn.project.q",
        f"{block}attn.k_proj": f"{ours}attn.project.k",
        f"{block}attn.v_proj": f"{ours}attn.project.v",
        f"{block}attn.out_proj": f"{ours}attn.out",
        f"{block}mlp.fc_in": f"{ours}ffn.up",
        f"{block}mlp.fc_out": f"{ours}ffn.down",
        f"{block}ln_1": f"{ours}attn_norm",
        "transformer.ln_f": "norm",
        "lm_head": "output",
    }
    rows = (Row("transformer.wte.weight", "embed.tokens"), *module_rows(modules))
    extra = {
        "lm_head.weight": "tied: the head is the embedding",
        f"{block}attn.bias": "the causal mask",
        f"{block}attn.masked_bias": "the value of a masked score",
        f"{block}attn.embed_positions": "a table that follows from the config",
    }
    return NameTable(rows, layers=len(spec.layers), prefix="transformer.", extra=extra)
