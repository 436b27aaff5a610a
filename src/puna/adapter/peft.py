"""PEFT's folder layout, both ways: adapter_config.json and adapter_model.safetensors."""

from __future__ import annotations

import json
import math
import re
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from puna.adapter.attach import adapted, add, free_slot, shape_of
from puna.adapter.lora import Update
from puna.errors import AdapterError, SourceError
from puna.families import Layout, NameTable, Transposed
from puna.formats import write_atomic
from puna.model import Decoder, PackedWeight
from puna.source import read_json
from puna.weights import read_tensors, save_tensors, to_ours, to_theirs

_CONFIG = "adapter_config.json"
_TENSORS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
# How far a packed head may be off the copy that an adapter has of it, as a share of its norm.
_PACKED = 0.15
_PART = re.compile(r"(?P<module>.+)\.lora_(?P<part>[AB])\.weight")
# What changes nothing here: what the tensors themselves say, what only training reads, notes.
_INERT = {
    "auto_mapping", "base_model_name_or_path", "inference_mode", "init_lora_weights",
    "layers_pattern", "layers_to_transform", "lora_dropout", "exclude_modules", "peft_version",
    "rank_pattern", "revision", "target_modules", "task_type", "megatron_core", "qalora_group_size",
    "ensure_weight_tying", "fan_in_fan_out",
}  # fmt: skip
_READ = {"peft_type", "r", "lora_alpha", "alpha_pattern", "use_rslora", "bias"}
# Ways to begin that leave the base's weights alone; the others (PiSSA, OLoRA, CorDA, LoftQ, …)
# take a part out of the base, so that the adapter is an update of another one.
_INITS = (True, False, None, "gaussian", "eva", "orthogonal", "mica")


def read_adapter(folder: Path, model: Decoder, table: NameTable) -> int:
    """Put the adapter in `folder` on a model and return its slot.

    Raises:
        SourceError: no adapter there.
        FormatError: files that are not what they claim to be.
        AdapterError: another kind of adapter, or one that does not fit this model; names the
            key, module or tensor.
    """
    config = read_json(folder / _CONFIG, what="adapter config")
    _check(config, folder)
    file = next((f for f in (folder / _TENSORS, folder / "adapter_model.bin") if f.is_file()), None)
    if file is None:
        raise SourceError("the adapter has no weights", where=str(folder / _TENSORS))
    tensors = {n.removeprefix(_PREFIX): tensor for n, tensor in read_tensors(file).items()}
    pairs = _pairs({n: t for n, t in tensors.items() if not _is_copy(n, t, model, table)}, file)
    updates = {}
    for module, parts in pairs.items():
        if table.leaves_out(module):
            continue  # it changes only what the part that is not read would compute
        name, update = _update(module, parts, config, model, table, file)
        updates[name] = update
    if not updates:
        raise AdapterError(
            "the adapter changes only parts of the model that are not read", where=str(file)
        )
    slot = free_slot(model)
    for name, update in updates.items():
        add(model, name, slot, update.to(model.device).eval().requires_grad_(False))
    return slot


def write_adapter(folder: Path, model: Decoder, slot: int, table: NameTable, *, base: str) -> None:
    """Write one adapter of a model so that PEFT loads it; the config comes last.

    Args:
        folder: is made if it is not there.
        model, slot, table: whose and which.
        base: what the base model is called, for those who read the config.

    Raises:
        StorageError: the disk did not take it; what was there before is still there.
    """
    updates = adapted(model, slot)
    if not updates:
        raise AdapterError(f"the model has no adapter in slot {slot}")
    tensors: dict[str, Tensor] = {}
    targets, ranks, dropouts = set(), set(), set()
    transposed = False
    for name, update in updates.items():
        module = table.their_module(name)
        # A last part alone would name modules of the parts left out, too.
        targets.add(module.theirs if table.partial else module.theirs.rpartition(".")[2])
        ranks.add((update.a.shape[0], update.scale * update.a.shape[0]))
        dropouts.add(update.dropout)
        transposed = transposed or isinstance(module.layout, Transposed)
        stem = f"{_PREFIX}{module.theirs}.lora_"
        tensors[f"{stem}A.weight"] = update.a.detach()
        tensors[f"{stem}B.weight"] = to_theirs(update.b.detach(), _rows(module.layout))
    if len(ranks) > 1 or len(dropouts) > 1:
        raise AdapterError("an adapter of several ranks or scales cannot be written")
    rank, alpha = ranks.pop()
    shapes = {name: (t.dtype, tuple(t.shape)) for name, t in tensors.items()}
    save_tensors(folder / _TENSORS, shapes, tensors.items())
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": dropouts.pop(),
        "target_modules": sorted(targets),
        "bias": "none",
        "fan_in_fan_out": transposed,
        "inference_mode": True,
        "modules_to_save": None,
    }
    write_atomic(folder / _CONFIG, (json.dumps(config, indent=2) + "\n").encode())


