"""How configs of older families and of mixtures are read: defaults, refusals, unused layers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from puna.errors import ConfigError
from puna.families import name_table, read_config
from puna.model.attend import alibi_slopes
from puna.spec import Alibi, Attention, ClampedSwish, Groups, ModelSpec, MoE, Router, YarnScaling
from tests.parity.published import PUBLISHED

_CLASSES = {
    "gpt2": "GPT2Config",
    "gptj": "GPTJConfig",
    "gpt_neo": "GPTNeoConfig",
    "mpt": "MptConfig",
    "opt": "OPTConfig",
    "qwen3_moe": "Qwen3MoeConfig",
    "gpt_oss": "GptOssConfig",
    "deepseek_v2": "DeepseekV2Config",
    "deepseek_v3": "DeepseekV3Config",
}


def _spec(name: str, **changes: Any) -> ModelSpec:
    return read_config({**PUBLISHED[name][0], **changes})


def _mixer(name: str, layer: int = 0, **changes: Any) -> Attention:
    return _spec(name, **changes).layers[layer].mixer


def _moe(name: str, **changes: Any) -> MoE:
    moe = _spec(name, **changes).layers[-1].ffn
    assert isinstance(moe, MoE)
    return moe


@pytest.mark.parametrize("kind", _CLASSES)
def test_absent_keys_mean_what_the_published_class_says(kind: str) -> None:
    import transformers

    full = json.loads(getattr(transformers, _CLASSES[kind])().to_json_string(use_diff=False))
    assert full["model_type"] == kind
    assert read_config({"model_type": kind}) == read_config(full)


@pytest.mark.parametrize(
    "name",
    [
        *("GPT-2-XL", "GPT-J-6B", "GPT-Neo-2.7B", "MPT-7B", "OPT-350m"),
        *("Qwen3-30B-A3B", "gpt-oss-20b", "DeepSeek-V2-Lite", "DeepSeek-V3"),
    ],
)
def test_what_the_library_writes_of_a_published_config_is_the_same_model(name: str) -> None:
    from transformers import AutoConfig

    config = {k: v for k, v in PUBLISHED[name][0].items() if k != "auto_map"}
    again = json.loads(AutoConfig.for_model(**config).to_json_string(use_diff=False))
    assert read_config(again) == read_config(config)


def test_scales_of_gpt2() -> None:
    root = 64**-0.5
    assert _mixer("GPT-2", 11).scale == root
    assert _mixer("GPT-2", 11, scale_attn_by_inverse_layer_idx=True).scale == root / 12
    assert _mixer("GPT-2", 11, scale_attn_weights=False).scale == 1.0


def test_windows_of_gpt_neo_take_turns() -> None:
    spec = _spec("GPT-Neo-1.3B")
    assert [layer.mixer.window for layer in spec.layers] == [None, 256] * 12
    assert {layer.mixer.scale for layer in spec.layers} == {1.0}


@pytest.mark.parametrize("heads", [4, 6, 12, 71])
@pytest.mark.parametrize("steepest", [8, 16])
def test_alibi_slopes_are_those_of_mpt(heads: int, steepest: int) -> None:
    from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

    bias = build_mpt_alibi_tensor(heads, 5, steepest)[:, 0]  # minus slope times distance
    assert torch.allclose(-bias[:, 3], alibi_slopes(heads, float(steepest)), rtol=1e-6)


def test_the_slopes_and_the_bounds_of_storywriter_count() -> None:
    mixer = _mixer("MPT-7B-StoryWriter")
    assert mixer.position == Alibi(steepest=16.0)
    assert mixer.clip == 6.0
    assert _spec("MPT-7B", logit_scale="inv_sqrt_d_model").head.scale == 1 / 64
    assert _spec("MPT-7B", expansion_ratio=2).layers[0].ffn.width == 8192  # type: ignore[union-attr]


def test_qwen3_moe_says_which_layers_are_dense() -> None:
    def mixtures(**changes: Any) -> list[int]:
        layers = _spec("Qwen3-30B-A3B", num_hidden_layers=6, **changes).layers
        return [i for i, layer in enumerate(layers) if isinstance(layer.ffn, MoE)]

    assert mixtures() == [0, 1, 2, 3, 4, 5]
    assert mixtures(mlp_only_layers=[0, 4]) == [1, 2, 3, 5]
    assert mixtures(decoder_sparse_step=3) == [2, 5]


def test_gpt_oss_as_published() -> None:
    spec = _spec("gpt-oss-20b")
    assert [layer.mixer.window for layer in spec.layers] == [128, None] * 12
    rope = spec.layers[0].mixer.position
    assert rope == replace(rope, theta=150_000.0)  # type: ignore[type-var]
    assert isinstance(rope.scaling, YarnScaling)  # type: ignore[union-attr]
    assert not rope.scaling.truncate  # type: ignore[union-attr]
    assert _moe("gpt-oss-20b").expert.act == ClampedSwish(1.702, 7.0)
    assert spec == _spec("gpt-oss-20b", quantization_config=None)


def test_the_scale_of_latent_attention_takes_yarn_s_gain_twice() -> None:
    gain = 0.1 * 0.707 * 3.6888794541139363 + 1  # log 40
    mixer = _mixer("DeepSeek-V2-Lite")
    assert mixer.scale == pytest.approx(192**-0.5 * gain**2)
    assert mixer.position.scaling.attention_factor == pytest.approx(1.0)  # type: ignore[union-attr]
    plain = _mixer("DeepSeek-V2-Lite", rope_scaling=None)
    assert plain.scale == 192**-0.5


def test_routers_of_deepseek() -> None:
    assert _moe("DeepSeek-V2-Lite").router == Router(renormalized=False)
    limited = {"topk_method": "group_limited_greedy", "n_group": 8, "topk_group": 3}
    big = {**limited, "routed_scaling_factor": 16.0, "n_routed_experts": 160}
    groups = Groups(8, 3, "best")
    assert _moe("DeepSeek-V2-Lite", **big).router == Router(
        renormalized=False, scale=16.0, groups=groups
    )
    # Of V2's published code: gates that sum to one are not scaled.
    assert _moe("DeepSeek-V2-Lite", **big, norm_topk_prob=True).router == Router(groups=groups)
    assert _moe("DeepSeek-V3").router == Router(
        "sigmoid", scale=2.5, correction=True, groups=Groups(8, 4, "two")
    )
    assert _moe("DeepSeek-V2-Lite", n_shared_experts=None).shared is None
    every_other = _spec("DeepSeek-V2-Lite", moe_layer_freq=2).layers
    kinds = [isinstance(layer.ffn, MoE) for layer in every_other]
    assert kinds == [i >= 1 and i % 2 == 0 for i in range(27)]


def test_layers_that_guess_ahead_are_left_out_with_a_reason() -> None:
    table = name_table(_spec("DeepSeek-V3"))
    for name in ("eh_proj.weight", "mlp.experts.255.up_proj.weight", "shared_head.head.weight"):
        assert table.reason_to_skip(f"model.layers.61.{name}")
        assert not table.reason_to_skip(f"model.layers.60.{name}")
        assert not table.reason_to_skip(f"model.layers.62.{name}")
    without = name_table(_spec("DeepSeek-V3", num_nextn_predict_layers=0))
    assert not without.reason_to_skip("model.layers.61.eh_proj.weight")


@pytest.mark.parametrize(
    ("name", "change", "named"),
    [
        ("GPT-2", {"add_cross_attention": True}, "add_cross_attention"),
        ("GPT-2", {"n_special": 3}, "n_special"),
        ("GPT-2", {"activation_function": "tanh"}, "activation_function"),
        ("GPT-2", {"n_layer": 1 << 35}, "n_layer"),
        ("GPT-2", {"n_embd": 768, "hidden_size": 770}, "disagree"),
        ("GPT-J-6B", {"rotary": False}, "rotary"),
        ("GPT-J-6B", {"rotary_dim": 63}, "rotary dims"),
        ("GPT-J-6B", {"rotary_dim": 512}, "rotary dims"),
        ("GPT-Neo-1.3B", {"num_layers": 23}, "attention_types"),
        ("GPT-Neo-1.3B", {"attention_types": [[["global"], 1 << 40]]}, "attention_types"),
        ("GPT-Neo-1.3B", {"attention_types": [["global", "local"]]}, "attention_types"),
        ("GPT-Neo-1.3B", {"attention_types": 7}, "attention_types"),
        ("GPT-Neo-1.3B", {"attention_types": [[["round"], 24]]}, "attention_types"),
        ("GPT-Neo-1.3B", {"attention_layers": ["global"] * 24}, "attention_layers"),
        ("MPT-7B", {"attn_config": {"alibi": False}}, r"attn_config\.alibi"),
        ("MPT-7B", {"attn_config": {"prefix_lm": True}}, r"attn_config\.prefix_lm"),
        ("MPT-7B", {"attn_config": {"qk_ln": True}}, r"attn_config\.qk_ln"),
        ("MPT-7B", {"attn_config": {"rope": True}}, r"attn_config\.rope"),
        ("MPT-7B", {"attn_config": {"attn_type": "multiquery_attention"}}, "attn_type"),
        ("MPT-7B", {"attn_config": {"clip_qkv": -1}}, r"attn_config\.clip_qkv"),
        ("MPT-7B", {"attn_config": "flash"}, "attn_config"),
        ("MPT-7B", {"no_bias": False}, "no_bias"),
        ("MPT-7B", {"norm_type": "rmsnorm"}, "norm_type"),
        ("MPT-7B", {"logit_scale": "large"}, "logit_scale"),
        ("MPT-7B", {"ffn_config": {"ffn_type": "mptgeglu"}}, "ffn_config"),
        ("OPT-350m", {"do_layer_norm_before": "no"}, "do_layer_norm_before"),
        ("OPT-350m", {"word_embed_proj_dim": 0}, "word_embed_proj_dim"),
        ("Qwen3-30B-A3B", {"mlp_only_layers": [1.5]}, "mlp_only_layers"),
        ("Qwen3-30B-A3B", {"mlp_only_layers": 3}, "mlp_only_layers"),
        ("Qwen3-30B-A3B", {"num_experts_per_tok": 200}, "200 of 128"),
        (
            "Qwen3-30B-A3B",
            {"use_sliding_window": True, "sliding_window": 99},
            "max_window_layers",
        ),
        ("gpt-oss-20b", {"hidden_act": "gelu"}, "hidden_act"),
        ("gpt-oss-20b", {"layer_types": ["full_attention"]}, "layer_types"),
        ("gpt-oss-20b", {"quantization_config": {"quant_method": "fp8"}}, "fp8"),
        ("gpt-oss-20b", {"experts_per_token": 3}, "disagree"),
        ("DeepSeek-V2-Lite", {"topk_method": "noaux_tc"}, "topk_method"),
        ("DeepSeek-V2-Lite", {"scoring_func": "sigmoid"}, "scoring_func"),
        ("DeepSeek-V2-Lite", {"num_key_value_heads": 4}, "num_key_value_heads"),
        (
            "DeepSeek-V2-Lite",
            {"topk_method": "group_limited_greedy", "n_group": 7, "topk_group": 3},
            "7 groups of 64",
        ),
        ("DeepSeek-V3", {"quantization_config": {"quant_method": "fp8"}}, "'fp8'"),
        ("DeepSeek-V3", {"topk_method": "greedy"}, "topk_method"),
        ("DeepSeek-V3", {"num_nextn_predict_layers": 1 << 30}, "extra layers"),
        ("DeepSeek-V3", {"num_nextn_predict_layers": -1}, "num_nextn_predict_layers"),
        ("DeepSeek-V3", {"first_k_dense_replace": -1}, "first_k_dense_replace"),
        ("DeepSeek-V3", {"index_topk": 2048}, "index_topk"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_done_is_refused_by_name(
    name: str, change: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        _spec(name, **change)
    assert len(str(caught.value).splitlines()) <= 3
