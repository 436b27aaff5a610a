"""Families of before LLaMA: GPT-2, GPT-J, GPT-Neo, MPT, OPT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.parity.forms.form import Form


def _gpt2(**changes: Any) -> Callable[[], Any]:
    def config() -> Any:
        from transformers import GPT2Config

        shape = {"vocab_size": 91, "n_positions": 64, "n_embd": 42, "n_layer": 3, "n_head": 6}
        return GPT2Config(**{**shape, "bos_token_id": 0, "eos_token_id": 0, **changes})

    return config


def _gptj(**changes: Any) -> Callable[[], Any]:
    def config() -> Any:
        from transformers import GPTJConfig

        shape = {
            "vocab_size": 93,
            "n_positions": 64,
            "n_embd": 50,
            "n_layer": 3,
            "n_head": 5,
            "rotary_dim": 6,
        }
        return GPTJConfig(**{**shape, "bos_token_id": 0, "eos_token_id": 0, **changes})

    return config


def _neo(**changes: Any) -> Callable[[], Any]:
    def config() -> Any:
        from transformers import GPTNeoConfig

        shape = {
            "vocab_size": 87,
            "max_position_embeddings": 64,
            "hidden_size": 44,
            "num_layers": 3,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1], [["local"], 1]],
            "window_size": 9,
        }
        return GPTNeoConfig(**{**shape, "bos_token_id": 0, "eos_token_id": 0, **changes})

    return config


def _mpt(attn: dict[str, Any] | None = None, **changes: Any) -> Callable[[], Any]:
    def config() -> Any:
        from transformers import MptConfig

        shape = {"vocab_size": 85, "d_model": 40, "n_heads": 4, "n_layers": 3, "max_seq_len": 64}
        return MptConfig(**{**shape, "attn_config": attn or {}, **changes})

    return config


def _opt(**changes: Any) -> Callable[[], Any]:
    def config() -> Any:
        from transformers import OPTConfig

        shape = {
            "vocab_size": 95,
            "hidden_size": 40,
            "num_hidden_layers": 3,
            "ffn_dim": 53,
            "max_position_embeddings": 64,
            "num_attention_heads": 5,
        }
        return OPTConfig(**{**shape, **changes})

    return config


_OPT_350M = {"do_layer_norm_before": False, "word_embed_proj_dim": 24}

FORMS: tuple[Form, ...] = (
    Form("gpt2-6-heads", _gpt2()),
    Form(
        "gpt2-untied-inner-relu",
        _gpt2(tie_word_embeddings=False, n_inner=71, activation_function="relu"),
    ),
    Form("gpt2-scale-by-layer", _gpt2(scale_attn_by_inverse_layer_idx=True)),
    # The reference reorders and widens on its eager path alone.
    Form(
        "gpt2-unscaled-upcast",
        _gpt2(scale_attn_weights=False, reorder_and_upcast_attn=True),
        "eager",
    ),
    Form("gptj-partial-rotary", _gptj(), "eager"),
    Form(
        "gptj-full-rotary-tied-inner",
        _gptj(rotary_dim=10, tie_word_embeddings=True, n_inner=73),
        "eager",
    ),
    Form("gpt-neo-global-and-local", _neo(), "eager"),
    Form(
        "gpt-neo-local-untied",
        _neo(
            attention_types=[[["local"], 3]],
            tie_word_embeddings=False,
            intermediate_size=51,
            window_size=5,
        ),
        "eager",
    ),
    Form("mpt-4-heads", _mpt(), "eager"),
    Form("mpt-6-heads-clipped", _mpt({"clip_qkv": 0.6}, d_model=42, n_heads=6), "eager"),
    Form(
        "mpt-softmax-scale-untied",
        _mpt({"softmax_scale": 0.2}, n_heads=5, tie_word_embeddings=False),
        "eager",
    ),
    Form("opt-norm-before", _opt()),
    Form("opt-350m", _opt(**_OPT_350M)),
    Form("opt-350m-untied", _opt(**_OPT_350M, tie_word_embeddings=False)),
    Form("opt-no-last-norm", _opt(_remove_final_layer_norm=True)),
    Form(
        "opt-galactica",
        _opt(enable_bias=False, layer_norm_elementwise_affine=False, activation_function="gelu"),
    ),
)
