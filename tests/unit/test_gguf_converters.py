"""Files as llama.cpp's converter spells them, written by the `gguf` package from published folders.

Each model is saved in its published form; the tensors are then put in the converter's order here,
by hand, and what Puna opens must be the same model.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGUFWriter
from gguf.quants import dequantize as unpack
from gguf.quants import quantize as pack
from safetensors.torch import load_file

from puna.loading import Parts, load_parts
from puna.package import export_safetensors
from puna.spec import MoE
from tests.unit.gguf_forms import Config, logits, model_of, parameters

Tensors = dict[str, np.ndarray]
MXFP4 = gguf.GGMLQuantizationType.MXFP4
_SHAPE: Config = {
    "vocab_size": 91,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
# The converter's names of a layer's tensors by the published ones, for all families here.
_LAYER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.q_a_proj": "attn_q_a",
    "self_attn.q_a_layernorm": "attn_q_a_norm",
    "self_attn.q_b_proj": "attn_q_b",
    "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
    "self_attn.kv_a_layernorm": "attn_kv_a_norm",
    "self_attn.kv_b_proj": "attn_kv_b",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.gate": "ffn_gate_inp",
    "mlp.router": "ffn_gate_inp",
    "mlp.shared_experts.gate_proj": "ffn_gate_shexp",
    "mlp.shared_experts.up_proj": "ffn_up_shexp",
    "mlp.shared_experts.down_proj": "ffn_down_shexp",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_GEMMA = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
_ENDS = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def published(config: Config, folder: Path) -> tuple[Parts, Tensors]:
    """Return a random model, opened from its published folder, and the folder's tensors."""
    torch.manual_seed(4)
    parts = model_of(config, folder)
    return parts, {n: t.numpy() for n, t in load_file(folder / "model.safetensors").items()}


def renamed(tensors: Tensors, names: dict[str, str] | None = None) -> Tensors:
    """Return tensors under the converter's names; experts stacked, others left as they are."""
    table = {**_LAYER, **(names or {})}
    found: Tensors = {}
    experts: dict[str, dict[int, np.ndarray]] = {}
    for name, tensor in tensors.items():
        if name in _ENDS:
            found[_ENDS[name]] = tensor
            continue
        _, _, layer, rest = name.split(".", 3)
        module, _, part = rest.rpartition(".")
        if ".experts." in rest and rest.split(".")[2].isdigit():
            _, _, number, theirs = module.split(".")
            stack = f"blk.{layer}.{_LAYER[f'mlp.{theirs}']}_exps.weight"
            experts.setdefault(stack, {})[int(number)] = tensor
        elif module in table and part in ("weight", "bias"):
            found[f"blk.{layer}.{table[module]}.{part}"] = tensor
        else:
            found[name] = tensor  # for the test itself
    return found | {n: np.stack([of[e] for e in sorted(of)]) for n, of in experts.items()}


def start(path: Path, arch: str, config: Config) -> GGUFWriter:
    """Begin a file with the keys that the converter writes for all models."""
    writer = GGUFWriter(path, arch)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    if "head_dim" in config:
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
    writer.add_file_type(0)
    return writer


