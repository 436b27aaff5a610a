"""Architectures of large mixtures: gpt-oss, and deepseek2 (DeepSeek-V2 and V3)."""

from __future__ import annotations

import math
from typing import Any

from puna.errors import ConfigError
from puna.families.gguf.arch import (
    BODY,
    EXPERT_FFN,
    EXPERTS,
    KV_HEADS,
    LAYERS,
    PICKED,
    RMS_EPS,
    VOCAB,
    WINDOW,
    Config,
    GgufArch,
    Stored,
    Typed,
    equal_or_refuse,
    moe_of,
    ropes,
)
from puna.families.gguf.parts import (
    attention_keys,
    biases,
    expert_keys,
    lacks_any,
    pattern_keys,
    positive,
    read_attention,
    read_pattern,
    tied,
    written,
)
from puna.families.gguf.rope import LOG_MULTIPLIER, read_rope_keys, rope_keys
from puna.families.keys import Keys
from puna.families.table import LatentHalves, Layout
from puna.spec import Attention, ClampedSwish, Latent, ModelSpec, Rope, YarnScaling

# --- gpt-oss -------------------------------------------------------------------------------------

# What llama.cpp computes, whatever the file says.
_SWISH = ClampedSwish(1.702, 7.0)


def _read_gpt_oss(config: Config, keys: Keys, stored: Stored) -> None:
    """Read gpt-oss, as published: YaRN whose ramp is not rounded to whole dims."""
    read_attention(config, keys, stored)
    settings = config["rope_parameters"]
    if settings["rope_type"] == "yarn":
        settings["truncate"] = False
    config |= {
        "model_type": "gpt_oss",
        "intermediate_size": EXPERT_FFN.take(keys, ...),
        "num_local_experts": EXPERTS.take(keys, ...),
        "num_experts_per_tok": PICKED.take(keys, ...),
        "sliding_window": WINDOW.take(keys, ...),
        "layer_types": read_pattern(keys, 2),
        "swiglu_alpha": _SWISH.alpha,
        "swiglu_limit": _SWISH.limit,
        "attention_bias": stored.has("blk.0.attn_output.bias"),
    }
    keys.neutral("expert_weights_scale", 0.0, 1.0)


def _write_gpt_oss(spec: ModelSpec) -> dict[str, Typed]:
    return attention_keys(spec) | expert_keys(spec) | pattern_keys(spec, 2)


def _other_swish(spec: ModelSpec) -> str | None:
    moe = moe_of(spec)
    return None if moe is None or moe.expert.act == _SWISH else "a swish with other bounds"


def _unbiased(spec: ModelSpec) -> str | None:
    return None if spec.layers[0].mixer.out_bias else "attention without biases"


GPT_OSS = GgufArch(
    name="gpt-oss",
    families=("gpt_oss",),
    fields=(*BODY, RMS_EPS),
    read=_read_gpt_oss,
    write=_write_gpt_oss,
    names=lambda spec: {"layers.{i}.ffn_norm.{part}": "blk.{i}.post_attention_norm.{part}"},
    lacks=lacks_any(_other_swish, _unbiased, tied),
)


# --- deepseek2 -----------------------------------------------------------------------------------

_SOFTMAX, _SIGMOID = 1, 2
_AHEAD = "nextn_predict_layers"
_Q_RANK, _KV_RANK = "attention.q_lora_rank", "attention.kv_lora_rank"
_KEY, _VALUE = "attention.key_length", "attention.value_length"
# llama.cpp takes models of so many layers for those that project queries directly.
_DIRECT = (26, 27)


def _read_deepseek2(config: Config, keys: Keys, stored: Stored) -> None:
    _read_latent(config, keys, stored)
    lead = keys.index("leading_dense_block_count", default=0)
    gating = _read_gating(keys, stored, lead)
    ahead = keys.index(_AHEAD, default=0)
    groups = keys.index("expert_group_count", default=0)
    used = keys.index("expert_group_used_count", default=0)
    config |= {
        "num_hidden_layers": keys.layers(LAYERS.key) - ahead,
        "first_k_dense_replace": lead,
        "moe_intermediate_size": EXPERT_FFN.take(keys, ...),
        "n_routed_experts": keys.index(EXPERTS.key, default=0) or None,
        "num_experts_per_tok": keys.index(PICKED.key, default=0) or None,
        "n_shared_experts": keys.index("expert_shared_count", default=0) or None,
        "routed_scaling_factor": positive(keys, "expert_weights_scale", 1.0),
        "norm_topk_prob": keys.switch("expert_weights_norm", default=False),
        "n_group": groups or 1,
        "topk_group": used or 1,
    }
    if gating == _SIGMOID:
        config |= {"model_type": "deepseek_v3", "num_nextn_predict_layers": ahead}
    else:
        method = "group_limited_greedy" if groups > 1 else "greedy"
        config |= {"model_type": "deepseek_v2", "topk_method": method}
        if ahead:
            raise ConfigError(
                f"metadata key {stored.arch}.{_AHEAD} is {ahead}, and DeepSeek-V2 has none",
                remedy="convert the model again",
            )


