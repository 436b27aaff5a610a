"""Published tensors into the parameters of a module that stands on `meta`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from puna.errors import WeightsError
from puna.families import NameTable, Place, Slice
from puna.weights.checkpoint import Checkpoint
from puna.weights.entry import Entry
from puna.weights.layout import their_shape, to_ours
from puna.weights.mxfp4 import join_stacks

Progress = Callable[[int, int], None]


def load_into(
    module: nn.Module,
    checkpoint: Checkpoint,
    table: NameTable,
    *,
    device: str,
    progress: Progress | None = None,
) -> None:
    """Fill every parameter; every tensor must have a place, and every place a tensor.

    A parameter keeps the dtype it was built with. Where that and the row order already fit and
    the device is the CPU, it is a view of the mapped file. Otherwise it is copied, one tensor at a
    time, and the file's pages are let go.

    Raises:
        WeightsError: a tensor without a place, a parameter without a tensor, a wrong shape.
    """
    wanted = dict(module.named_parameters())
    filled: set[str] = set()
    homeless: list[str] = []
    total, done = sum(checkpoint.dtypes.values()), 0
    main = next(module.parameters()).dtype
    for entry in join_stacks(checkpoint.entries(main), table):
        places = [place for place in table.by_theirs(entry.name) if place.ours in wanted]
        done += entry.size if entry.tensor.dtype.is_floating_point else 0
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
            tensor = _prepare(entry, place, wanted[place.ours].dtype).to(device)
            kept = kept or _shares(tensor, entry)
            _assign(module, place.ours, tensor)
            filled.add(place.ours)
        if not kept:
            entry.release()
    _refuse("without a place in this architecture", homeless, checkpoint)
    missing = [table.by_ours(name).theirs for name in wanted if name not in filled]
    _refuse("missing", missing, checkpoint)


def _check(entry: Entry, parameter: Tensor, places: Sequence[Place]) -> None:
    if not entry.tensor.dtype.is_floating_point:
        raise WeightsError(
            f"tensor {entry.name!r:.120} holds {entry.tensor.dtype}, not floating-point weights",
            where=str(entry.file),
            remedy="use a checkpoint that is not quantized",
        )
    shape = their_shape(parameter.shape, [place.layout for place in places])
    if entry.tensor.shape != shape:
        raise WeightsError(
            f"tensor {entry.name!r:.120} has shape {list(entry.tensor.shape)}, "
            f"but the config asks for {list(shape)}",
            where=str(entry.file),
            remedy="use config and weights of one revision",
        )


def _prepare(entry: Entry, place: Place, dtype: torch.dtype) -> Tensor:
    """Return one parameter; it shares the entry's memory only where nothing is to be changed."""
    stored, layout = entry.tensor, place.layout
    if isinstance(stored, Tensor):
        tensor = to_ours(stored, layout)
        if isinstance(layout, Slice):
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        return tensor.to(dtype)
    assert isinstance(layout, Slice)  # a stack has three axes, and no other parameter has
    return stored.part(layout, dtype)


def _shares(tensor: Tensor, entry: Entry) -> bool:
    return isinstance(entry.tensor, Tensor) and tensor.data_ptr() == entry.tensor.data_ptr()


def _assign(module: nn.Module, name: str, tensor: Tensor) -> None:
    owner, _, leaf = name.rpartition(".")
    setattr(module.get_submodule(owner), leaf, nn.Parameter(tensor, requires_grad=False))


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
