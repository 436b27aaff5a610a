"""Published configs of the dense families of today, as their config.json spells them."""

from __future__ import annotations

from typing import Any

Config = dict[str, Any]
_NOTES: Config = {
    "attention_dropout": 0.0,
    "initializer_range": 0.02,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.46.0",
    "use_cache": True,
}


def _shape(width: int, ffn: int, layers: int, heads: int, kv_heads: int, vocab: int) -> Config:
    return {
        **_NOTES,
        "hidden_size": width,
        "intermediate_size": ffn,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocab,
    }


def _qwen2(*shape: int, **changes: Any) -> Config:
    return {
        **_shape(*shape),
        "architectures": ["Qwen2ForCausalLM"],
        "bos_token_id": 151643,
        "eos_token_id": 151643,
        "hidden_act": "silu",
        "max_position_embeddings": 32768,
        "max_window_layers": 24,
        "model_type": "qwen2",
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "sliding_window": 32768,
        "tie_word_embeddings": False,
        "use_mrope": False,
        "use_sliding_window": False,
        **changes,
    }


def _qwen3(*shape: int, tied: bool) -> Config:
    return {
        **_shape(*shape),
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        "head_dim": 128,
        "hidden_act": "silu",
        "max_position_embeddings": 40960,
        "max_window_layers": shape[2],
        "model_type": "qwen3",
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "sliding_window": None,
        "tie_word_embeddings": tied,
        "use_sliding_window": False,
    }


_GEMMA_IDS: Config = {
    "attention_bias": False,
    "bos_token_id": 2,
    "eos_token_id": 1,
    "pad_token_id": 0,
    "rms_norm_eps": 1e-06,
}


def _gemma(*shape: int, **changes: Any) -> Config:
    return {
        **_shape(*shape),
        **_GEMMA_IDS,
        "architectures": ["GemmaForCausalLM"],
        "head_dim": 256,
        "hidden_act": "gelu",
        "max_position_embeddings": 8192,
        "model_type": "gemma",
        "rope_scaling": None,
        "rope_theta": 10000.0,
        **changes,
    }


def _gemma2(*shape: int, **changes: Any) -> Config:
    return {
        **_shape(*shape),
        **_GEMMA_IDS,
        "architectures": ["Gemma2ForCausalLM"],
        "attn_logit_softcapping": 50.0,
        "cache_implementation": "hybrid",
        "final_logit_softcapping": 30.0,
        "head_dim": 256,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": 8192,
        "model_type": "gemma2",
        "query_pre_attn_scalar": 256,
        "rope_theta": 10000.0,
        "sliding_window": 4096,
        **changes,
    }


_GEMMA3_1B: Config = {
    **_shape(1152, 6912, 26, 4, 1, 262144),
    **_GEMMA_IDS,
    "architectures": ["Gemma3ForCausalLM"],
    "attn_logit_softcapping": None,
    "cache_implementation": "hybrid",
    "final_logit_softcapping": None,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "max_position_embeddings": 32768,
    "model_type": "gemma3_text",
    "query_pre_attn_scalar": 256,
    "rope_local_base_freq": 10000,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": 512,
    "sliding_window_pattern": 6,
}


# The newer spelling: each layer's kind is listed, and the pattern stands there unread.
_GEMMA3_270M: Config = {
    **{key: value for key, value in _GEMMA3_1B.items() if key != "sliding_window_pattern"},
    **_shape(640, 2048, 18, 4, 1, 262144),
    "_sliding_window_pattern": 6,
    "layer_types": ([*["sliding_attention"] * 5, "full_attention"]) * 3,
    "rope_local_base_freq": 10000.0,
    "rope_theta": 1000000.0,
    "use_bidirectional_attention": False,
}


def _gemma3_pictures(**text: Any) -> Config:
    """The models that see pictures say of their text part only what differs from the class."""
    return {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "boi_token_index": 255999,
        "eoi_token_index": 256000,
        "eos_token_id": [1, 106],
        "image_token_index": 262144,
        "initializer_range": 0.02,
        "mm_tokens_per_image": 256,
        "model_type": "gemma3",
        "text_config": {
            "model_type": "gemma3_text",
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            "sliding_window": 1024,
            **text,
        },
        "torch_dtype": "bfloat16",
        "transformers_version": "4.50.0.dev0",
        "vision_config": {
            "hidden_size": 1152,
            "image_size": 896,
            "intermediate_size": 4304,
            "model_type": "siglip_vision_model",
            "num_attention_heads": 16,
            "num_hidden_layers": 27,
            "patch_size": 14,
            "vision_use_head": False,
        },
    }