def _read_gating(keys: Keys, stored: Stored, lead: int) -> int:
    """Return how experts are scored; files of before the key was written hold DeepSeek-V2."""
    gating = keys.index("expert_gating_func", default=0)
    if gating == 0 and stored.has(f"blk.{lead}.exp_probs_b.bias"):
        raise ConfigError(
            "the file corrects the scores of experts (exp_probs_b) and does not say what scores",
            remedy="convert it again from a config.json that has scoring_func",
        )
    if gating not in (0, _SOFTMAX, _SIGMOID):
        raise ConfigError(
            f"metadata key {stored.arch}.expert_gating_func is {gating}, which cannot be computed",
            remedy="known: 1 (softmax), 2 (sigmoid)",
        )
    return gating or _SOFTMAX


def _read_latent(config: Config, keys: Keys, stored: Stored) -> None:
    """Read the sizes of attention; files of before its keys were split have no `_mla` keys."""
    arch, heads = stored.arch, config["num_attention_heads"]
    turned, kv_rank = keys.count("rope.dimension_count"), keys.count(_KV_RANK)
    if keys.has(f"{_KEY}_mla"):
        head_dim, value_dim = keys.count(f"{_KEY}_mla"), keys.count(f"{_VALUE}_mla")
        equal_or_refuse(keys, KV_HEADS.key, 1, arch)
        equal_or_refuse(keys, _KEY, kv_rank + turned, arch)
        equal_or_refuse(keys, _VALUE, kv_rank, arch)
    else:
        head_dim, value_dim = keys.count(_KEY), keys.count(_VALUE)
        equal_or_refuse(keys, KV_HEADS.key, heads, arch)
    config |= {
        "num_key_value_heads": heads,
        "q_lora_rank": keys.index(_Q_RANK, default=0) or None,
        "kv_lora_rank": kv_rank,
        "qk_rope_head_dim": turned,
        "qk_nope_head_dim": head_dim - turned,
        "v_head_dim": value_dim,
        "rope_parameters": _read_latent_rope(keys, turned, stored),
    }


def _read_latent_rope(keys: Keys, turned: int, stored: Stored) -> dict[str, Any]:
    """Read the rope; a tenth of `mscale_all_dim` is stored, and stands for `mscale` as well."""
    settings = read_rope_keys(keys, turned, stored, multiplied=True)
    multiplier = positive(keys, LOG_MULTIPLIER, None)
    if multiplier is not None:
        if settings["rope_type"] != "yarn":
            raise ConfigError(
                f"metadata key {stored.arch}.{LOG_MULTIPLIER} goes with YaRN, which is not there",
                remedy="convert the model again",
            )
        settings |= dict.fromkeys(("mscale", "mscale_all_dim"), round(10 * multiplier, 7))
    return settings


def _latent(spec: ModelSpec) -> tuple[Attention, Latent]:
    mixer = spec.layers[0].mixer
    assert isinstance(mixer.qkv, Latent)  # nothing else is of these families
    return mixer, mixer.qkv


def _log_gain(mixer: Attention, scaling: YarnScaling) -> float:
    """Return the multiplier of log(factor) that makes up the scale of the scores."""
    gain = math.sqrt(mixer.scale * math.sqrt(mixer.head_dim))
    return (gain - 1) / math.log(scaling.factor) if scaling.factor > 1 else 0.0


