"""Real configs: exact parameter counts on the meta device, and keys that refuse by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from puna.errors import ConfigError
from puna.families import known_families, name_table, read_config
from puna.model import build
from puna.spec import (
    Alibi,
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    YarnScaling,
    count_parameters,
)
from tests.parity.published import PUBLISHED

LLAMA = PUBLISHED["LLaMA-7B"][0]


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_counted_exactly(name: str) -> None:
    config, count = PUBLISHED[name]
    spec = read_config(config)
    assert count_parameters(spec) == count
    module = build(spec)
    assert sum(p.numel() for p in module.parameters()) == count
    table = name_table(spec)
    for parameter, _ in module.named_parameters():
        assert table.by_ours(parameter) in table.by_theirs(table.by_ours(parameter).theirs)


def test_mixtral_uses_fewer_per_token() -> None:
    spec = read_config(PUBLISHED["Mixtral-8x7B"][0])
    assert count_parameters(spec, active=True) == 12_879_925_248


def test_early_falcon_spelling_is_the_same_model() -> None:
    config = dict(PUBLISHED["Falcon-40B"][0])
    for new, old in (
        ("num_attention_heads", "n_head"),
        ("num_hidden_layers", "n_layer"),
        ("num_kv_heads", "n_head_kv"),
    ):
        config[old] = config.pop(new)
    del config["new_decoder_architecture"]
    early = read_config({**config, "model_type": "RefinedWeb"})
    assert early == read_config(PUBLISHED["Falcon-40B"][0])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("flux_capacitor", 1),
        ("quantization_config", {"bits": 4}),
        ("qk_layernorm", True),
        ("attn_logit_softcapping", 30.0),
        ("partial_rotary_factor_2", 0.5),
        ("is_encoder_decoder", True),
        ("rope_parameters", {"rope_type": "default", "mystery": 2}),
    ],
)
def test_a_key_that_could_matter_refuses_by_name(key: str, value: Any) -> None:
    named = "mystery" if key == "rope_parameters" else key
    with pytest.raises(ConfigError, match=named) as caught:
        read_config({**LLAMA, key: value})
    assert len(str(caught.value).splitlines()) <= 3
    if key != "rope_parameters":
        assert read_config({**LLAMA, key: value}, ignore_keys=[key]) == read_config(LLAMA)


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "zebra"},
        {"model_type": None},
        {"model_type": ["llama"]},
        {"hidden_size": "big"},
        {"hidden_size": -1},
        {"hidden_size": 4096.5},
        {"num_hidden_layers": 0},
        {"num_hidden_layers": True},
        {"num_key_value_heads": 5},
        {"hidden_act": "magic"},
        {"rms_norm_eps": 0},
        {"rms_norm_eps": float("nan")},
        {"rope_scaling": {"rope_type": "spiral", "factor": 2.0}},
        {"rope_scaling": {"rope_type": "linear"}},
        {"rope_scaling": "linear"},
        {"rope_theta": 10000.0, "rope_parameters": {"rope_type": "default", "rope_theta": "x"}},
        {"tie_word_embeddings": "no"},
        {"partial_rotary_factor": 0.5},
        {"rope_scaling": {"rope_type": "default", "partial_rotary_factor": 0.5}},
    ],
    ids=str,
)
def test_values_that_cannot_be_are_config_errors(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config({**LLAMA, **change})
    assert len(str(caught.value).splitlines()) <= 3


def test_missing_keys_are_named() -> None:
    for key in ("hidden_size", "num_attention_heads", "vocab_size", "num_hidden_layers"):
        with pytest.raises(ConfigError, match=key):
            read_config({k: v for k, v in LLAMA.items() if k != key})


def test_both_spellings_of_rope_settings_agree() -> None:
    old = {"rope_theta": 500.0, "rope_scaling": {"type": "linear", "factor": 4.0}}
    new = {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 500.0}}
    bare = {k: v for k, v in LLAMA.items() if k != "rope_scaling"}
    assert read_config({**bare, **old}) == read_config({**bare, **new})
    position = read_config({**bare, **new}).layers[0].mixer.position
    assert position is not None
    assert not isinstance(position, Alibi)
    assert position.scaling == LinearScaling(4.0)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"rope_type": "dynamic", "factor": 2.0}, DynamicScaling),
        (
            {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024},
            YarnScaling,
        ),
        (
            {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            },
            Llama3Scaling,
        ),
    ],
    ids=lambda v: v["rope_type"] if isinstance(v, dict) else "",
)
def test_scaling_records(settings: dict[str, Any], kind: type) -> None:
    spec = read_config({**LLAMA, "rope_scaling": settings})
    position = spec.layers[0].mixer.position
    assert position is not None
    assert not isinstance(position, Alibi)
    assert isinstance(position.scaling, kind)


@pytest.mark.parametrize(
    ("settings", "context"),
    [
        ({"rope_type": "default", "partial_rotary_factor": 1}, 2048),
        ({"type": "linear", "factor": 4.0}, 8192),
        ({"type": "dynamic", "factor": 2.5}, 5120),
        ({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}, 2048),
        ({"type": "yarn", "factor": 16.0, "finetuned": True}, 32768),
        (
            {
                "rope_type": "llama3",
                "factor": 32.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 512,
            },
            2048,
        ),
    ],
    ids=lambda v: str(v.get("rope_type", v.get("type"))) if isinstance(v, dict) else str(v),
)
def test_the_context_counts_the_scaling_in(settings: dict[str, Any], context: int) -> None:
    assert read_config({**LLAMA, "rope_scaling": settings}).context == context


def test_notes_of_published_configs_pass() -> None:
    """`max_sequence_length` stands in early LLaMA configs, others in those of the models named."""
    assert read_config({**LLAMA, "max_sequence_length": 2048}) == read_config(LLAMA)
    neox = PUBLISHED["GPT-NeoX-20B"][0]
    notes = {"attention_probs_dropout_prob": 0, "hidden_dropout_prob": 0}
    assert read_config({**neox, **notes}) == read_config(neox)
    gpt2 = PUBLISHED["GPT-2"][0]
    assert read_config({**gpt2, "_num_labels": 1}) == read_config(gpt2)  # DistilGPT-2
    coder = PUBLISHED["StarCoder2-3b"][0]
    notes = {
        "activation_function": "gelu",
        "attention_softmax_in_fp32": True,
        "layer_norm_epsilon": 1e-05,
        "scale_attention_softmax_in_fp32": True,
        "scale_attn_weights": True,
    }
    assert read_config({**coder, **notes}) == read_config(coder)


def test_the_decoder_knows_no_family() -> None:
    """Records such as `Llama3Scaling` name a published rule; nothing else may name a family."""
    model = Path(__file__).parents[2] / "src" / "puna" / "model"
    words = "|".join({*known_families(), "neox", "pythia", "alpaca", "vicuna"})
    names = re.compile(rf"(?<![a-z])(?:{words})(?![a-z])", re.I)  # "empty" names no family
    for file in model.glob("*.py"):
        # Where a rule comes from may be said in a docstring; what runs may not depend on it.
        code = re.sub(r'"""[\s\S]*?"""|#.*|Llama3Scaling', "", file.read_text(encoding="utf-8"))
        assert not names.findall(code), file.name
