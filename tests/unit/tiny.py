"""Small random models that tests build in a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from puna.families import name_table, read_config
from puna.model import Decoder, build, initialize
from puna.spec import ModelSpec
from puna.weights import save_folder

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
}


def tiny(seed: int = 0, **changes: Any) -> tuple[ModelSpec, Decoder]:
    """Return spec and model of a random LLaMA, float32, its weights large enough to matter."""
    spec = read_config({**LLAMA, **changes})
    model = build(spec, device="cpu")
    initialize(model, seed=seed, std=0.2)
    return spec, model.eval().requires_grad_(False)


def save_tiny(folder: Path, seed: int = 0, **changes: Any) -> None:
    """Write such a model as a checkpoint folder without a tokenizer."""
    spec, model = tiny(seed, **changes)
    save_folder(model, name_table(spec), folder, config={**LLAMA, **changes})
