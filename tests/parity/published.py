"""Published configs of real models, as their config.json spells them, with parameter counts."""

from __future__ import annotations

from typing import Any

from tests.parity import published_dense, published_mixtures

Config = dict[str, Any]
_NOTES: Config = {
    "transformers_version": "4.31.0",
    "use_cache": True,
    "initializer_range": 0.02,
    "torch_dtype": "float16",
}


def _llama(width: int, ffn: int, layers: int, heads: int, **changes: Any) -> Config:
    return {
        **_NOTES,
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": width,
        "intermediate_size": ffn,
        "max_position_embeddings": 4096,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": heads,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "vocab_size": 32000,
        **changes,
    }


def _llama3(width: int, ffn: int, layers: int, heads: int, **changes: Any) -> Config:
    more = {"num_key_value_heads": 8, "vocab_size": 128256, "rope_theta": 500000.0}
    return _llama(width, ffn, layers, heads, **{**more, **changes})


def _llama32(width: int, layers: int, heads: int, head_dim: int) -> Config:
    scaling = {
        "factor": 32.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    }
    return _llama3(
        width,
        8192,
        layers,
        heads,
        head_dim=head_dim,
        tie_word_embeddings=True,
        rope_scaling=scaling,
        attention_bias=False,
        attention_dropout=0.0,
        mlp_bias=False,
        max_position_embeddings=131072,
    )


def _mistral(**changes: Any) -> Config:
    return {
        **_llama(4096, 14336, 32, 32, num_key_value_heads=8, max_position_embeddings=32768),
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "rope_theta": 10000.0,
        "sliding_window": 4096,
        **changes,
    }


def _falcon(width: int, layers: int, heads: int, **changes: Any) -> Config:
    return {
        **_NOTES,
        "alibi": False,
        "apply_residual_connection_post_layernorm": False,
        "architectures": ["FalconForCausalLM"],
        "attention_dropout": 0.0,
        "auto_map": {"AutoModel": "modeling_falcon.FalconModel"},
        "bias": False,
        "bos_token_id": 11,
        "eos_token_id": 11,
        "hidden_dropout": 0.0,
        "hidden_size": width,
        "layer_norm_epsilon": 1e-05,
        "model_type": "falcon",
        "multi_query": True,
        "new_decoder_architecture": False,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "parallel_attn": True,
        "vocab_size": 65024,
        **changes,
    }


def _falcon_new(width: int, layers: int, heads: int, **changes: Any) -> Config:
    return _falcon(width, layers, heads, new_decoder_architecture=True, num_kv_heads=8, **changes)


def _bloom(width: int, layers: int, heads: int) -> Config:
    return {
        **_NOTES,
        "apply_residual_connection_post_layernorm": False,
        "architectures": ["BloomForCausalLM"],
        "attention_dropout": 0.0,
        "attention_softmax_in_fp32": True,
        "bias_dropout_fusion": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 3,
        "unk_token_id": 0,
        "hidden_dropout": 0.0,
        "layer_norm_epsilon": 1e-05,
        "masked_softmax_fusion": True,
        "model_type": "bloom",
        "n_embed": width,
        "n_inner": None,
        "n_layer": layers,
        "num_attention_heads": heads,
        "offset_alibi": 100,
        "pretraining_tp": 4,
        "seq_length": 2048,
        "skip_bias_add": True,
        "skip_bias_add_qkv": False,
        "slow_but_exact": False,
        "vocab_size": 250880,
    }


def _neox(width: int, layers: int, heads: int, vocab: int, **changes: Any) -> Config:
    return {
        **_NOTES,
        "architectures": ["GPTNeoXForCausalLM"],
        "bos_token_id": 0,
        "eos_token_id": 0,
        "hidden_act": "gelu",
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 2048,
        "model_type": "gpt_neox",
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "rotary_emb_base": 10000,
        "rotary_pct": 0.25,
        "tie_word_embeddings": False,
        "use_parallel_residual": True,
        "vocab_size": vocab,
        **changes,
    }


_MIXTRAL = {
    **_mistral(rope_theta=1e6, sliding_window=None),
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "attention_dropout": 0.0,
    "num_experts_per_tok": 2,
    "num_local_experts": 8,
    "output_router_logits": False,
    "router_aux_loss_coef": 0.02,
}

# name → (config, parameters)
PUBLISHED: dict[str, tuple[Config, int]] = {
    "LLaMA-7B": (_llama(4096, 11008, 32, 32, max_position_embeddings=2048), 6_738_415_616),
    "LLaMA-13B": (_llama(5120, 13824, 40, 40), 13_015_864_320),
    "LLaMA-33B": (_llama(6656, 17920, 60, 52), 32_528_943_616),
    "LLaMA-65B": (_llama(8192, 22016, 80, 64), 65_285_660_672),
    "Llama-2-70B": (_llama(8192, 28672, 80, 64, num_key_value_heads=8), 68_976_648_192),
    "Llama-3-8B": (_llama3(4096, 14336, 32, 32), 8_030_261_248),
    "Llama-3-70B": (_llama3(8192, 28672, 80, 64), 70_553_706_496),
    "Llama-3.1-405B": (_llama3(16384, 53248, 126, 128), 405_853_388_800),
    "Llama-3.2-1B": (_llama32(2048, 16, 32, 64), 1_235_814_400),
    "Llama-3.2-3B": (_llama32(3072, 28, 24, 128), 3_212_749_824),
    "Mistral-7B-v0.1": (_mistral(), 7_241_732_096),
    "Mistral-7B-v0.3": (
        _mistral(vocab_size=32768, sliding_window=None, rope_theta=1e6),
        7_248_023_552,
    ),
    "Mixtral-8x7B": (_MIXTRAL, 46_702_792_704),
    "Falcon-7B": (_falcon(4544, 32, 71), 6_921_720_704),
    "Falcon-7B, its own head": (
        _falcon(4544, 32, 71, tie_word_embeddings=False),
        7_217_189_760,
    ),
    "Falcon-40B": (_falcon_new(8192, 60, 128), 41_303_293_952),
    "Falcon-180B, tied": (_falcon_new(14848, 80, 232), 178_557_088_768),
    "Falcon-180B": (
        _falcon_new(14848, 80, 232, tie_word_embeddings=False),
        179_522_565_120,
    ),
    "BLOOM-560m": (_bloom(1024, 24, 16), 559_214_592),
    "BLOOM-7b1": (_bloom(4096, 30, 32), 7_069_016_064),
    "BLOOM-176B": (_bloom(14336, 70, 112), 176_247_271_424),
    "GPT-NeoX-20B": (_neox(6144, 44, 64, 50432, hidden_act="gelu_fast"), 20_554_567_680),
    "Pythia-70m": (_neox(512, 6, 8, 50304), 70_426_624),
    "Pythia-160m": (_neox(768, 12, 12, 50304), 162_322_944),
    "Pythia-410m": (_neox(1024, 24, 16, 50304), 405_334_016),
    "Pythia-1b": (_neox(2048, 16, 8, 50304), 1_011_781_632),
    "Pythia-1.4b": (_neox(2048, 24, 16, 50304), 1_414_647_808),
    "Pythia-2.8b": (_neox(2560, 32, 32, 50304), 2_775_208_960),
    "Pythia-6.9b": (_neox(4096, 32, 32, 50432), 6_857_302_016),
    "Pythia-12b": (_neox(5120, 36, 40, 50688), 11_846_072_320),
    **published_dense.PUBLISHED,
    **published_mixtures.PUBLISHED,
}