def _phi3(*shape: int, **changes: Any) -> Config:
    return {
        **_shape(*shape),
        "architectures": ["Phi3ForCausalLM"],
        "attention_bias": False,
        "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"},
        "bos_token_id": 1,
        "embd_pdrop": 0.0,
        "eos_token_id": 32000,
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "model_type": "phi3",
        "original_max_position_embeddings": 4096,
        "pad_token_id": 32000,
        "resid_pdrop": 0.0,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "sliding_window": 2047,
        "tie_word_embeddings": False,
        **changes,
    }


def _longrope(pairs: int, **changes: Any) -> Config:
    """A long context; the published divisors are as many numbers as these, and other ones."""
    return {
        "max_position_embeddings": 131072,
        "rope_scaling": {
            "long_factor": [1.0 + i / 2 for i in range(pairs)],
            "short_factor": [1.0 + i / 100 for i in range(pairs)],
            "type": "longrope",
        },
        "sliding_window": 262144,
        **changes,
    }


def _olmo(*shape: int, **changes: Any) -> Config:
    return {
        **_shape(*shape),
        "architectures": ["OlmoForCausalLM"],
        "attention_bias": False,
        "clip_qkv": None,
        "eos_token_id": 50279,
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "model_type": "olmo",
        "pad_token_id": 1,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        **changes,
    }


def _olmo2(*shape: int) -> Config:
    return {
        **_shape(*shape),
        "architectures": ["Olmo2ForCausalLM"],
        "attention_bias": False,
        "eos_token_id": 100257,
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "model_type": "olmo2",
        "pad_token_id": 100277,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 500000,
        "tie_word_embeddings": False,
    }


_SMOLLM3: Config = {
    **_shape(2048, 11008, 36, 16, 4, 128256),
    "architectures": ["SmolLM3ForCausalLM"],
    "attention_bias": False,
    "bos_token_id": None,
    "eos_token_id": 128012,
    "hidden_act": "silu",
    "max_position_embeddings": 65536,
    "max_window_layers": 28,
    "mlp_bias": False,
    "model_type": "smollm3",
    "layer_types": ["full_attention"] * 36,
    "no_rope_layer_interval": 4,
    "no_rope_layers": [1, 1, 1, 0] * 9,
    "pad_token_id": 128004,
    "pretraining_tp": 2,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 5000000.0,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
}


def _granite(*shape: int, **changes: Any) -> Config:
    return {
        **_shape(*shape),
        "architectures": ["GraniteForCausalLM"],
        "attention_bias": False,
        "attention_multiplier": 0.015625,
        "bos_token_id": 0,
        "embedding_multiplier": 12.0,
        "eos_token_id": 0,
        "hidden_act": "silu",
        "logits_scaling": 8.0,
        "max_position_embeddings": 131072,
        "mlp_bias": False,
        "model_type": "granite",
        "pad_token_id": 0,
        "residual_multiplier": 0.22,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "rope_theta": 5000000.0,
        "tie_word_embeddings": True,
        **changes,
    }


def _starcoder2(*shape: int, **changes: Any) -> Config:
    return {
        **_shape(*shape),
        "architectures": ["Starcoder2ForCausalLM"],
        "bos_token_id": 0,
        "embedding_dropout": 0.1,
        "eos_token_id": 0,
        "hidden_act": "gelu_pytorch_tanh",
        "max_position_embeddings": 16384,
        "mlp_type": "default",
        "model_type": "starcoder2",
        "norm_epsilon": 1e-05,
        "norm_type": "layer_norm",
        "residual_dropout": 0.1,
        "rope_theta": 999999.4420358813,
        "sliding_window": 4096,
        "use_bias": True,
        **changes,
    }


