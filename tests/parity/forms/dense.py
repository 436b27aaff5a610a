"""The dense families of today: Qwen, Gemma, Phi-3, OLMo, SmolLM3, Granite, StarCoder2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.parity.forms.form import Form, rope

_SHAPE = {
    "vocab_size": 91,
    "hidden_size": 40,
    "intermediate_size": 53,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    # The published ids lie beyond a vocabulary of this size.
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
}


def _made(name: str, **changes: Any) -> Callable[[], Any]:
    """Return what makes the reference's config of that class, tiny."""

    def config() -> Any:
        import transformers

        return getattr(transformers, name)(**{**_SHAPE, **changes})

    return config


def _gemma3_pictures() -> Any:
    """A model that sees pictures as well; its text part says only what differs from the class."""
    import transformers

    vision = {
        "model_type": "siglip_vision_model",
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    text = {
        **_SHAPE,
        "num_hidden_layers": 3,
        "head_dim": 10,
        "sliding_window": 7,
        "sliding_window_pattern": 2,
        "query_pre_attn_scalar": 12,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    }
    return transformers.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)


_LONG = {
    "max_position_embeddings": 64,
    "original_max_position_embeddings": 24,
    **rope(
        "longrope",
        short_factor=[1.0, 1.1, 1.3, 1.4, 1.6],
        long_factor=[1.0, 2.0, 4.5, 7.0, 11.0],
    ),
}
_KINDS = ["full_attention", "sliding_attention", "full_attention"]

FORMS: tuple[Form, ...] = (
    Form("qwen2-tied", _made("Qwen2Config", tie_word_embeddings=True)),
    Form(
        "qwen2-upper-windows",
        _made(
            "Qwen2Config",
            num_hidden_layers=3,
            num_key_value_heads=1,
            use_sliding_window=True,
            sliding_window=9,
            max_window_layers=1,
        ),
    ),
    Form(
        "qwen2-rope-yarn",
        _made("Qwen2Config", **rope("yarn", factor=4.0, original_max_position_embeddings=16)),
    ),
    Form("qwen3-tied", _made("Qwen3Config", head_dim=14, tie_word_embeddings=True)),
    Form(
        "qwen3-layer-types-biases",
        _made(
            "Qwen3Config",
            num_hidden_layers=3,
            num_attention_heads=6,
            head_dim=8,
            attention_bias=True,
            use_sliding_window=True,
            sliding_window=11,
            layer_types=_KINDS,
        ),
    ),
    Form("gemma-multi-query", _made("GemmaConfig", num_key_value_heads=1, head_dim=16)),
    Form(
        "gemma-biases-untied",
        _made(
            "GemmaConfig",
            num_key_value_heads=4,
            head_dim=8,
            attention_bias=True,
            tie_word_embeddings=False,
        ),
    ),
    # The library's kernels know no soft cap; its own class refuses them.
    Form(
        "gemma2",
        _made(
            "Gemma2Config",
            num_hidden_layers=3,
            head_dim=12,
            query_pre_attn_scalar=9,
            sliding_window=8,
            attn_logit_softcapping=3.0,
            final_logit_softcapping=5.0,
        ),
        "eager",
    ),
    Form(
        "gemma2-no-caps-layer-types",
        _made(
            "Gemma2Config",
            num_hidden_layers=3,
            head_dim=8,
            sliding_window=10,
            layer_types=_KINDS,
            attn_logit_softcapping=None,
            final_logit_softcapping=None,
        ),
        "eager",
    ),
    Form(
        "gemma3-text",
        _made(
            "Gemma3TextConfig",
            num_hidden_layers=4,
            num_key_value_heads=1,
            head_dim=14,
            sliding_window=6,
            sliding_window_pattern=3,
            query_pre_attn_scalar=20,
        ),
    ),
    Form(
        "gemma3-text-rope-linear-capped",
        _made(
            "Gemma3TextConfig",
            num_hidden_layers=3,
            head_dim=10,
            sliding_window=7,
            layer_types=_KINDS,
            final_logit_softcapping=4.0,
            rope_parameters={
                "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 50_000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 800.0},
            },
        ),
    ),
    Form("gemma3-pictures", _gemma3_pictures),
    Form("phi3-window", _made("Phi3Config", num_key_value_heads=4, sliding_window=9)),
    # Of the sequences, three lie beyond the original context and one within.
    Form("phi3-longrope", _made("Phi3Config", **_LONG)),
    Form(
        "phi4-partial-longrope-tied",
        _made(
            "Phi3Config",
            **{
                **_LONG,
                "hidden_size": 56,
                "tie_word_embeddings": True,
                "rope_parameters": {**_LONG["rope_parameters"], "partial_rotary_factor": 0.75},
            },
        ),
    ),
    Form("olmo", _made("OlmoConfig", num_key_value_heads=4)),
    Form(
        "olmo-clipped-tied-biases",
        _made("OlmoConfig", clip_qkv=0.6, tie_word_embeddings=True, attention_bias=True),
    ),
    Form("olmo2", _made("Olmo2Config")),
    Form(
        "olmo2-multi-query-rope-linear",
        _made(
            "Olmo2Config",
            num_key_value_heads=1,
            attention_bias=True,
            **rope("linear", factor=4.0),
        ),
    ),
    Form("smollm3", _made("SmolLM3Config", num_hidden_layers=4)),
    Form(
        "smollm3-listed-windows-biases",
        _made(
            "SmolLM3Config",
            num_hidden_layers=3,
            num_key_value_heads=1,
            no_rope_layers=[0, 1, 0],
            use_sliding_window=True,
            sliding_window=9,
            attention_bias=True,
            mlp_bias=True,
            tie_word_embeddings=False,
        ),
    ),
    Form(
        "granite",
        _made(
            "GraniteConfig",
            embedding_multiplier=3.0,
            residual_multiplier=0.22,
            attention_multiplier=0.21,
            logits_scaling=1.7,
            tie_word_embeddings=True,
        ),
    ),
    Form(
        "granite-biases-untied",
        _made(
            "GraniteConfig",
            num_key_value_heads=1,
            attention_multiplier=0.3,
            attention_bias=True,
            mlp_bias=True,
        ),
    ),
    Form("starcoder2-window", _made("Starcoder2Config", sliding_window=9)),
    Form(
        "starcoder2-no-biases-untied",
        _made("Starcoder2Config", use_bias=False, tie_word_embeddings=False),
    ),
)