def finish(writer: GGUFWriter, tensors: Tensors) -> None:
    for name, tensor in tensors.items():
        writer.add_tensor(name, np.ascontiguousarray(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def same(parts: Parts, path: Path) -> Parts:
    """Hold what Puna opens against the published model; return it."""
    back = load_parts(path, device="cpu")
    for part in ("layers", "context", "embed", "head", "final_norm", "vocab", "width"):
        assert getattr(back.spec, part) == getattr(parts.spec, part), part
    ours, theirs = parameters(parts), parameters(back)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert (logits(back, 40) - logits(parts, 40)).abs().max() < 1e-5
    return back


def raised(tensors: Tensors) -> Tensors:
    return {n: t + 1 if n.endswith("norm.weight") else t for n, t in tensors.items()}


def test_gemma2(tmp_path: Path) -> None:
    config = {**_SHAPE, "model_type": "gemma2", "head_dim": 16, "query_pre_attn_scalar": 16}
    config |= {"rms_norm_eps": 1e-6, "sliding_window": 7}
    parts, tensors = published(config, tmp_path / "folder")
    writer = start(tmp_path / "m.gguf", "gemma2", config)
    writer.add_attn_logit_softcapping(50.0)
    writer.add_final_logit_softcapping(30.0)
    writer.add_sliding_window(7)
    finish(writer, raised(renamed(tensors, _GEMMA)))
    back = same(parts, tmp_path / "m.gguf")
    assert [layer.mixer.window for layer in back.spec.layers] == [7, None, 7]
    assert (back.spec.layers[0].mixer.softcap, back.spec.head.softcap) == (50.0, 30.0)


def test_gemma2_of_the_first_converter(tmp_path: Path) -> None:
    """It wrote no caps and no window: they are the published ones."""
    config = {**_SHAPE, "model_type": "gemma2", "head_dim": 8, "query_pre_attn_scalar": 8}
    config |= {"rms_norm_eps": 1e-6, "sliding_window": 4096}
    parts, tensors = published(config, tmp_path / "folder")
    writer = start(tmp_path / "m.gguf", "gemma2", config)
    finish(writer, raised(renamed(tensors, _GEMMA)))
    same(parts, tmp_path / "m.gguf")


def test_gemma2_of_46_layers_scales_by_the_width(tmp_path: Path) -> None:
    config = {**_SHAPE, "model_type": "gemma2", "head_dim": 16, "query_pre_attn_scalar": 8}
    config |= {"rms_norm_eps": 1e-6, "num_hidden_layers": 46, "sliding_window": 4096}
    parts, tensors = published(config, tmp_path / "folder")
    writer = start(tmp_path / "m.gguf", "gemma2", config)
    finish(writer, raised(renamed(tensors, _GEMMA)))
    assert same(parts, tmp_path / "m.gguf").spec.layers[0].mixer.scale == 8**-0.5


def test_gemma3(tmp_path: Path) -> None:
    config = {**_SHAPE, "model_type": "gemma3_text", "head_dim": 16, "query_pre_attn_scalar": 16}
    config |= {"rms_norm_eps": 1e-6, "sliding_window": 7, "num_hidden_layers": 7}
    config |= {"rope_theta": 1e6, "rope_scaling": {"rope_type": "linear", "factor": 8.0}}
    parts, tensors = published(config, tmp_path / "folder")
    writer = start(tmp_path / "m.gguf", "gemma3", config)
    writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    writer.add_rope_scaling_factor(8.0)
    writer.add_rope_freq_base(1e6)
    writer.add_sliding_window(7)
    finish(writer, raised(renamed(tensors, _GEMMA)))
    back = same(parts, tmp_path / "m.gguf")
    ropes = [layer.mixer.position for layer in back.spec.layers]
    assert [rope.theta for rope in ropes] == [1e4] * 5 + [1e6, 1e4]  # type: ignore[union-attr]


def test_phi3_longrope(tmp_path: Path) -> None:
    factors = {"short_factor": [1.0, 1.01, 1.1, 1.25], "long_factor": [1.0, 2.5, 7.25, 30.1]}
    config = {**_SHAPE, "model_type": "phi3", "rms_norm_eps": 1e-5, "sliding_window": None}
    config |= {"original_max_position_embeddings": 16, "tie_word_embeddings": False}
    config |= {"rope_scaling": {"type": "longrope", **factors}}
    parts, tensors = published(config, tmp_path / "folder")
    writer = start(tmp_path / "m.gguf", "phi3", config)
    writer.add_rope_scaling_orig_ctx_len(16)
    writer.add_rope_dimension_count(8)
    writer.add_rope_freq_base(10_000.0)
    writer.add_sliding_window(0)
    writer.add_rope_scaling_attn_factors(float(np.sqrt(1 + np.log(64 / 16) / np.log(16))))
    tables = {f"rope_factors_{n[:-7]}.weight": np.array(f, np.float32) for n, f in factors.items()}
    finish(writer, tables | renamed(tensors))
    same(parts, tmp_path / "m.gguf")


def test_qwen3moe(tmp_path: Path) -> None:
    config = {**_SHAPE, "model_type": "qwen3_moe", "head_dim": 16, "rms_norm_eps": 1e-6}
    config |= {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    config |= {"norm_topk_prob": True, "rope_theta": 1e6}
    parts, tensors = published(config, tmp_path / "folder")
    for path, width in (("m.gguf", True), ("first.gguf", False)):
        writer = start(tmp_path / path, "qwen3moe", config)
        writer.add_expert_count(6)
        writer.add_expert_used_count(2)
        writer.add_rope_freq_base(1e6)
        if width:  # without it an expert has its share of the dense width, 64 / 2
            writer.add_expert_feed_forward_length(32)
        finish(writer, renamed(tensors))
        same(parts, tmp_path / path)


_OSS: Config = {
    **_SHAPE,
    "model_type": "gpt_oss",
    "head_dim": 16,
    "num_local_experts": 5,
    "num_experts_per_tok": 2,
    "sliding_window": 7,
    "rms_norm_eps": 1e-5,
    "rope_theta": 150_000.0,
    "tie_word_embeddings": False,
    "rope_scaling": {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 16,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "truncate": False,
    },
}


def oss_file(path: Path, tensors: Tensors, experts: Callable[[np.ndarray], Any]) -> None:
    """Write gpt-oss as the converter does: gate and up apart, matrices of experts by `experts`."""
    writer = start(path, "gpt-oss", _OSS)
    writer.add_expert_count(5)
    writer.add_expert_used_count(2)
    writer.add_expert_feed_forward_length(64)
    writer.add_sliding_window(7)
    writer.add_rope_freq_base(150_000.0)
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(4.0)
    writer.add_rope_scaling_orig_ctx_len(16)
    writer.add_rope_scaling_yarn_beta_fast(32.0)
    writer.add_rope_scaling_yarn_beta_slow(1.0)
    plain = renamed(tensors, {"post_attention_layernorm": "post_attention_norm"})
    for name in [n for n in plain if n.startswith("model.")]:
        tensor = plain.pop(name)
        at = f"blk.{name.split('.')[2]}"
        if name.endswith("sinks"):
            plain[f"{at}.attn_sinks.weight"] = tensor
            continue
        halves = {"down": tensor}
        if "gate_up" in name:
            halves = {"gate": tensor[..., ::2], "up": tensor[..., 1::2]}
        for half, part in halves.items():
            if name.endswith("_bias"):
                plain[f"{at}.ffn_{half}_exps.bias"] = part
            else:
                raw = experts(np.ascontiguousarray(part.swapaxes(-1, -2)))
                packed = MXFP4 if raw.dtype == np.uint8 else None
                writer.add_tensor(f"{at}.ffn_{half}_exps.weight", raw, raw_dtype=packed)
    finish(writer, plain)


def test_gpt_oss(tmp_path: Path) -> None:
    parts, tensors = published(_OSS, tmp_path / "folder")
    oss_file(tmp_path / "m.gguf", tensors, lambda matrix: matrix)
    back = same(parts, tmp_path / "m.gguf")
    assert [layer.mixer.window for layer in back.spec.layers] == [7, None, 7]
    assert not back.spec.layers[0].mixer.position.scaling.truncate  # type: ignore[union-attr]


def test_gpt_oss_in_mxfp4(tmp_path: Path) -> None:
    parts, tensors = published(_OSS, tmp_path / "folder")
    oss_file(tmp_path / "m.gguf", tensors, lambda matrix: pack(matrix, MXFP4))
    back = load_parts(tmp_path / "m.gguf", device="cpu", dtype="float32")
    changed = 0
    with torch.no_grad():
        for name, parameter in parameters(parts).items():
            if ".experts." in name and name.endswith("weight"):
                rounded = unpack(pack(parameter.numpy(), MXFP4), MXFP4)
                changed += not np.array_equal(rounded, parameter.numpy())
                parameter.copy_(torch.from_numpy(rounded))
    assert changed == 3 * 5 * 3  # layers, experts, matrices
    same_as = parameters(back)
    assert all(torch.equal(p, same_as[name]) for name, p in parameters(parts).items())
    assert (logits(back, 40) - logits(parts, 40)).abs().max() < 1e-5


_LATENT: Config = {
    **_SHAPE,
    "num_key_value_heads": 4,
    "moe_intermediate_size": 16,
    "q_lora_rank": 20,
    "kv_lora_rank": 12,
    "qk_rope_head_dim": 6,
    "qk_nope_head_dim": 10,
    "v_head_dim": 8,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "rms_norm_eps": 1e-6,
    "first_k_dense_replace": 1,
    "tie_word_embeddings": False,
}
_V3: Config = {
    **_LATENT,
    "model_type": "deepseek_v3",
    "n_shared_experts": 1,
    "n_group": 4,
    "topk_group": 2,
    "routed_scaling_factor": 2.5,
    "num_nextn_predict_layers": 1,
    "rope_scaling": {
        "type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 16,
        "beta_fast": 32,
        "beta_slow": 1,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
    },
}
_V2: Config = {
    **_LATENT,
    "model_type": "deepseek_v2",
    "n_shared_experts": 2,
    "n_group": 1,
    "topk_group": 1,
    "topk_method": "greedy",
    "routed_scaling_factor": 1.0,
    "rope_scaling": {
        "type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 16,
        "beta_fast": 32,
        "beta_slow": 1,
        "mscale": 0.707,
        "mscale_all_dim": 0.707,
    },
}


def latent_file(
    path: Path, config: Config, tensors: Tensors, *, split: bool, ahead: int = 0
) -> None:
    """Write DeepSeek as the converter does today, or as it did before keys were split."""
    heads, still, value = 4, config["qk_nope_head_dim"], config["v_head_dim"]
    rank, turned = config["kv_lora_rank"], config["qk_rope_head_dim"]
    rope = config["rope_scaling"]
    counts = {"num_key_value_heads": 1 if split else heads}
    counts["num_hidden_layers"] = config["num_hidden_layers"] + ahead
    writer = start(path, "deepseek2", {**config, **counts})
    if ahead:
        writer.add_nextn_predict_layers(ahead)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(4.0)
    writer.add_rope_scaling_orig_ctx_len(16)
    writer.add_expert_count(8)
    writer.add_expert_used_count(3)
    writer.add_leading_dense_block_count(1)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_q_lora_rank(config["q_lora_rank"])
    writer.add_kv_lora_rank(rank)
    writer.add_key_length(rank + turned if split else still + turned)
    writer.add_value_length(rank if split else value)
    if split:
        writer.add_key_length_mla(still + turned)
        writer.add_value_length_mla(value)
        writer.add_expert_group_count(config["n_group"])
        writer.add_expert_group_used_count(config["topk_group"])
    writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    writer.add_expert_shared_count(config["n_shared_experts"])
    writer.add_expert_weights_scale(config["routed_scaling_factor"])
    if config["model_type"] == "deepseek_v3":
        writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
        writer.add_expert_weights_norm(True)
    writer.add_rope_dimension_count(turned)
    writer.add_rope_scaling_yarn_log_mul(0.1 * rope["mscale_all_dim"])
    made = renamed(tensors)
    for name in [n for n in made if n.startswith("model.")]:
        made[f"blk.{name.split('.')[2]}.exp_probs_b.bias"] = made.pop(name)
    for name in [n for n in made if split and "attn_kv_b" in n]:
        rows = made.pop(name).reshape(heads, still + value, rank)
        made[name.replace("kv_b", "k_b")] = rows[:, :still].swapaxes(1, 2)
        made[name.replace("kv_b", "v_b")] = rows[:, still:]
    finish(writer, made)


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("config", [_V2, _V3], ids=["v2", "v3"])
def test_deepseek2(config: Config, split: bool, tmp_path: Path) -> None:
    if not split:  # files of then knew no groups
        config = {**config, "n_group": 1, "topk_group": 1}
    parts, tensors = published(config, tmp_path / "folder")
    latent_file(tmp_path / "m.gguf", config, tensors, split=split)
    back = same(parts, tmp_path / "m.gguf")
    assert back.spec.family == config["model_type"]
    assert isinstance(back.spec.layers[1].ffn, MoE)


def test_layers_that_guess_ahead_are_passed_over(tmp_path: Path) -> None:
    parts, tensors = published(_V3, tmp_path / "folder")
    tensors |= {"model.layers.3.input_layernorm.weight": np.ones(32, np.float32)}
    latent_file(tmp_path / "m.gguf", _V3, tensors, split=True, ahead=1)
    assert same(parts, tmp_path / "m.gguf").spec.extra_layers == 1


def test_a_latents_file_saved_as_a_folder_is_the_published_model(tmp_path: Path) -> None:
    parts, tensors = published(_V2, tmp_path / "folder")
    latent_file(tmp_path / "m.gguf", _V2, tensors, split=True)
    export_safetensors(load_parts(tmp_path / "m.gguf", device="cpu"), tmp_path / "again")
    again = {n: t.numpy() for n, t in load_file(tmp_path / "again" / "model.safetensors").items()}
    assert again.keys() == tensors.keys()
    assert all(np.array_equal(again[name], tensors[name]) for name in tensors)
    assert (logits(load_parts(tmp_path / "again")) - logits(parts)).abs().max() < 1e-5
