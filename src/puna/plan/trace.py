"""Bytes that operations hold, counted without computing them: tensors have shapes and no data."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts bytes of the storages that operations make, `live` now and at `most`.

    Works on tensors with data and without. What a kernel takes for itself is not seen.

    Args:
        known: tensors that were there before and do not count.
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live: int = 0
        self.most: int = 0
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet()
        for tensor in known:
            self._seen.add(tensor.untyped_storage())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count what it made."""
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._count(leaf)
        return out

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._seen:
            return
        self._seen.add(storage)
        self.live += storage.nbytes()
        self.most = max(self.most, self.live)
        weakref.finalize(storage, self._free, storage.nbytes())

    def _free(self, size: int) -> None:
        self.live -= size


@contextmanager
def without_data() -> Iterator[None]:
    """Within, tensors have shape, dtype and device but no values, and take no memory."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def peak(run: Callable[[], object], known: Iterable[Tensor]) -> int:
    """Return the most bytes that `run` holds at once beyond what is known before."""
    meter = Meter(known)
    with meter:
        run()
    return meter.most


def materialize(model: nn.Module, device: str) -> None:
    """Give a model that stands on `meta` parameters on a device, within `without_data`."""
    for name, parameter in list(model.named_parameters()):
        owner, _, leaf = name.rpartition(".")
        made = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
        setattr(model.get_submodule(owner), leaf, nn.Parameter(made, parameter.requires_grad))