def _check(config: Mapping[str, Any], folder: Path) -> None:
    def wrong(what: str) -> AdapterError:
        return AdapterError(what, where=str(folder / _CONFIG), remedy="use a plain LoRA adapter")

    if config.get("peft_type") != "LORA":
        raise wrong(f"the adapter is of type {config.get('peft_type')!r:.40}, not LORA")
    if config.get("bias", "none") != "none":
        raise wrong("the adapter trains biases, which is not supported")
    init = config.get("init_lora_weights")
    if init not in _INITS:
        raise AdapterError(
            f"the adapter began as {init!r:.40}, which changes the base's weights too",
            where=str(folder / _CONFIG),
            remedy="save it again with path_initial_model_for_weight_conversion, "
            "which makes it an update of the base as published",
        )
    for key in ("r", "lora_alpha"):
        if not _positive(config.get(key)):
            raise wrong(f"{key} must be a number above zero, not {config.get(key)!r:.40}")
    pattern = config.get("alpha_pattern") or {}
    if not isinstance(pattern, dict) or not all(map(_positive, pattern.values())):
        raise wrong("alpha_pattern must be an object of numbers above zero")
    for key, value in config.items():
        if value and key not in _INERT and key not in _READ:
            raise wrong(f"the adapter sets {_shown(key)} = {value!r:.60}, which is not supported")


def _shown(key: str) -> str:
    return key if key.isprintable() and len(key) <= 60 else f"{key!r:.60}"


def _positive(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value <= sys.float_info.max


def _pairs(tensors: Mapping[str, Tensor], file: Path) -> dict[str, dict[str, Tensor]]:
    pairs: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        match = _PART.fullmatch(name)
        if match is None:
            raise AdapterError(
                f"tensor {name!r:.120} is no part of a LoRA update of a linear map",
                where=str(file),
                remedy="train the adapter on linear modules only, and without whole weights",
            )
        pairs[match["module"]][match["part"]] = tensor
    if not pairs:
        raise AdapterError("the adapter holds no tensors", where=str(file))
    return pairs


def _is_copy(name: str, tensor: Tensor, model: Decoder, table: NameTable) -> bool:
    """Tell whether a tensor only repeats the base's head, which PEFT saves where it updates it."""
    module = name.removesuffix(".weight").removesuffix(".base_layer")
    place = table.our_module(module)
    if place is None or place.ours != "output":
        return False
    base = model.embed.tokens if model.output.weight is None else model.output.weight
    if base.shape != tensor.shape:
        return False
    if isinstance(base, PackedWeight):  # which is a little off what it was packed from
        rest = tensor.to(base.device).float() - base.numbers(torch.float32)
        return float(rest.norm()) <= _PACKED * float(tensor.float().norm())
    return torch.equal(tensor.to(base.device, base.dtype), base)


def _update(
    module: str,
    parts: Mapping[str, Tensor],
    config: Mapping[str, Any],
    model: Decoder,
    table: NameTable,
    file: Path,
) -> tuple[str, Update]:
    """Return our name of the linear map that `module` is, and its update."""
    target = table.our_module(module)
    shape = None if target is None else shape_of(model, target.ours)
    if target is None or shape is None:
        raise AdapterError(
            f"the adapter is for a module {module!r:.120} that this model does not have",
            where=str(file),
            remedy="use it with the base model it was trained on",
        )
    if set(parts) != {"A", "B"}:
        raise AdapterError(f"lora_A or lora_B of {module!r:.120} is missing", where=str(file))
    a, b = parts["A"].float(), parts["B"].float()
    outputs, inputs = shape
    rank = a.shape[0]
    if a.shape != (rank, inputs) or b.shape != (outputs, rank) or rank == 0:
        raise AdapterError(
            f"the update of {module!r:.120} has shapes {list(a.shape)} and {list(b.shape)}, "
            f"but the module maps {inputs} to {outputs}",
            where=str(file),
            remedy="use it with the base model it was trained on",
        )
    alpha = _alpha(module, config, file)
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    ready = to_ours(b, _rows(target.layout)).contiguous()
    return target.ours, Update(a.clone(), ready.clone(), scale=scale)


def _rows(layout: Layout) -> Layout:
    """Return how the rows of an update's B are ordered: B is [out, rank] in any checkpoint."""
    return None if isinstance(layout, Transposed) else layout


def _alpha(module: str, config: Mapping[str, Any], file: Path) -> float:
    pattern = config.get("alpha_pattern") or {}
    for key, value in pattern.items():
        if not re.fullmatch(r"\^?[\w.]+", key):
            raise AdapterError(f"alpha_pattern {key!r:.60} is not a module name", where=str(file))
        if module == key.removeprefix("^") or module.endswith(f".{key}"):
            return float(value)
    return float(config["lora_alpha"])
