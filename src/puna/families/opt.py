"""OPT and Galactica: learned positions from row 2, biases by a switch, and OPT-350m's own form.

OPT-350m alone has its norms after each sum, no last norm, and a token table narrower than the
model with a linear map on either side.
"""

from __future__ import annotations

from puna.families.keys import Keys
from puna.families.table import NameTable, Row, module_rows
from puna.spec import Attention, Dense, Embed, Head, LayerSpec, LearnedPositions, ModelSpec, Norm

MODEL_TYPES = ("opt",)
_TRAINING = ("dropout", "activation_dropout", "layerdrop", "init_std")
# The first rows of the position table belonged to padding.
_OFFSET = 2


def read(keys: Keys) -> ModelSpec:
    """Read an OPT config."""
    width = keys.count("hidden_size", default=768)
    context = keys.count("max_position_embeddings", default=2048)
    narrow = keys.count("word_embed_proj_dim", default=width)
    before = keys.switch("do_layer_norm_before", default=True)
    removed = keys.switch("_remove_final_layer_norm", default=False)
    tied = keys.switch("tie_word_embeddings", default=True)
    keys.skip(*_TRAINING, "prefix")
    norm = _norm(keys)
    mixer, ffn = _halves(keys, width)
    layer = LayerSpec(mixer, ffn, norm, placement="pre" if before else "after")
    inner = None if narrow == width else narrow
    return ModelSpec(
        family="opt",
        vocab=keys.count("vocab_size", default=50272),
        width=width,
        context=context,
        embed=Embed(positions=LearnedPositions(context, _OFFSET), width=inner),
        layers=(layer,) * keys.layers("num_hidden_layers", default=12),
        final_norm=norm if before and not removed else None,
        head=Head(tied=tied, width=inner),
    )


def _norm(keys: Keys) -> Norm:
    affine = keys.switch("layer_norm_elementwise_affine", default=True)
    return Norm("layer", 1e-5, bias=affine, gain="weight" if affine else "none")


def _halves(keys: Keys, width: int) -> tuple[Attention, Dense]:
    heads = keys.count("num_attention_heads", default=12)
    head_dim = keys.share(width, heads)
    bias = keys.switch("enable_bias", default=True)
    mixer = Attention(
        heads=heads,
        kv_heads=heads,
        head_dim=head_dim,
        scale=head_dim**-0.5,
        position=None,
        qkv_bias=bias,
        out_bias=bias,
    )
    act = keys.activation("activation_function", default="relu")
    return mixer, Dense(keys.count("ffn_dim", default=3072), act, gate=None, bias=bias)


def names(spec: ModelSpec) -> NameTable:
    """Name the tensors of an OPT checkpoint."""
    block, ours = "model.decoder.layers.{i}.", "layers.{i}."
    modules = {
        f"{block}self_attn.q_proj": f"{ours}attn.project.q",
        f"{block}self_attn.k_proj": f"{ours}attn.project.k",
        f"{block}self_attn.v_proj": f"{ours}attn.project.v",
        f"{block}self_attn.out_proj": f"{ours}attn.out",
        f"{block}fc1": f"{ours}ffn.up",
        f"{block}fc2": f"{ours}ffn.down",
        f"{block}self_attn_layer_norm": f"{ours}attn_norm",
        f"{block}final_layer_norm": f"{ours}ffn_norm",
        "model.decoder.final_layer_norm": "norm",
    }
    rows = (
        Row("model.decoder.embed_tokens.weight", "embed.tokens"),
        Row("model.decoder.embed_positions.weight", "embed.positions"),
        Row("model.decoder.project_in.weight", "embed.widen"),
        Row("model.decoder.project_out.weight", "output.narrow"),
        Row("lm_head.weight", "output.weight"),
        *module_rows(modules),
    )
    extra = {"lm_head.weight": "tied: the head is the embedding"}
    return NameTable(rows, layers=len(spec.layers), prefix="model.", extra=extra)
