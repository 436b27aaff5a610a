"""Parameters back to a folder in the published layout."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from puna.families import NameTable
from puna.formats import write_atomic, write_header
from puna.weights.layout import to_theirs
from puna.weights.read import NAMES, nbytes

_SHARD_BYTES = 5_000_000_000


def gather(module: nn.Module, table: NameTable) -> Iterator[tuple[str, Tensor]]:
    """Yield (published name, tensor in the published row order)."""
    for name, parameter in module.named_parameters():
        place = table.by_ours(name)
        yield place.theirs, to_theirs(parameter.detach(), place.layout)


def save_folder(
    module: nn.Module,
    table: NameTable,
    folder: Path,
    *,
    config: Mapping[str, Any],
    dtype: torch.dtype | None = None,
    shard_bytes: int = _SHARD_BYTES,
) -> None:
    """Write config.json and safetensors, sharded above `shard_bytes`, each renamed into place.

    Raises:
        StorageError: the disk did not take it; each file is whole, the old one or the new one.
    """
    kinds = {p.dtype if dtype is None else dtype for p in module.parameters()}
    shards = _shards(module, table, dtype, shard_bytes)
    index: dict[str, str] = {}
    for number, names in enumerate(shards, 1):
        file = (
            "model.safetensors"
            if len(shards) == 1
            else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        )
        chosen = ((n, t) for n, t in gather(module, table) if n in names)
        save_tensors(folder / file, names, chosen, dtype)
        index.update(dict.fromkeys(names, file))
    if len(shards) > 1:
        body = {"metadata": {"total_size": _total(module, dtype)}, "weight_map": index}
        write_atomic(folder / "model.safetensors.index.json", _json(body))
        (folder / "model.safetensors").unlink(missing_ok=True)
    stated = str(max(kinds, key=str)).removeprefix("torch.")
    write_atomic(folder / "config.json", _json({**_without_dtype(config), "dtype": stated}))


def save_tensors(
    path: Path,
    shapes: Mapping[str, tuple[torch.dtype, tuple[int, ...]]],
    tensors: Iterable[tuple[str, Tensor]],
    dtype: torch.dtype | None = None,
) -> None:
    """Write one safetensors file; tensors must come in the order of `shapes`."""

    def chunks() -> Iterator[bytes | memoryview]:
        yield write_header({n: (NAMES[kind], shape) for n, (kind, shape) in shapes.items()})
        for _, tensor in tensors:
            flat = tensor.detach().to("cpu", dtype or tensor.dtype).contiguous()
            yield memoryview(flat.reshape(-1).view(torch.uint8).numpy())

    write_atomic(path, chunks())


def _shards(
    module: nn.Module, table: NameTable, dtype: torch.dtype | None, limit: int
) -> list[dict[str, tuple[torch.dtype, tuple[int, ...]]]]:
    shards: list[dict[str, tuple[torch.dtype, tuple[int, ...]]]] = [{}]
    held = 0
    for name, parameter in module.named_parameters():
        kind, shape = dtype or parameter.dtype, tuple(parameter.shape)
        size = nbytes(shape, kind)
        if shards[-1] and held + size > limit:
            shards.append({})
            held = 0
        shards[-1][table.by_ours(name).theirs] = (kind, shape)
        held += size
    return shards


def _total(module: nn.Module, dtype: torch.dtype | None) -> int:
    return sum(nbytes(tuple(p.shape), dtype or p.dtype) for p in module.parameters())


def _without_dtype(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in {"dtype", "torch_dtype"}}


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
