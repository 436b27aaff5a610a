"""Packed weights on their way into a module and out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from puna.errors import FormatError, PunaError, WeightsError
from puna.families import GroupedQKV, Layout, RopePairs, Slice
from puna.formats import PARTS
from puna.quant import Packed, change, from_tensors, pack
from puna.weights.entry import Entry, Lazy
from puna.weights.ggml import Blocks
from puna.weights.layout import to_ours

# Layouts that only put rows in another order, which packed rows can be put in as well.
_BY_ROWS = (NoneType, RopePairs, GroupedQKV)


@runtime_checkable
class Held(Protocol):
    """A module that stands where a packed weight is, as `puna.model.PackedWeight` does.

    `form` is its record without data.
    """

    shape: torch.Size
    dtype: torch.dtype
    form: Packed

    @property
    def packed(self) -> Packed:
        """The canonical tensors."""

    def numbers(self, dtype: torch.dtype | None = None) -> Tensor:
        """Return the matrix, unpacked."""


@dataclass(frozen=True, slots=True)
class Packer:
    """How weights are packed as they are read.

    Args:
        kinds: int8, int4 or nf4 for each of our parameters that is packed; None keeps what is
            packed or in blocks as it is.
        hold: makes the module that takes a parameter's place.
    """

    kinds: Mapping[str, str | None]
    hold: Callable[[str, Packed], nn.Module]


def packed_of(tensor: Tensor | Lazy | Packed, layout: Layout, kind: str | None) -> Packed | None:
    """Return a stored matrix packed, in our row order; None where it stays as numbers.

    Args:
        tensor: of an `Entry`.
        layout: of its place.
        kind: as of `Packer`.

    Raises:
        WeightsError: values that are not finite.
    """
    if isinstance(tensor, Packed):
        return tensor
    if isinstance(tensor, Blocks) and isinstance(layout, _BY_ROWS):
        found = tensor.repack() if kind is None else pack(tensor, kind)
        return None if found is None else change(found, lambda rows: to_ours(rows, layout))
    if kind is None:
        return None
    return pack(in_our_order(tensor, layout, torch.float32), kind)


def in_our_order(tensor: Tensor | Lazy, layout: Layout, dtype: torch.dtype) -> Tensor:
    """Return the numbers that a place takes of a stored tensor; those of a lazy one in `dtype`."""
    if isinstance(tensor, Tensor):
        return to_ours(tensor, layout)
    if isinstance(layout, Slice):  # of a stack, which has three axes
        return tensor.part(layout, dtype)
    return to_ours(tensor.part(None, dtype), layout)


def stems(names: Iterable[str]) -> dict[str, frozenset[str]]:
    """Return our names of packed weights with the names of the tensors that make up each."""
    known = frozenset(names)
    found = {}
    for name in known:
        stem, _, last = name.rpartition(".")
        if last == "codes":
            found[stem] = known & {f"{stem}.{part}" for part in PARTS}
    return found


def join_parts(entries: Iterable[Entry], parts: Mapping[str, frozenset[str]]) -> Iterator[Entry]:
    """Pass entries on, the tensors of one packed weight as one; see `stems`.

    Raises:
        FormatError: tensors that make up no packed weight.
    """
    owner = {name: stem for stem, names in parts.items() for name in names}
    waiting: dict[str, list[Entry]] = {}
    for entry in entries:
        stem = owner.get(entry.name)
        if stem is None:
            yield entry
            continue
        held = waiting.setdefault(stem, [])
        held.append(entry)
        if len(held) == len(parts[stem]):
            yield _joined(stem, waiting.pop(stem))


def _joined(stem: str, entries: list[Entry]) -> Entry:
    tensors = {entry.name.rpartition(".")[2]: entry.tensor for entry in entries}

    def release() -> None:
        for entry in entries:
            entry.release()

    size = sum(entry.size for entry in entries)
    try:
        packed = from_tensors(tensors)  # type: ignore[arg-type]
    except FormatError as error:
        raise FormatError(
            f"packed weight {stem!r:.120}: {error.what}",
            where=str(entries[0].file),
            remedy="quantize the model again: puna quantize",
        ) from error
    return Entry(stem, entries[0].file, size, packed, release)


def weights_of(module: nn.Module) -> Iterator[tuple[str, Tensor | Held]]:
    """Yield every weight by name: parameters, then packed ones."""
    yield from module.named_parameters()
    for name, part in module.named_modules():
        if isinstance(part, Held):
            yield name, part


def weight_of(module: nn.Module, name: str) -> Tensor:
    """Return a weight's values, unpacked to float32 where they are packed."""
    owner, _, leaf = name.rpartition(".")
    found = getattr(module.get_submodule(owner), leaf)
    if isinstance(found, Held):
        return found.numbers(torch.float32)
    assert isinstance(found, Tensor)
    return found.detach()


def put(module: nn.Module, name: str, weight: nn.Parameter | nn.Module) -> None:
    """Put a weight in the place of the one of that name, whichever of both is packed."""
    owner, _, leaf = name.rpartition(".")
    place = module.get_submodule(owner)
    delattr(place, leaf)  # a module does not take the place of a parameter by itself
    setattr(place, leaf, weight)


def named_error(error: PunaError, entry: Entry) -> WeightsError:
    """Return what went wrong with an entry, by its name."""
    return WeightsError(
        f"tensor {entry.name!r:.120} cannot be packed: {error.what}",
        where=str(entry.file),
        remedy="download the weights again, or open the model without quantizing it",
    )
