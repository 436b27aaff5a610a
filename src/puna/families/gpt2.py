"""GPT-2: learned positions, one fused projection, and linear maps stored [in, out]."""

from __future__ import annotations

from puna.families.keys import Keys
from puna.families.table import NameTable, Row, Transposed, module_rows
from puna.spec import Attention, Dense, Embed, Head, LayerSpec, LearnedPositions, ModelSpec, Norm

MODEL_TYPES = ("gpt2",)

# Of a head for classification that a language model does not have.
SUMMARY = (
    "summary_type",
    "summary_use_proj",
    "summary_activation",
    "summary_proj_to_labels",
    "summary_first_dropout",
)


def read(keys: Keys) -> ModelSpec:
    """Read a GPT-2 config."""
    width = keys.count("n_embd", "hidden_size", default=768)
    context = keys.count("n_positions", "max_position_embeddings", default=1024)
    layers = keys.layers("n_layer", "num_hidden_layers", default=12)
    # `n_ctx` was the size of a mask; `reorder_and_upcast_attn` is a question of rounding, and
    # scores are float32 here.
    keys.skip(*SUMMARY, "n_ctx", "output_past", "predict_special_tokens", "reorder_and_upcast_attn")
    keys.neutral("n_special", 0)
    norm = Norm("layer", keys.number("layer_norm_epsilon", default=1e-5), bias=True)
    ffn = Dense(
        keys.count("n_inner", default=4 * width),
        keys.activation("activation_function", default="gelu_new"),
        gate=None,
        bias=True,
    )
    return ModelSpec(
        family="gpt2",
        vocab=keys.count("vocab_size", default=50257),
        width=width,
        context=context,
        embed=Embed(positions=LearnedPositions(context)),
        layers=tuple(LayerSpec(mixer, ffn, norm) for mixer in _mixers(keys, width, layers)),
        final_norm=norm,
        head=Head(tied=keys.switch("tie_word_embeddings", default=True)),
    )


def _mixers(keys: Keys, width: int, layers: int) -> list[Attention]:
    heads = keys.count("n_head", "num_attention_heads", default=12)
    head_dim = keys.share(width, heads)
    scaled = keys.switch("scale_attn_weights", default=True)
    by_layer = keys.switch("scale_attn_by_inverse_layer_idx", default=False)
    scale = head_dim**-0.5 if scaled else 1.0
    return [
        Attention(
            heads=heads,
            kv_heads=heads,
            head_dim=head_dim,
            scale=scale / (index + 1) if by_layer else scale,
            position=None,
            qkv="fused",
            qkv_bias=True,
            out_bias=True,
        )
        for index in range(layers)
    ]


def names(spec: ModelSpec) -> NameTable:
    """Name the tensors of a GPT-2 checkpoint."""
    block, ours = "transformer.h.{i}.", "layers.{i}."
    linears = {
        f"{block}attn.c_attn": f"{ours}attn.project.qkv",
        f"{block}attn.c_proj": f"{ours}attn.out",
        f"{block}mlp.c_fc": f"{ours}ffn.up",
        f"{block}mlp.c_proj": f"{ours}ffn.down",
    }
    norms = {
        f"{block}ln_1": f"{ours}attn_norm",
        f"{block}ln_2": f"{ours}ffn_norm",
        "transformer.ln_f": "norm",
    }
    rows = (
        Row("transformer.wte.weight", "embed.tokens"),
        Row("transformer.wpe.weight", "embed.positions"),
        Row("lm_head.weight", "output.weight"),
        *module_rows(linears, Transposed()),
        *module_rows(norms),
    )
    extra = {
        "lm_head.weight": "tied: the head is the embedding",
        f"{block}attn.bias": "the causal mask",
        f"{block}attn.masked_bias": "the value of a masked score",
    }
    return NameTable(rows, layers=len(spec.layers), prefix="transformer.", extra=extra)