def _write_deepseek2(spec: ModelSpec) -> dict[str, Typed]:
    mixer, latent = _latent(spec)
    rope = mixer.position
    scaling = rope.scaling if isinstance(rope, Rope) else None
    keys: dict[str, Typed] = written(spec, VOCAB) | rope_keys(next(iter(ropes(spec))))
    keys |= {
        KV_HEADS.key: ("u32", 1),
        _KEY: ("u32", latent.kv_rank + latent.rope_dim),
        _VALUE: ("u32", latent.kv_rank),
        f"{_KEY}_mla": ("u32", mixer.head_dim),
        f"{_VALUE}_mla": ("u32", mixer.v_dim),
        _Q_RANK: ("u32", latent.q_rank or 0),
        _KV_RANK: ("u32", latent.kv_rank),
    }
    if isinstance(scaling, YarnScaling):
        # llama.cpp finds by itself that cosine and sine keep their size.
        keys = {k: v for k, v in keys.items() if not k.endswith("attn_factor")}
        keys[LOG_MULTIPLIER] = ("f32", _log_gain(mixer, scaling))
    return keys | _mixture_keys(spec)


def _mixture_keys(spec: ModelSpec) -> dict[str, Typed]:
    moe = moe_of(spec)
    lead = next((i for i, x in enumerate(spec.layers) if x.ffn is moe), len(spec.layers))
    keys = expert_keys(spec) | {"leading_dense_block_count": ("u32", lead)}
    if moe is None:
        return keys | {"expert_shared_count": ("u32", 0)}
    router = moe.router
    shared = moe.shared.width // moe.expert.width if moe.shared else 0
    keys |= {
        "expert_shared_count": ("u32", shared),
        "expert_weights_scale": ("f32", router.scale),
        "expert_weights_norm": ("bool", router.renormalized),
        "expert_gating_func": ("u32", _SIGMOID if router.score == "sigmoid" else _SOFTMAX),
    }
    if router.groups:
        keys["expert_group_count"] = ("u32", router.groups.count)
        keys["expert_group_used_count"] = ("u32", router.groups.picked)
    return keys


def _attention_lacks(spec: ModelSpec) -> str | None:
    mixer, latent = _latent(spec)
    rope = mixer.position
    if not isinstance(rope, Rope) or not rope.interleaved:
        return "a rope whose dims turn by halves"
    if latent.norm.eps != spec.layers[0].norm.eps:
        return "an epsilon of its own in the latent"
    if latent.q_rank and len(spec.layers) in _DIRECT:
        return f"a low rank of queries in a model of {len(spec.layers)} layers"
    scaling = rope.scaling
    if isinstance(scaling, YarnScaling):
        if scaling.attention_factor != 1.0:
            return "an mscale other than mscale_all_dim"
        return "YaRN without mscale_all_dim" if _log_gain(mixer, scaling) <= 0 else None
    return None


def _experts_lack(spec: ModelSpec) -> str | None:
    moe = moe_of(spec)
    if moe is None:
        return None
    if moe.shared is None:
        return "a mixture without shared experts"
    groups = moe.router.groups
    if groups and groups.by == "best":
        return "groups that are judged by their best expert"
    if groups and groups.picked == groups.count:
        return "groups of experts of which all are used"
    return None


def _deepseek2_names(spec: ModelSpec) -> dict[str, str]:
    _, latent = _latent(spec)
    project = "layers.{i}.attn.project."
    return {
        f"{project}q.{{part}}": f"blk.{{i}}.attn_q{'_b' if latent.q_rank else ''}.{{part}}",
        f"{project}q_down.{{part}}": "blk.{i}.attn_q_a.{part}",
        f"{project}q_norm.{{part}}": "blk.{i}.attn_q_a_norm.{part}",
        f"{project}kv_down.{{part}}": "blk.{i}.attn_kv_a_mqa.{part}",
        f"{project}kv_norm.{{part}}": "blk.{i}.attn_kv_a_norm.{part}",
        f"{project}kv.{{part}}": "blk.{i}.attn_kv_b.{part}",
    }


def _deepseek2_layouts(spec: ModelSpec) -> dict[str, Layout]:
    mixer, latent = _latent(spec)
    still = mixer.head_dim - latent.rope_dim
    return {"layers.{i}.attn.project.kv": LatentHalves(mixer.heads, still, mixer.v_dim)}


def _ahead(spec: ModelSpec) -> dict[str, str]:
    first = len(spec.layers)
    numbers = range(first, first + spec.extra_layers)
    return {f"blk.{n}.*": "it guesses tokens further ahead" for n in numbers}


DEEPSEEK2 = GgufArch(
    name="deepseek2",
    families=("deepseek_v2", "deepseek_v3"),
    fields=(*BODY, RMS_EPS),
    read=_read_deepseek2,
    write=_write_deepseek2,
    names=_deepseek2_names,
    layouts=_deepseek2_layouts,
    lacks=lacks_any(biases, _attention_lacks, _experts_lack),
    extra=_ahead,
    scalings=(YarnScaling,),
)
