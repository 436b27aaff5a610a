"""GPT-Neo: layers that see everything and layers with a window take turns; scores unscaled."""

from __future__ import annotations

from typing import Any

from puna.errors import ConfigError
from puna.families.gpt2 import SUMMARY
from puna.families.keys import Keys
from puna.families.table import NameTable, Row, module_rows
from puna.spec import Attention, Dense, Embed, Head, LayerSpec, LearnedPositions, ModelSpec, Norm

MODEL_TYPES = ("gpt_neo",)


def read(keys: Keys) -> ModelSpec:
    """Read a GPT-Neo config."""
    width = keys.count("hidden_size", default=2048)
    heads = keys.count("num_heads", "num_attention_heads", default=16)
    head_dim = keys.share(width, heads)
    context = keys.count("max_position_embeddings", default=2048)
    window = keys.count("window_size", default=256)
    keys.skip(*SUMMARY, "resid_dropout", "embed_dropout")
    norm = Norm("layer", keys.number("layer_norm_epsilon", default=1e-5), bias=True)
    ffn = Dense(
        keys.count("intermediate_size", default=4 * width),
        keys.activation("activation_function", default="gelu_new"),
        gate=None,
        bias=True,
    )
    return ModelSpec(
        family="gpt_neo",
        vocab=keys.count("vocab_size", default=50257),
        width=width,
        context=context,
        embed=Embed(positions=LearnedPositions(context)),
        layers=tuple(
            LayerSpec(_mixer(head_dim, heads, window if local else None), ffn, norm)
            for local in _locals(keys)
        ),
        final_norm=norm,
        head=Head(tied=keys.switch("tie_word_embeddings", default=True)),
    )


def _mixer(head_dim: int, heads: int, window: int | None) -> Attention:
    # The models were trained without the division by the root of the head's width.
    return Attention(
        heads=heads,
        kv_heads=heads,
        head_dim=head_dim,
        scale=1.0,
        position=None,
        out_bias=True,
        window=window,
    )


def _locals(keys: Keys) -> list[bool]:
    """Tell of each layer whether it has a window."""
    layers = keys.layers("num_layers", "num_hidden_layers", default=24)
    kinds = _spelled_out(keys.take("attention_types", default=[[["global", "local"], 12]]), layers)
    listed = keys.take("attention_layers", default=kinds)
    if len(kinds) != layers or listed != kinds or not {"global", "local"}.issuperset(kinds):
        raise ConfigError(
            f"attention_types, attention_layers and num_layers = {layers} do not agree",
            remedy="correct config.json",
        )
    return [kind == "local" for kind in kinds]


def _spelled_out(types: Any, limit: int) -> list[str]:
    """Repeat each pattern of [[pattern, count], …]; what is no such list gives an empty one."""
    kinds: list[str] = []
    try:
        for pattern, count in types:
            if type(count) is not int or len(pattern) * count > limit:
                return []
            kinds += [str(kind) for kind in pattern] * count
    except (TypeError, ValueError):
        return []
    return kinds


def names(spec: ModelSpec) -> NameTable:
    """Name the tensors of a GPT-Neo checkpoint."""
    block, ours = "transformer.h.{i}.", "layers.{i}."
    modules = {
        f"{block}attn.attention.q_proj": f"{ours}attn.project.q",
        f"{block}attn.attention.k_proj": f"{ours}attn.project.k",
        f"{block}attn.attention.v_proj": f"{ours}attn.project.v",
        f"{block}attn.attention.out_proj": f"{ours}attn.out",
        f"{block}mlp.c_fc": f"{ours}ffn.up",
        f"{block}mlp.c_proj": f"{ours}ffn.down",
        f"{block}ln_1": f"{ours}attn_norm",
        f"{block}ln_2": f"{ours}ffn_norm",
        "transformer.ln_f": "norm",
    }
    rows = (
        Row("transformer.wte.weight", "embed.tokens"),
        Row("transformer.wpe.weight", "embed.positions"),
        Row("lm_head.weight", "output.weight"),
        *module_rows(modules),
    )
    extra = {
        "lm_head.weight": "tied: the head is the embedding",
        f"{block}attn.attention.bias": "the causal mask",
        f"{block}attn.attention.masked_bias": "the value of a masked score",
    }
    return NameTable(rows, layers=len(spec.layers), prefix="transformer.", extra=extra)
