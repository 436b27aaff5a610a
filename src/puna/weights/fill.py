"""Published tensors into the parameters of a module that stands on `meta`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from puna.errors import WeightsError
from puna.families import NameTable
from puna.weights.checkpoint import Checkpoint
from puna.weights.entry import Entry
from puna.weights.layout import to_ours

Progress = Callable[[int, int], None]


def load_into(
    module: nn.Module,
    checkpoint: Checkpoint,
    table: NameTable,
    *,
    dtype: torch.dtype,
    device: str,
    progress: Progress | None = None,
) -> None:
    """Fill every parameter; every tensor must have a place, and every place a tensor.

    Where dtype and row order already fit and the device is the CPU, a parameter is a view of the
    mapped file. Otherwise it is copied, one tensor at a time, and the file's pages are let go.

    Raises:
        WeightsError: a tensor without a place, a parameter without a tensor, a wrong shape.
    """
    wanted = dict(module.named_parameters())
    filled: set[str] = set()
    homeless: list[str] = []
    total, done = sum(checkpoint.dtypes.values()), 0
    for entry in checkpoint.entries(dtype):
        place = table.by_theirs(entry.name)
        done += entry.size if entry.tensor.dtype.is_floating_point else 0
        if progress:
            progress(done, total)
        if place is None or place.ours not in wanted:
            if table.reason_to_skip(entry.name) is None:
                homeless.append(entry.name)
            continue
        if place.ours in filled:
            raise WeightsError(
                f"tensor {entry.name!r:.120} stands there twice", where=str(entry.file)
            )
        _check(entry, wanted[place.ours])
        tensor = to_ours(entry.tensor, place.layout)
        _assign(module, place.ours, _prepare(entry, tensor, dtype, device))
        filled.add(place.ours)
    _refuse("without a place in this architecture", homeless, checkpoint)
    missing = [table.by_ours(name).theirs for name in wanted if name not in filled]
    _refuse("missing", missing, checkpoint)


def _check(entry: Entry, parameter: Tensor) -> None:
    if not entry.tensor.dtype.is_floating_point:
        raise WeightsError(
            f"tensor {entry.name!r:.120} holds {entry.tensor.dtype}, not floating-point weights",
            where=str(entry.file),
            remedy="use a checkpoint that is not quantized",
        )
    if entry.tensor.shape != parameter.shape:
        raise WeightsError(
            f"tensor {entry.name!r:.120} has shape {list(entry.tensor.shape)}, "
            f"but the config asks for {list(parameter.shape)}",
            where=str(entry.file),
            remedy="use config and weights of one revision",
        )


def _prepare(entry: Entry, tensor: Tensor, dtype: torch.dtype, device: str) -> Tensor:
    if tensor is entry.tensor and tensor.dtype == dtype and device == "cpu":
        return tensor
    ready = tensor.to(device, dtype)
    if ready.data_ptr() != entry.tensor.data_ptr():
        entry.release()
    return ready


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
