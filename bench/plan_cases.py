"""The cases of bench/plan.py: random checkpoints of several families, forms and uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from puna.families import read_config
from puna.plan import Serve, Tune
from puna.spec import count_parameters

_SHAPES: dict[str, dict[str, Any]] = {
    "llama": {
        "intermediate_size": 5632,
        "num_key_value_heads": 8,
        "max_position_embeddings": 32768,
    },
    "mistral": {"intermediate_size": 5632, "num_key_value_heads": 4, "sliding_window": 1024},
    "mixtral": {
        "hidden_size": 1024,
        "intermediate_size": 2048,
        "num_key_value_heads": 8,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
        "sliding_window": None,
    },
    "falcon": {"new_decoder_architecture": True, "num_kv_heads": 8, "alibi": False},
    "bloom": {"vocab_size": 32768, "n_head": 16},
    "gpt_neox": {"intermediate_size": 8192, "use_parallel_residual": True},
    "gemma2": {
        "intermediate_size": 8192,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "query_pre_attn_scalar": 128,
        "sliding_window": 1024,
        "vocab_size": 65536,
        "tie_word_embeddings": True,
    },
    "qwen3": {"intermediate_size": 6144, "num_key_value_heads": 8, "head_dim": 128},
    "deepseek_v2": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "moe_intermediate_size": 704,
        "num_key_value_heads": 16,
        "n_routed_experts": 32,
        "n_shared_experts": 2,
        "num_experts_per_tok": 6,
        "first_k_dense_replace": 1,
        "kv_lora_rank": 256,
        "q_lora_rank": 512,
        "qk_nope_head_dim": 64,
        "qk_rope_head_dim": 32,
        "v_head_dim": 64,
        "topk_method": "greedy",
    },
    "gpt_oss": {
        "hidden_size": 1024,
        "intermediate_size": 1024,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "num_local_experts": 16,
        "num_experts_per_tok": 4,
        "sliding_window": 128,
    },
}


@dataclass(frozen=True)
class Case:
    """A checkpoint and what is done with it.

    `gigabytes` (10⁹ bytes) of weights in bfloat16; `form` is safetensors, bin, bin-legacy or the
    type of a GGUF file; `stored` the dtype in the file.
    """

    family: str
    use: Serve | Tune
    form: str = "safetensors"
    stored: str = "bfloat16"
    dtype: str = "auto"
    gigabytes: float = 0.4


def config_of(family: str, gigabytes: float) -> dict[str, Any]:
    """Return a config with as many layers as reach `gigabytes` in bfloat16."""
    shape: dict[str, Any] = {
        "model_type": family,
        "vocab_size": 4096,
        "hidden_size": 2048,
        "num_attention_heads": 16,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": False,
        "dtype": "bfloat16",
    }
    shape |= _SHAPES[family]
    if family == "bloom":
        shape["n_embed"] = shape.pop("hidden_size")
    for layers in range(1, 1000):
        config = _whole({**shape, "num_hidden_layers": layers, "n_layer": layers})
        if 2 * count_parameters(read_config(config)) >= gigabytes * 1e9:
            return config
    raise ValueError(f"{gigabytes} GB are too many")


def _whole(shape: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config that the reference library makes of a shape."""
    from transformers import AutoConfig

    known = dict(shape)
    drop = "num_hidden_layers" if known["model_type"] == "bloom" else "n_layer"
    del known[drop]
    config: dict[str, Any] = AutoConfig.for_model(**known).to_dict()
    return config


_LONG = Serve(4096, 1)
_MANY = Serve(1024, 8)
_LORA = Tune("lora", 512, 1024)

# A first set, on which the figures of puna.plan.calibrated rest.
FITTED = {
    "llama, one long prompt": Case("llama", _LONG),
    "llama, tuned": Case("llama", _LORA),
    "mixtral, eight at once": Case("mixtral", _MANY),
    "mixtral, tuned": Case("mixtral", _LORA),
    "gemma2, one long prompt": Case("gemma2", _LONG),
    "deepseek-v2, eight at once": Case("deepseek_v2", Serve(512, 8)),
    "gpt-oss, one long prompt": Case("gpt_oss", Serve(2048, 1)),
}

# Cases that no figure was chosen by.
OTHERS = {
    "llama, eight at once": Case("llama", _MANY),
    "llama from float32, tuned": Case("llama", _LORA, stored="float32", dtype="float32"),
    "mistral, one long prompt": Case("mistral", _LONG),
    "falcon, .bin, tuned": Case("falcon", Tune("lora", 256, 1024), form="bin"),
    "bloom, eight at once": Case("bloom", Serve(1024, 8)),
    "bloom, tuned": Case("bloom", Tune("lora", 512, 1024)),
    "gpt-neox, one long prompt": Case("gpt_neox", Serve(2048, 1)),
    "gpt-neox, tuned": Case("gpt_neox", _LORA),
    "gemma2, tuned": Case("gemma2", _LORA),
    "qwen3, sixteen at once": Case("qwen3", Serve(512, 16)),
    "qwen3, tuned": Case("qwen3", Tune("lora", 1024, 2048)),
    "deepseek-v2, tuned": Case("deepseek_v2", Tune("lora", 256, 512)),
    "llama from float32 as bfloat16": Case("llama", _LONG, stored="float32", dtype="bfloat16"),
    "llama, .bin of the old kind": Case("llama", _MANY, form="bin-legacy"),
    "llama, GGUF Q8_0": Case("llama", _LONG, form="q8_0"),
    "llama, GGUF F16": Case("llama", _MANY, form="f16"),
    "llama, 1 GB, 8192 tokens": Case("llama", Serve(8192, 1), gigabytes=1.05),
    "llama, 32,768 tokens": Case("llama", Serve(32768, 1), gigabytes=0.2),
    "qwen3, keys and values in 8 bits": Case("qwen3", Serve(4096, 8, cache="int8")),
    "llama, rank 64 of q and v": Case("llama", Tune("lora", 512, 1024, 64, ("q_proj", "v_proj"))),
}

CASES = FITTED | OTHERS

# Two that the tests measure; they are no rows of the page.
SMALL = {
    "llama, small": Case("llama", Serve(1024, 2), gigabytes=0.3),
    "falcon, small, tuned": Case("falcon", Tune("lora", 128, 256), gigabytes=0.3),
}
