"""StarCoder2: layer norms with biases, a network without a gate, and a window."""

from __future__ import annotations

from dataclasses import replace

from puna.families import llama
from puna.families.keys import Keys
from puna.families.layers import each_mixer
from puna.families.table import NameTable, Row
from puna.spec import Dense, ModelSpec, Norm

MODEL_TYPES = ("starcoder2",)

_ROWS = tuple(
    Row(f"model.{theirs}.{part}", f"{ours}.{part}")
    for theirs, ours in (
        ("layers.{i}.mlp.c_fc", "layers.{i}.ffn.up"),
        ("layers.{i}.mlp.c_proj", "layers.{i}.ffn.down"),
        ("layers.{i}.input_layernorm", "layers.{i}.attn_norm"),
        ("layers.{i}.post_attention_layernorm", "layers.{i}.ffn_norm"),
    )
    for part in ("weight", "bias")
)


def read(keys: Keys) -> ModelSpec:
    """Read a StarCoder2 config; one switch says whether linear maps have biases."""
    keys.neutral("mlp_type", "default")
    keys.neutral("norm_type", "layer_norm")
    keys.neutral("scale_attn_weights", True)
    # Of the class before it, which the published class does not read.
    keys.skip("activation_function", "layer_norm_epsilon", "scale_attention_softmax_in_fp32")
    bias = keys.switch("use_bias", default=True)
    act = keys.activation("hidden_act", default="gelu_pytorch_tanh")
    spec = llama.read_body(
        keys,
        "starcoder2",
        Dense(keys.count("intermediate_size"), act, None, bias),
        norm=Norm("layer", keys.number("norm_epsilon", default=1e-5), bias=True),
        attention_bias=bias,
        context=4096,
        kv_heads=2,
        tied=True,
    )
    window = keys.nullable_count("sliding_window", absent=None)
    return each_mixer(spec, lambda _, m: replace(m, window=window))


def names(spec: ModelSpec) -> NameTable:
    """Name the tensors of a StarCoder2 checkpoint."""
    bias = Row("model.norm.bias", "norm.bias")
    return llama.table(spec, *llama.PROJECTION_ROWS, *_ROWS, *llama.END_ROWS, bias)
