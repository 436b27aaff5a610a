"""Parameters back to a folder in the published layout."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from puna.errors import PunaError, StorageError
from puna.families import NameTable, Place, Slice
from puna.formats import PACKING_KEY, Packing, read_index, write_atomic, write_header
from puna.quant import tensors_of
from puna.weights.layout import assemble, their_shape, to_theirs
from puna.weights.packed import Held, weights_of
from puna.weights.read import NAMES

_SHARD_BYTES = 5_000_000_000
_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class Part:
    """Where one of our weights goes, its dtype and shape, and how to get it: it may be large.

    What is `packed` keeps its dtype in any folder.
    """

    place: Place
    dtype: torch.dtype
    shape: tuple[int, ...]
    tensor: Callable[[], Tensor]
    packed: bool = False


def gather(module: nn.Module, table: NameTable) -> Iterator[tuple[str, Tensor]]:
    """Yield (published name, tensor in the published row order); packed weights by our names."""
    for name, parts in _published(module, table).items():
        yield name, _whole(parts)


def _published(module: nn.Module, table: NameTable) -> dict[str, list[Part]]:
    """Return what each published tensor is made of: one of our parameters, or several slices."""
    parts: dict[str, list[Part]] = {}
    for name, weight in weights_of(module):
        for theirs, part in _parts_of(name, weight, table):
            parts.setdefault(theirs, []).append(part)
    return parts


def _parts_of(name: str, weight: Tensor | Held, table: NameTable) -> Iterator[tuple[str, Part]]:
    if isinstance(weight, Tensor):
        place = table.by_ours(name)
        yield place.theirs, Part(place, weight.dtype, tuple(weight.shape), weight.detach)
        return
    for leaf, form in tensors_of(weight.form).items():
        own = f"{name}.{leaf}"
        get = partial(_part, weight, leaf)
        yield own, Part(Place(own, own, None), form.dtype, tuple(form.shape), get, packed=True)


def _part(held: Held, leaf: str) -> Tensor:
    return tensors_of(held.packed)[leaf]


def _whole(parts: Sequence[Part]) -> Tensor:
    layouts = [(part, part.place.layout) for part in parts]
    slices = [(part.tensor(), layout) for part, layout in layouts if isinstance(layout, Slice)]
    if slices:
        return assemble(slices)
    ((part, layout),) = layouts
    return to_theirs(part.tensor(), layout)


def save_folder(
    module: nn.Module,
    table: NameTable,
    folder: Path,
    *,
    config: Mapping[str, Any],
    packing: Packing | None = None,
    dtype: torch.dtype | None = None,
    shard_bytes: int = _SHARD_BYTES,
) -> None:
    """Write config.json and safetensors, sharded above `shard_bytes`, over what is there.

    One step puts the new weights in place of the old: a kill before it leaves the old model, a
    kill after it the new one. Then the old weights go.

    Args:
        module: its weights, which may be packed.
        table: what its family calls them.
        folder: made where it is not there.
        config: of the model.
        packing: what packed weights are called; needed where there are some.
        dtype: what other weights are written in; None leaves them as they are.
        shard_bytes: the most bytes of a file.

    Raises:
        StorageError: the disk did not take it; the old weights are still there.
    """
    shards = _shards(module, table, dtype, shard_bytes)
    old = _old_shards(folder)
    files = _shard_names(len(shards), taken=old)
    tensors = gather(module, table)
    try:
        for file, shapes in zip(files, shards, strict=True):
            save_tensors(folder / file, shapes, islice(tensors, len(shapes)))
        if len(shards) > 1:
            index = {name: file for file, part in zip(files, shards, strict=True) for name in part}
            body = {"metadata": {"total_size": _total(shards)}, "weight_map": index}
            write_atomic(folder / _INDEX, _json(body))
    except BaseException:
        _remove(folder, set(files) - {_SINGLE})
        raise
    _remove(folder, {*old, _SINGLE if len(shards) > 1 else _INDEX} - set(files))
    stated = str(dtype or _main_dtype(module)).removeprefix("torch.")
    body = {**_plain(config), "dtype": stated}
    if any(isinstance(weight, Held) for _, weight in weights_of(module)):
        assert packing is not None
        body |= {"dtype": packing.dtype, PACKING_KEY: packing.to_config()}
    write_atomic(folder / "config.json", _json(body))


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
) -> None:
    """Write one safetensors file; tensors come in the order of `shapes` and take its dtypes."""

    def chunks() -> Iterator[bytes | memoryview]:
        yield write_header({n: (NAMES[kind], shape) for n, (kind, shape) in shapes.items()})
        for (kind, _), (_, tensor) in zip(shapes.values(), tensors, strict=True):
            flat = tensor.detach().to("cpu", kind).contiguous()
            yield flat.reshape(-1).view(torch.uint8).numpy().data

    write_atomic(path, chunks())


def _shards(
    module: nn.Module, table: NameTable, dtype: torch.dtype | None, limit: int
) -> list[dict[str, tuple[torch.dtype, tuple[int, ...]]]]:
    shards: list[dict[str, tuple[torch.dtype, tuple[int, ...]]]] = [{}]
    held = 0
    for name, parts in _published(module, table).items():
        first = parts[0]
        kind = first.dtype if first.packed else dtype or first.dtype
        shape = their_shape(first.shape, [part.place.layout for part in parts])
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


def _total(shards: Sequence[Mapping[str, tuple[torch.dtype, tuple[int, ...]]]]) -> int:
    return sum(math.prod(n) * kind.itemsize for part in shards for kind, n in part.values())


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config that says nothing of how its tensors were stored before."""
    stale = {"dtype", "torch_dtype", PACKING_KEY}
    return {key: value for key, value in config.items() if key not in stale}


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
