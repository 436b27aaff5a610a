"""Mixtures of experts with many small ones: Qwen3-MoE, gpt-oss, DeepSeek-V2 and V3."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.parity.forms.form import Form, rope


def _qwen3(**changes: Any) -> Callable[[], Any]:
    def config() -> Any:
        from transformers import Qwen3MoeConfig

        shape = {
            "vocab_size": 103,
            "hidden_size": 40,
            "intermediate_size": 53,
            "moe_intermediate_size": 20,
            "num_hidden_layers": 3,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "head_dim": 14,
            "max_position_embeddings": 64,
            "num_experts": 7,
            "num_experts_per_tok": 3,
            "norm_topk_prob": True,
        }
        return Qwen3MoeConfig(**{**shape, **changes})

    return config


def _oss(**changes: Any) -> Callable[[], Any]:
    def config() -> Any:
        from transformers import GptOssConfig

        shape = {
            "vocab_size": 99,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "head_dim": 10,
            "max_position_embeddings": 64,
            "num_local_experts": 5,
            "num_experts_per_tok": 2,
            "sliding_window": 9,
            "swiglu_limit": 0.7,
            "pad_token_id": None,
        }
        settings = rope("yarn", factor=8.0, original_max_position_embeddings=16, truncate=False)
        return GptOssConfig(**{**shape, **settings, **changes})

    return config


def _to_mxfp4(folder: Path) -> None:
    """Put random blocks and scales in the place of the experts' matrices."""
    import torch
    from safetensors.torch import load_file, save_file

    generator = torch.Generator().manual_seed(3)
    tensors = load_file(folder / "model.safetensors")
    for name in [n for n in tensors if n.endswith(("gate_up_proj", "down_proj"))]:
        experts, inputs, outputs = tensors.pop(name).shape
        shape = (experts, outputs, inputs // 32)
        tensors[f"{name}_blocks"] = torch.randint(
            256, (*shape, 16), generator=generator, dtype=torch.uint8
        )
        tensors[f"{name}_scales"] = torch.randint(
            121, 126, shape, generator=generator, dtype=torch.uint8
        )
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {
        "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router"],
        "quant_method": "mxfp4",
    }
    (folder / "config.json").write_text(json.dumps(config))


_MLA = {
    "hidden_size": 40,
    "intermediate_size": 53,
    "moe_intermediate_size": 20,
    "num_hidden_layers": 3,
    "num_attention_heads": 5,
    "num_key_value_heads": 5,
    "q_lora_rank": 22,
    "kv_lora_rank": 18,
    "qk_rope_head_dim": 6,
    "qk_nope_head_dim": 10,
    "v_head_dim": 12,
    "max_position_embeddings": 64,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "first_k_dense_replace": 1,
    "pad_token_id": None,
}


def _v2(**changes: Any) -> Callable[[], Any]:
    def config() -> Any:
        from transformers import DeepseekV2Config

        shape = {**_MLA, "vocab_size": 107, "n_shared_experts": 2, "routed_scaling_factor": 1.7}
        return DeepseekV2Config(**{**shape, **changes})

    return config


def _v3(**changes: Any) -> Callable[[], Any]:
    def config() -> Any:
        from transformers import DeepseekV3Config

        shape = {**_MLA, "vocab_size": 109, "n_shared_experts": 1, "n_group": 4, "topk_group": 2}
        return DeepseekV3Config(**{**shape, **changes})

    return config


_LIMITED = {"topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2}
_YARN = rope(
    "yarn", factor=4.0, original_max_position_embeddings=16, mscale=0.707, mscale_all_dim=0.707
)
_YARN_V3 = rope(
    "yarn", factor=4.0, original_max_position_embeddings=16, mscale=1.0, mscale_all_dim=0.8
)

FORMS: tuple[Form, ...] = (
    Form("qwen3-moe", _qwen3()),
    Form(
        "qwen3-moe-some-dense-unnormalized",
        _qwen3(mlp_only_layers=[1], norm_topk_prob=False, tie_word_embeddings=True),
    ),
    Form("qwen3-moe-every-other-bias", _qwen3(decoder_sparse_step=2, attention_bias=True)),
    Form("qwen3-moe-window", _qwen3(use_sliding_window=True, sliding_window=7)),
    # The reference has no SDPA path with sinks.
    Form("gpt-oss", _oss(), "eager"),
    Form(
        "gpt-oss-windows-last-no-bias",
        _oss(
            layer_types=["full_attention", "full_attention", "sliding_attention"],
            attention_bias=False,
            sliding_window=5,
            tie_word_embeddings=True,
        ),
        "eager",
    ),
    Form("gpt-oss-mxfp4", _oss(), "eager", repack=_to_mxfp4),
    Form("deepseek-v2-greedy", _v2()),
    Form("deepseek-v2-lite-yarn", _v2(q_lora_rank=None, **_YARN)),
    Form("deepseek-v2-group-limited", _v2(**_LIMITED)),
    Form("deepseek-v2-biases", _v2(attention_bias=True, mlp_bias=True, first_k_dense_replace=0)),
    Form("deepseek-v3-groups", _v3(), experts=8),
    Form(
        "deepseek-v3-yarn-one-group",
        _v3(
            n_group=1,
            topk_group=1,
            norm_topk_prob=False,
            **_YARN_V3,
        ),
        experts=8,
    ),
    Form(
        "deepseek-v3-half-rotary-no-q-rank",
        _v3(rope_interleave=False, q_lora_rank=None, attention_bias=True),
        experts=8,
    ),
)
