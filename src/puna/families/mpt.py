"""MPT: ALiBi whose steepest slope is a setting, no bias anywhere, one fused projection.

The reference library reads fewer keys than the published code: it takes 8 for `alibi_bias_max`
(MPT-7B-StoryWriter has 16) and 4 for `expansion_ratio`, and passes over `logit_scale`. Here they
count. What neither can be compared with is refused.
"""

from __future__ import annotations

import math

from puna.families.keys import Keys
from puna.families.table import NameTable, Row
from puna.spec import Alibi, Attention, Dense, Embed, Head, LayerSpec, ModelSpec, Norm

MODEL_TYPES = ("mpt",)

# How another library runs or trains; with ALiBi there is no learned position table, whatever
# `learned_pos_emb` says. `norm_type` differs in rounding only, `embedding_fraction` in gradients.
_INERT = (
    "learned_pos_emb",
    "init_device",
    "init_config",
    "resid_pdrop",
    "emb_pdrop",
    "embedding_fraction",
    "tokenizer_name",
    "verbose",
)


def read(keys: Keys) -> ModelSpec:
    """Read an MPT config."""
    width = keys.count("d_model", "hidden_size", default=2048)
    keys.neutral("no_bias", True)
    keys.neutral("norm_type", "low_precision_layernorm", "layernorm")
    keys.skip(*_INERT)
    norm = Norm("layer", keys.number("layer_norm_epsilon", default=1e-5))
    mixer = _mixer(keys, width, keys.count("n_heads", "num_attention_heads", default=16))
    ffn = Dense(keys.count("expansion_ratio", default=4) * width, "gelu", gate=None)
    return ModelSpec(
        family="mpt",
        vocab=keys.count("vocab_size", default=50368),
        width=width,
        context=keys.count("max_seq_len", "max_position_embeddings", default=2048),
        embed=Embed(),
        layers=(LayerSpec(mixer, ffn, norm),)
        * keys.layers("n_layers", "num_hidden_layers", default=24),
        final_norm=norm,
        head=Head(
            tied=keys.switch("tie_word_embeddings", default=True), scale=_logit_scale(keys, width)
        ),
    )


def _mixer(keys: Keys, width: int, heads: int) -> Attention:
    head_dim = keys.share(width, heads)
    inner = keys.config("attn_config") if keys.has("attn_config") else Keys({})
    inner.neutral("attn_type", "multihead_attention")
    inner.neutral("alibi", True)
    for switch in ("prefix_lm", "qk_ln", "attn_uses_sequence_id"):
        inner.neutral(switch, False)
    inner.skip("attn_impl", "attn_pdrop", "model_type")
    return Attention(
        heads=heads,
        kv_heads=heads,
        head_dim=head_dim,
        scale=inner.number("softmax_scale", default=head_dim**-0.5),
        position=Alibi(steepest=inner.number("alibi_bias_max", default=8)),
        qkv="fused",
        clip=inner.number("clip_qkv", default=None),
    )


def _logit_scale(keys: Keys, width: int) -> float:
    if keys.take("logit_scale", default=1.0) == "inv_sqrt_d_model":
        return 1.0 / math.sqrt(width)
    return keys.number("logit_scale", default=1.0)


def names(spec: ModelSpec) -> NameTable:
    """Name the tensors of an MPT checkpoint."""
    parts = {
        "transformer.wte": "embed.tokens",
        "transformer.blocks.{i}.attn.Wqkv": "layers.{i}.attn.project.qkv.weight",
        "transformer.blocks.{i}.attn.out_proj": "layers.{i}.attn.out.weight",
        "transformer.blocks.{i}.ffn.up_proj": "layers.{i}.ffn.up.weight",
        "transformer.blocks.{i}.ffn.down_proj": "layers.{i}.ffn.down.weight",
        "transformer.blocks.{i}.norm_1": "layers.{i}.attn_norm.weight",
        "transformer.blocks.{i}.norm_2": "layers.{i}.ffn_norm.weight",
        "transformer.norm_f": "norm.weight",
        "lm_head": "output.weight",
    }
    rows = [Row(f"{theirs}.weight", ours) for theirs, ours in parts.items()]
    extra = {"lm_head.weight": "tied: the head is the embedding"}
    return NameTable(rows, layers=len(spec.layers), prefix="transformer.", extra=extra)