# name → (config, parameters)
PUBLISHED: dict[str, tuple[Config, int]] = {
    "Qwen2.5-0.5B": (_qwen2(896, 4864, 24, 14, 2, 151936, tie_word_embeddings=True), 494_032_768),
    "Qwen2.5-1.5B": (
        _qwen2(1536, 8960, 28, 12, 2, 151936, tie_word_embeddings=True),
        1_543_714_304,
    ),
    "Qwen2.5-7B": (_qwen2(3584, 18944, 28, 28, 4, 152064), 7_615_616_512),
    "Qwen2.5-72B": (_qwen2(8192, 29568, 80, 64, 8, 152064, max_window_layers=80), 72_706_203_648),
    "Qwen3-0.6B": (_qwen3(1024, 3072, 28, 16, 8, 151936, tied=True), 596_049_920),
    "Qwen3-4B": (_qwen3(2560, 9728, 36, 32, 8, 151936, tied=True), 4_022_468_096),
    "Qwen3-8B": (_qwen3(4096, 12288, 36, 32, 8, 151936, tied=False), 8_190_735_360),
    "Qwen3-32B": (_qwen3(5120, 25600, 64, 64, 8, 151936, tied=False), 32_762_123_264),
    "Gemma-2b": (_gemma(2048, 16384, 18, 8, 1, 256000), 2_506_172_416),
    "Gemma-7b": (_gemma(3072, 24576, 28, 16, 16, 256000), 8_537_680_896),
    "Gemma-2-2b": (_gemma2(2304, 9216, 26, 8, 4, 256000), 2_614_341_888),
    "Gemma-2-9b": (
        _gemma2(3584, 14336, 42, 16, 8, 256000, sliding_window_size=4096),
        9_241_705_984,
    ),
    "Gemma-2-27b": (
        _gemma2(4608, 36864, 46, 32, 16, 256000, head_dim=128, query_pre_attn_scalar=144),
        27_227_128_320,
    ),
    "Gemma-3-270m": (_GEMMA3_270M, 268_098_176),
    "Gemma-3-1b": (_GEMMA3_1B, 999_885_952),
    "Gemma-3-4b, its text part": (
        _gemma3_pictures(hidden_size=2560, intermediate_size=10240, num_hidden_layers=34),
        3_880_263_168,
    ),
    "Gemma-3-12b, its text part": (
        _gemma3_pictures(
            hidden_size=3840,
            intermediate_size=15360,
            num_attention_heads=16,
            num_hidden_layers=48,
            num_key_value_heads=8,
        ),
        11_766_034_176,
    ),
    "Gemma-3-27b, its text part": (
        _gemma3_pictures(
            head_dim=128,
            hidden_size=5376,
            intermediate_size=21504,
            num_attention_heads=32,
            num_hidden_layers=62,
            num_key_value_heads=16,
            query_pre_attn_scalar=168,
        ),
        27_009_346_304,
    ),
    "Phi-3-mini-4k": (_phi3(3072, 8192, 32, 32, 32, 32064), 3_821_079_552),
    "Phi-3.5-mini": (_phi3(3072, 8192, 32, 32, 32, 32064, **_longrope(48)), 3_821_079_552),
    "Phi-3-medium-4k": (_phi3(5120, 17920, 40, 40, 10, 32064), 13_960_238_080),
    "Phi-4": (
        _phi3(
            5120,
            17920,
            40,
            40,
            10,
            100352,
            max_position_embeddings=16384,
            original_max_position_embeddings=16384,
            rope_theta=250000,
            sliding_window=None,
        ),
        14_659_507_200,
    ),
    "Phi-4-mini": (
        _phi3(
            3072,
            8192,
            32,
            24,
            8,
            200064,
            **_longrope(48, partial_rotary_factor=0.75, tie_word_embeddings=True),
            full_attn_mod=1,
            interpolate_factor=1,
            lm_head_bias=False,
            mlp_bias=False,
        ),
        3_836_021_760,
    ),
    "OLMo-1B": (_olmo(2048, 8192, 16, 16, 16, 50304, tie_word_embeddings=True), 1_176_764_416),
    "OLMo-7B": (_olmo(4096, 11008, 32, 32, 32, 50304), 6_888_095_744),
    "OLMo-2-7B": (_olmo2(4096, 11008, 32, 32, 32, 100352), 7_298_617_344),
    "OLMo-2-13B": (_olmo2(5120, 13824, 40, 40, 40, 100352), 13_716_198_400),
    "SmolLM3-3B": (_SMOLLM3, 3_075_098_624),
    "Granite-3.1-2b": (_granite(2048, 8192, 40, 32, 8, 49155), 2_533_531_648),
    "Granite-3.3-8b": (
        _granite(
            4096,
            12800,
            40,
            32,
            8,
            49159,
            attention_multiplier=0.0078125,
            logits_scaling=16.0,
            rope_theta=10000000.0,
        ),
        8_170_864_640,
    ),
    "StarCoder2-3b": (_starcoder2(3072, 12288, 30, 24, 2, 49152), 3_030_371_328),
}
