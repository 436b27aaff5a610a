"""Experts in blocks are unpacked into their parameters: a load takes hardly more than they do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter

WIDTH, LAYERS, EXPERTS, HEADS = 512, 3, 32, 8
LOAD = """
import json, sys, torch
from pathlib import Path
from puna.loading import load_parts
torch.zeros(1).sum()
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
Path("/proc/self/clear_refs").write_text("5")
before = peak()
parts = load_parts(sys.argv[1], device="cpu")
weights = sum(p.nbytes for p in parts.model.parameters())
print(json.dumps([str(parts.model.dtype), weights, peak() - before]))
"""


def oss(path: Path) -> None:
    """Write a gpt-oss whose 288 experts' matrices take 151 MB in bfloat16, and a quarter here."""
    writer = GGUFWriter(path, "gpt-oss")
    writer.add_block_count(LAYERS)
    writer.add_context_length(4096)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_expert_count(EXPERTS)
    writer.add_expert_used_count(4)
    writer.add_expert_feed_forward_length(WIDTH)
    writer.add_sliding_window(128)
    random = np.random.default_rng(0)

    def plain(name: str, *shape: int) -> None:
        writer.add_tensor(name, np.zeros(shape, np.float32))

    for name in ("token_embd", "output"):
        plain(f"{name}.weight", 64, WIDTH)
    plain("output_norm.weight", WIDTH)
    for layer in range(LAYERS):
        at = f"blk.{layer}."
        for name in ("attn_norm", "post_attention_norm"):
            plain(f"{at}{name}.weight", WIDTH)
        plain(f"{at}attn_sinks.weight", HEADS)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            plain(f"{at}{name}.weight", WIDTH, WIDTH)
            plain(f"{at}{name}.bias", WIDTH)
        plain(f"{at}ffn_gate_inp.weight", EXPERTS, WIDTH)
        plain(f"{at}ffn_gate_inp.bias", EXPERTS)
        for name in ("gate", "up", "down"):
            raw = random.integers(0, 256, (EXPERTS, WIDTH, WIDTH // 32, 17), dtype=np.uint8)
            raw[..., 0] = 120
            raw = raw.reshape(EXPERTS, WIDTH, -1)
            kind = GGMLQuantizationType.MXFP4
            writer.add_tensor(f"{at}ffn_{name}_exps.weight", raw, raw_dtype=kind)
            plain(f"{at}ffn_{name}_exps.bias", EXPERTS, WIDTH)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
def test_experts_in_mxfp4_take_their_own_memory_and_little_more(tmp_path: Path) -> None:
    oss(tmp_path / "m.gguf")
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path / "m.gguf")],
        capture_output=True,
        text=True,
        check=True,
    )
    dtype, weights, grown = json.loads(done.stdout)
    assert dtype == "torch.bfloat16"
    assert weights > 150e6
    assert grown < 1.35 * weights
