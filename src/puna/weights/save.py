"""Parameters back to a folder in the published layout."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from puna.errors import PunaError, StorageError
from puna.families import NameTable, Place, Slice
from puna.formats import read_index, write_atomic, write_header
from puna.weights.layout import assemble, their_shape, to_theirs
from puna.weights.read import NAMES

_SHARD_BYTES = 5_000_000_000
_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"


def gather(module: nn.Module, table: NameTable) -> Iterator[tuple[str, Tensor]]:
    """Yield (published name, tensor in the published row order)."""
    for name, parts in _published(module, table).items():
        yield name, _whole(parts)


def _published(module: nn.Module, table: NameTable) -> dict[str, list[tuple[Place, Tensor]]]:
    """Return what each published tensor is made of: one of our parameters, or several slices."""
    parts: dict[str, list[tuple[Place, Tensor]]] = {}
    for name, parameter in module.named_parameters():
        place = table.by_ours(name)
        parts.setdefault(place.theirs, []).append((place, parameter.detach()))
    return parts


def _whole(parts: Sequence[tuple[Place, Tensor]]) -> Tensor:
    slices = [(t, place.layout) for place, t in parts if isinstance(place.layout, Slice)]
    if slices:
        return assemble(slices)
    ((place, tensor),) = parts
    return to_theirs(tensor, place.layout)


def save_folder(
    module: nn.Module,
    table: NameTable,
    folder: Path,
    *,
    config: Mapping[str, Any],
    dtype: torch.dtype | None = None,
    shard_bytes: int = _SHARD_BYTES,
) -> None:
    """Write config.json and safetensors, sharded above `shard_bytes`, over what is there.

    One step puts the new weights in place of the old: a kill before it leaves the old model, a
    kill after it the new one. Then the old weights go.

    Raises:
        StorageError: the disk did not take it; the old weights are still there.
    """
    shards = _shards(module, table, dtype, shard_bytes)
    old = _old_shards(folder)
    files = _shard_names(len(shards), taken=old)
    tensors = gather(module, table)
    try:
        for file, shapes in zip(files, shards, strict=True):
            save_tensors(folder / file, shapes, islice(tensors, len(shapes)), dtype)
        if len(shards) > 1:
            index = {name: file for file, part in zip(files, shards, strict=True) for name in part}
            body = {"metadata": {"total_size": _total(module, dtype)}, "weight_map": index}
            write_atomic(folder / _INDEX, _json(body))
    except BaseException:
        _remove(folder, set(files) - {_SINGLE})
        raise
    _remove(folder, {*old, _SINGLE if len(shards) > 1 else _INDEX} - set(files))
    stated = str(dtype or _main_dtype(module)).removeprefix("torch.")
    write_atomic(folder / "config.json", _json({**_plain(config), "dtype": stated}))


def _shard_names(number: int, *, taken: set[str]) -> list[str]:
    """Return names of new files; none is of the model that stands there, so it stays whole."""
    if number == 1:
        return [_SINGLE]  # one file is replaced by one rename
    for stem in chain(["model"], (f"model-v{n}" for n in count(2))):
        names = [f"{stem}-{n:05d}-of-{number:05d}.safetensors" for n in range(1, number + 1)]
        if taken.isdisjoint(names):
            break
    return names


def _old_shards(folder: Path) -> set[str]:
    try:
        names = {shard.name for shard in read_index(folder / _INDEX).values()}
    except PunaError:  # no index, or one that no model can be loaded by
        return set()
    return {name for name in names if name.endswith(".safetensors")}


def _remove(folder: Path, names: set[str]) -> None:
    for name in sorted(names):
        try:
            (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(
                f"cannot remove the old weights {name}: {error.strerror}", where=str(folder)
            ) from error


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
            yield flat.reshape(-1).view(torch.uint8).numpy().data

    write_atomic(path, chunks())


def _shards(
    module: nn.Module, table: NameTable, dtype: torch.dtype | None, limit: int
) -> list[dict[str, tuple[torch.dtype, tuple[int, ...]]]]:
    shards: list[dict[str, tuple[torch.dtype, tuple[int, ...]]]] = [{}]
    held = 0
    for name, parts in _published(module, table).items():
        tensor = parts[0][1]
        kind = dtype or tensor.dtype
        shape = their_shape(tensor.shape, [place.layout for place, _ in parts])
        size = math.prod(shape) * kind.itemsize
        if shards[-1] and held + size > limit:
            shards.append({})
            held = 0
        shards[-1][name] = (kind, shape)
        held += size
    return shards


def _main_dtype(module: nn.Module) -> torch.dtype:
    """Return the dtype of most parameters; a few, such as routers, may be wider."""
    counts: Counter[torch.dtype] = Counter()
    for parameter in module.parameters():
        counts[parameter.dtype] += parameter.numel()
    return counts.most_common(1)[0][0]


def _total(module: nn.Module, dtype: torch.dtype | None) -> int:
    return sum(p.numel() * (dtype or p.dtype).itemsize for p in module.parameters())


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config that says nothing of how its tensors were stored before."""
    stale = {"dtype", "torch_dtype", "quantization_config"}
    return {key: value for key, value in config.items() if key not in stale}


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
