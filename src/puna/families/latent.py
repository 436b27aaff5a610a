"""What models with latent attention and shared experts have in common: DeepSeek-V2 and V3."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from puna.errors import ConfigError
from puna.families import llama
from puna.families.keys import Keys
from puna.families.qwen3_moe import MOE_ROWS, most_experts
from puna.families.rope import read_rope, yarn_gain
from puna.families.table import NameTable, Row, module_rows
from puna.spec import (
    Attention,
    Dense,
    Embed,
    Groups,
    Head,
    Latent,
    LayerSpec,
    ModelSpec,
    MoE,
    Norm,
    Router,
)


@dataclass(frozen=True, slots=True)
class Defaults:
    """What absent keys mean."""

    vocab: int
    width: int
    ffn: int
    expert: int
    layers: int
    heads: int
    context: int
    experts: int
    shared: int
    picked: int | None
    dense: int


def read_body(
    keys: Keys,
    family: str,
    absent: Defaults,
    read_router: Callable[[Keys], Router],
    *,
    interleaved: bool = True,
    bias: bool = False,
) -> ModelSpec:
    """Read what V2 and V3 share; `bias` is that of the dense networks."""
    _check_format(keys)
    keys.skip("aux_loss_alpha", "seq_aux", "ep_size")  # how it was trained and spread
    context = keys.count("max_position_embeddings", default=absent.context)
    norm = Norm("rms", keys.number("rms_norm_eps", default=1e-6))
    mixer = _read_mixer(keys, absent, context, interleaved)
    ffns = _read_ffns(keys, absent, read_router(keys), bias)
    return ModelSpec(
        family=family,
        vocab=keys.count("vocab_size", default=absent.vocab),
        width=keys.count("hidden_size", default=absent.width),
        context=context,
        embed=Embed(),
        layers=tuple(LayerSpec(mixer, ffn, norm) for ffn in ffns),
        final_norm=norm,
        head=Head(tied=keys.switch("tie_word_embeddings", default=False)),
    )


def _check_format(keys: Keys) -> None:
    settings: Any = keys.take("quantization_config", default=None)
    if settings is not None:
        method = settings.get("quant_method") if isinstance(settings, dict) else settings
        raise ConfigError(
            f"config key quantization_config says {method!r:.40}: these weights are not read",
            remedy="use a conversion of this model to bfloat16",
        )


def _read_mixer(keys: Keys, absent: Defaults, context: int, interleaved: bool) -> Attention:
    heads = keys.count("num_attention_heads", default=absent.heads)
    keys.neutral("num_key_value_heads", heads)
    turned = keys.count("qk_rope_head_dim", default=64)
    still = keys.count("qk_nope_head_dim", default=128)
    keys.neutral("head_dim", turned)
    keys.neutral("qk_head_dim", turned + still)
    bias = keys.switch("attention_bias", default=False)
    gain = _attention_gain(keys.take("rope_parameters", "rope_scaling", default={}))
    rope = read_rope(keys, head_dim=turned, context=context)
    return Attention(
        heads=heads,
        kv_heads=heads,
        head_dim=turned + still,
        scale=(turned + still) ** -0.5 * gain**2,
        position=replace(rope, interleaved=interleaved),
        qkv=Latent(
            kv_rank=keys.count("kv_lora_rank", default=512),
            q_rank=keys.nullable_count("q_lora_rank", absent=1536),
            rope_dim=turned,
            norm=Norm("rms", 1e-6),  # whatever `rms_norm_eps` says
            bias=bias,
        ),
        out_bias=bias,
        value_dim=keys.count("v_head_dim", default=128),
    )


def _attention_gain(settings: Any) -> float:
    """Return what YaRN multiplies queries and keys by, here through the scale of the scores."""
    if not isinstance(settings, dict) or not settings.get("mscale_all_dim"):
        return 1.0
    inner = Keys(settings, "rope_parameters")
    return yarn_gain(inner.number("factor"), inner.number("mscale_all_dim"))


def _read_ffns(keys: Keys, absent: Defaults, router: Router, bias: bool) -> list[Dense | MoE]:
    """Return the feed-forward network of each layer."""
    act = keys.activation("hidden_act", default="silu")
    dense = Dense(keys.count("intermediate_size", default=absent.ffn), act, "split", bias)
    width = keys.count("moe_intermediate_size", default=absent.expert)
    shared = keys.nullable_count("n_shared_experts", absent=absent.shared)
    experts = keys.nullable_count("n_routed_experts", absent=absent.experts)
    layers = keys.layers("num_hidden_layers", default=absent.layers)
    first = keys.index("first_k_dense_replace", default=absent.dense)
    every = keys.count("moe_layer_freq", default=1)
    picked = keys.count("num_experts_per_tok", default=absent.picked)
    if experts is None or picked is None:
        return [dense] * layers
    moe = MoE(
        experts,
        picked,
        Dense(width, act, "split"),
        router,
        shared=Dense(width * shared, act, "split", bias) if shared else None,
    )
    return [dense if i < first or i % every else moe for i in range(layers)]


def read_groups(
    keys: Keys, by: Literal["best", "two"], count: int | None, picked: int | None
) -> Groups | None:
    """Read the groups of experts; `count` and `picked` are what absent keys mean."""
    count = keys.nullable_count("n_group", absent=count)
    picked = keys.nullable_count("topk_group", absent=picked)
    return Groups(count, picked, by) if count and picked and count > 1 else None


def names(spec: ModelSpec) -> NameTable:
    """Name the tensors of a checkpoint; those of `extra_layers` may stand there unused."""
    rows = [*_latent_rows(spec), *llama.NORM_ROWS, *llama.END_ROWS, *llama.FFN_ROWS]
    rows += [*_SHARED_ROWS, *MOE_ROWS]
    first = len(spec.layers)
    unused = {
        f"model.layers.{index}.*": "it guesses tokens further ahead"
        for index in range(first, first + spec.extra_layers)
    }
    return NameTable(
        rows,
        layers=len(spec.layers),
        experts=most_experts(spec),
        prefix="model.",
        extra=llama.EXTRA | unused,
    )


_SHARED_ROWS = (
    Row("model.layers.{i}.mlp.gate.e_score_correction_bias", "layers.{i}.ffn.correction"),
    *module_rows(
        {
            f"model.layers.{{i}}.mlp.shared_experts.{name}_proj": f"layers.{{i}}.ffn.shared.{name}"
            for name in ("gate", "up", "down")
        }
    ),
)


def _latent_rows(spec: ModelSpec) -> tuple[Row, ...]:
    latent = spec.layers[0].mixer.qkv
    direct = isinstance(latent, Latent) and latent.q_rank is None
    theirs, ours = "model.layers.{i}.self_attn.", "layers.{i}.attn.project."
    return module_rows(
        {
            f"{theirs}{'q_proj' if direct else 'q_b_proj'}": f"{ours}q",
            f"{theirs}q_a_proj": f"{ours}q_down",
            f"{theirs}q_a_layernorm": f"{ours}q_norm",
            f"{theirs}kv_a_proj_with_mqa": f"{ours}kv_down",
            f"{theirs}kv_a_layernorm": f"{ours}kv_norm",
            f"{theirs}kv_b_proj": f"{ours}kv",
            f"{theirs}o_proj": "layers.{i}.attn.out",
        }
    )
