"""Published tensors into the parameters of a module that stands on `meta`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from puna.errors import WeightsError
from puna.families import NameTable, Place, Slice
from puna.quant import Packed, change, shape_of, unpack
from puna.weights.checkpoint import Checkpoint
from puna.weights.entry import Entry
from puna.weights.layout import their_shape
from puna.weights.mxfp4 import join_stacks
from puna.weights.packed import Packer, in_our_order, join_parts, named_error, packed_of, put

Progress = Callable[[int, int], None]


def load_into(
    module: nn.Module,
    checkpoint: Checkpoint,
    table: NameTable,
    *,
    device: str,
    packer: Packer | None = None,
    progress: Progress | None = None,
) -> None:
    """Fill every parameter; every tensor must have a place, and every place a tensor.

    A parameter keeps the dtype it was built with. Where that and the row order already fit and
    the device is the CPU, it is a view of the mapped file. Otherwise it is copied, one tensor at a
    time, and the file's pages are let go.

    Args:
        module: stands on `meta`.
        checkpoint: opened.
        table: what it calls its tensors.
        device: where parameters go.
        packer: packs weights as they come, or keeps them packed; without one all are unpacked.
        progress: called with (bytes done, bytes in all).

    Raises:
        WeightsError: a tensor without a place, a parameter without a tensor, a wrong shape, or one
            that cannot be packed.
    """
    wanted = dict(module.named_parameters())
    filled: set[str] = set()
    homeless: list[str] = []
    total, done = checkpoint.size, 0
    main = next(module.parameters()).dtype
    entries = join_parts(checkpoint.entries(main, lazily=packer is not None), checkpoint.packed)
    for entry in join_stacks(entries, table):
        places = [place for place in _places(entry, table) if place.ours in wanted]
        done += entry.size if _is_weight(entry) else 0
        if progress:
            progress(done, total)
        if not places:
            if table.reason_to_skip(entry.name) is None:
                homeless.append(entry.name)
            continue
        if places[0].ours in filled:
            raise WeightsError(
                f"tensor {entry.name!r:.120} stands there twice", where=str(entry.file)
            )
        _check(entry, wanted[places[0].ours], places)
        kept = False
        for place in places:
            kept |= _fill(module, entry, place, wanted[place.ours].dtype, device, packer)
            filled.add(place.ours)
        if not kept:
            entry.release()
    _refuse("without a place in this architecture", homeless, checkpoint)
    missing = [table.by_ours(name).theirs for name in wanted if name not in filled]
    _refuse("missing", missing, checkpoint)


def _places(entry: Entry, table: NameTable) -> tuple[Place, ...]:
    """Return where an entry goes; packed weights are stored under our own names."""
    if isinstance(entry.tensor, Packed):
        return (Place(entry.name, entry.name, None),)
    return table.by_theirs(entry.name)


def _is_weight(entry: Entry) -> bool:
    return isinstance(entry.tensor, Packed) or entry.tensor.dtype.is_floating_point


def _check(entry: Entry, parameter: Tensor, places: Sequence[Place]) -> None:
    if not _is_weight(entry):
        raise WeightsError(
            f"tensor {entry.name!r:.120} holds integers, not floating-point weights",
            where=str(entry.file),
            remedy="use a checkpoint that is not quantized",
        )
    packed = isinstance(entry.tensor, Packed)
    found = shape_of(entry.tensor) if isinstance(entry.tensor, Packed) else entry.tensor.shape
    shape = their_shape(parameter.shape, [place.layout for place in places])
    if tuple(found) != shape or (packed and len(shape) != 2):
        raise WeightsError(
            f"tensor {entry.name!r:.120} has shape {list(found)}, "
            f"but the config asks for {list(shape)}",
            where=str(entry.file),
            remedy="use config and weights of one revision",
        )


def _fill(
    module: nn.Module,
    entry: Entry,
    place: Place,
    dtype: torch.dtype,
    device: str,
    packer: Packer | None,
) -> bool:
    """Put one weight where it belongs, and tell whether it still lies in the file's memory."""
    if packer is not None and place.ours in packer.kinds:
        try:
            packed = packed_of(entry.tensor, place.layout, packer.kinds[place.ours])
        except WeightsError as error:
            raise named_error(error, entry) from error
        if packed is not None:
            held = packer.hold(place.ours, change(packed, lambda part: part.to(device)))
            put(module, place.ours, held)
            return _shares(held, packed, entry)
    tensor = _prepare(entry, place, dtype).to(device)
    put(module, place.ours, nn.Parameter(tensor, requires_grad=False))
    own = entry.tensor
    return isinstance(own, Tensor) and tensor.data_ptr() == own.data_ptr()


def _prepare(entry: Entry, place: Place, dtype: torch.dtype) -> Tensor:
    """Return one parameter; it shares the entry's memory only where nothing is to be changed."""
    stored, layout = entry.tensor, place.layout
    if isinstance(stored, Packed):
        return unpack(stored, dtype)
    tensor = in_our_order(stored, layout, dtype)
    if isinstance(stored, Tensor) and isinstance(layout, Slice):
        tensor = tensor.clone(memory_format=torch.contiguous_format)
    return tensor.to(dtype)


def _shares(held: nn.Module, packed: Packed, entry: Entry) -> bool:
    """Tell whether a module holds the very codes of a mapped file."""
    own, kept = entry.tensor, getattr(held, "ready", None)
    return isinstance(own, Packed) and isinstance(kept, Packed) and kept.codes is packed.codes


def _refuse(complaint: str, names: Iterable[str], checkpoint: Checkpoint) -> None:
    names = list(names)
    if names:
        shown = ", ".join(f"{name!r:.120}" for name in names[:5])
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise WeightsError(
            f"tensors {complaint}: {shown}{more}",
            where=str(checkpoint.files[0].parent),
            remedy="check that config.json belongs to these weights",
        )
