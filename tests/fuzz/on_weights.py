"""Weights: an index with its shards, PyTorch files of each form, and adapters."""

from __future__ import annotations

import json
import pickle as python_pickle
import pickletools
from io import BytesIO
from pathlib import Path
from typing import Any

import atheris
import torch
from torch._weights_only_unpickler import Unpickler

from puna.adapter import read_adapter
from puna.families import name_table
from puna.formats import write_header
from puna.model import Decoder
from puna.weights import open_checkpoint, read_tensors, save_tensors
from tests.fuzz.mutators import TreeMutator, mutate_header, mutate_pickle, two_parts
from tests.fuzz.mutators.trees import cut_parts, join_parts
from tests.fuzz.target import Target, slot
from tests.unit.tiny import tiny

_LORA: dict[str, Any] = {
    "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "base", "r": 2,
    "lora_alpha": 4, "lora_dropout": 0.0, "target_modules": ["q_proj", "v_proj"], "bias": "none",
    "fan_in_fan_out": False, "inference_mode": True, "modules_to_save": None,
    "alpha_pattern": {}, "rank_pattern": {}, "use_rslora": False, "init_lora_weights": True,
}  # fmt: skip
_Q = "base_model.model.model.layers.{}.self_attn.{}.lora_{}.weight"


def index(folder: Path) -> Target:
    """Indexes of shards, which lie in the folder: one of safetensors, and one PyTorch file."""
    put = slot(folder / "model.safetensors.index.json")
    a, b = torch.ones(2), torch.ones(3, 2)
    save_tensors(folder / "one.safetensors", {"a": (a.dtype, (2,))}, [("a", a)])
    save_tensors(folder / "two.safetensors", {"b": (b.dtype, (3, 2))}, [("b", b)])
    torch.save({"c": a}, folder / "three.bin")
    maps = (
        {"a": "one.safetensors"},
        {"a": "one.safetensors", "b": "two.safetensors"},
        {"a": "one.safetensors", "c": "three.bin"},
    )
    seeds = tuple(
        json.dumps({"metadata": {"total_size": 8}, "weight_map": names}).encode() for names in maps
    )

    def one(data: bytes) -> None:
        put(data)
        for entry in open_checkpoint(folder).entries():
            entry.release()

    return Target(seeds, one, TreeMutator(seeds))


def pickle(folder: Path) -> Target:
    """PyTorch files: whatever they hold, plain tensors come of it, each within its storage."""
    # These alone: to instrument the modules would take in all of torch.
    atheris.instrument_func(Unpickler.load)
    atheris.instrument_func(pickletools._genops)
    path = folder / "pytorch_model.bin"
    put = slot(path)

    def one(data: bytes) -> None:
        put(data)
        for tensor in read_tensors(path).values():
            tensor.flatten()[:1].clone()
            tensor.flatten()[-1:].clone()

    return Target(_pickles(), one, mutate_pickle, longest=8192)


def _pickles() -> tuple[bytes, ...]:
    tables: list[Any] = [
        {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)},
        {"state_dict": {"w": torch.nn.Parameter(torch.ones(2, 2)).t()}},
    ]
    seeds = []
    for table in tables:
        for zipped in (True, False):
            file = BytesIO()
            torch.save(table, file, _use_new_zipfile_serialization=zipped)
            seeds.append(file.getvalue())
    return (*seeds, python_pickle.dumps({"a": [1, 2]}, 2))


def adapter(folder: Path) -> Target:
    """Adapters in PEFT's layout, put on a small model and taken off again."""
    spec, model = tiny()
    table = name_table(spec)
    modules = {name: dict(part._modules) for name, part in model.named_modules()}
    seeds = (_adapter(("q_proj", 32), ("v_proj", 16)), _adapter(("o_proj", 32)))
    put_config = slot(folder / "adapter_config.json")
    put_weights = slot(folder / "adapter_model.safetensors")
    configs, tensors = zip(*map(cut_parts, seeds), strict=True)

    def one(data: bytes) -> None:
        config, weights = cut_parts(data)
        put_config(config)
        put_weights(weights)
        try:
            read_adapter(folder, model, table)
        finally:
            _restore(model, modules)

    headers = TreeMutator(file[8 : file.rindex(b"}") + 1] for file in tensors)
    mutate = two_parts(TreeMutator(configs), mutate_header(headers))
    return Target(seeds, one, mutate)


def _adapter(*modules: tuple[str, int]) -> bytes:
    shapes = {}
    for name, outputs in modules:
        shapes[_Q.format(0, name, "A")] = ("F32", (2, 32))
        shapes[_Q.format(0, name, "B")] = ("F32", (outputs, 2))
    size = sum(4 * rows * columns for _, (rows, columns) in shapes.values())
    return join_parts(json.dumps(_LORA).encode(), write_header(shapes) + bytes(size))


def _restore(model: Decoder, modules: dict[str, dict[str, Any]]) -> None:
    """Take every update off: each part gets back the parts that it was built with."""
    for name, parts in modules.items():
        model.get_submodule(name)._modules.update(parts)
    model.output.updates.clear()
