"""The families of the mission: LLaMA, Mistral, Mixtral, Falcon, BLOOM, GPT-NeoX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.parity.forms.form import Form, rope


def _llama(**changes: Any) -> Callable[[], Any]:
    def config() -> Any:
        from transformers import LlamaConfig

        shape = {
            "vocab_size": 97,
            "hidden_size": 48,
            "intermediate_size": 53,
            "num_hidden_layers": 3,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "max_position_embeddings": 64,
        }
        return LlamaConfig(**{**shape, **changes})

    return config


def _mistral(**changes: Any) -> Callable[[], Any]:
    def config() -> Any:
        from transformers import MistralConfig

        shape = _llama()().to_dict()
        keys = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")
        return MistralConfig(
            num_attention_heads=4,
            num_key_value_heads=1,
            head_dim=14,
            max_position_embeddings=64,
            **{**{k: shape[k] for k in keys}, **changes},
        )

    return config


def _mixtral(**changes: Any) -> Callable[[], Any]:
    def config() -> Any:
        from transformers import MixtralConfig

        return MixtralConfig(
            vocab_size=101,
            hidden_size=40,
            intermediate_size=36,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
            **{"num_local_experts": 8, "num_experts_per_tok": 2, **changes},
        )

    return config


def _falcon(**changes: Any) -> Callable[[], Any]:
    def config() -> Any:
        from transformers import FalconConfig

        shape = {
            "vocab_size": 89,
            "hidden_size": 60,
            "num_hidden_layers": 3,
            "num_attention_heads": 5,
            "max_position_embeddings": 64,
        }
        return FalconConfig(**{**shape, **changes})

    return config


def _bloom(**changes: Any) -> Callable[[], Any]:
    def config() -> Any:
        from transformers import BloomConfig

        return BloomConfig(
            **{"vocab_size": 83, "hidden_size": 42, "n_layer": 3, "n_head": 6} | changes
        )

    return config


def _neox(**changes: Any) -> Callable[[], Any]:
    def config() -> Any:
        from transformers import GPTNeoXConfig

        shape = {
            "vocab_size": 79,
            "hidden_size": 64,
            "intermediate_size": 75,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "max_position_embeddings": 64,
        }
        return GPTNeoXConfig(**{**shape, **changes})

    return config


_LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}

FORMS: tuple[Form, ...] = (
    Form("llama-multi-head", _llama(num_key_value_heads=6)),
    Form("llama-grouped-tied", _llama(tie_word_embeddings=True)),
    Form(
        "llama-multi-query-biases",
        _llama(num_key_value_heads=1, attention_bias=True, mlp_bias=True),
    ),
    Form("llama-head-dim-theta", _llama(head_dim=10, **rope("default", rope_theta=500_000.0))),
    Form("llama-rope-linear", _llama(**rope("linear", factor=4.0))),
    Form("llama-rope-dynamic", _llama(max_position_embeddings=16, **rope("dynamic", factor=4.0))),
    Form(
        "llama-rope-yarn", _llama(**rope("yarn", factor=4.0, original_max_position_embeddings=16))
    ),
    Form(
        "llama-rope-yarn-tuned",
        _llama(
            **rope(
                "yarn",
                factor=3.0,
                original_max_position_embeddings=16,
                beta_fast=16.0,
                beta_slow=2.0,
                attention_factor=1.3,
            )
        ),
    ),
    Form(
        "llama-rope-llama3",
        _llama(**rope("llama3", original_max_position_embeddings=16, **_LLAMA3)),
    ),
    Form("mistral-window", _mistral(sliding_window=9)),
    Form("mistral-window-1-of-1-layer", _mistral(sliding_window=1, num_hidden_layers=1)),
    Form("mistral-no-window", _mistral(sliding_window=None)),
    Form("mixtral-8x2", _mixtral()),
    Form(
        "mixtral-window-5x3", _mixtral(num_local_experts=5, num_experts_per_tok=3, sliding_window=7)
    ),
    Form("falcon-7b", _falcon(multi_query=True)),
    Form("falcon-7b-bias-untied", _falcon(multi_query=True, bias=True, tie_word_embeddings=False)),
    Form(
        "falcon-40b",
        _falcon(
            new_decoder_architecture=True, num_attention_heads=6, num_kv_heads=2, ffn_hidden_size=71
        ),
    ),
    Form(
        "falcon-180b-one-norm",
        _falcon(
            new_decoder_architecture=True,
            num_attention_heads=10,
            num_kv_heads=5,
            num_ln_in_parallel_attn=1,
            tie_word_embeddings=False,
        ),
    ),
    Form("falcon-7b-sequential", _falcon(multi_query=True, parallel_attn=False, bias=True)),
    Form("falcon-rw", _falcon(alibi=True, multi_query=False, parallel_attn=False, bias=True)),
    Form(
        "falcon-rw-12-heads",
        _falcon(
            alibi=True,
            multi_query=False,
            parallel_attn=False,
            bias=True,
            num_attention_heads=12,
            hidden_size=72,
        ),
    ),
    Form("bloom-6-heads", _bloom(), "eager"),
    Form(
        "bloom-8-heads-untied", _bloom(hidden_size=40, n_head=8, tie_word_embeddings=False), "eager"
    ),
    Form("pythia-parallel", _neox()),
    Form("gpt-neox-gelu-fast", _neox(hidden_act="gelu_fast")),
    Form("gpt-neox-sequential", _neox(use_parallel_residual=False)),
    Form(
        "gpt-neox-full-rotary-no-bias",
        _neox(
            attention_bias=False,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 20_000.0,
                "partial_rotary_factor": 1.0,
            },
        ),
    ),
    Form(
        "gpt-neox-rope-dynamic",
        _neox(
            max_position_embeddings=16,
            rope_parameters={
                "rope_type": "dynamic",
                "rope_theta": 10_000.0,
                "partial_rotary_factor": 0.5,
                "factor": 4.0,
            },
        ),
    ),
    Form(
        "gpt-neox-rope-linear",
        _neox(
            rope_parameters={
                "rope_type": "linear",
                "rope_theta": 10_000.0,
                "partial_rotary_factor": 0.5,
                "factor": 2.0,
            }
        ),
    ),
)
