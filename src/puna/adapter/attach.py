"""Walk a built model: put updates beside its linear maps, and merge them in."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch

from puna.adapter.lora import LoraLinear, Update
from puna.errors import AdapterError
from puna.families import NameTable, Slice
from puna.model import Decoder, Linear, OutputHead, numbers

_MAX_RANK = 1 << 16


def attach(
    model: Decoder,
    table: NameTable,
    *,
    rank: int,
    alpha: float,
    targets: Collection[str] = (),
    dropout: float = 0.0,
    seed: int = 0,
) -> int:
    """Put a fresh adapter on a model and return its slot; its parameters alone require gradients.

    A is uniform within ±1/√in and B is zero, so that training starts from the base.

    Args:
        model: the built decoder.
        table: the names of its family.
        rank: of every update.
        alpha: the update is scaled by alpha / rank.
        targets: last parts of published module names, such as `q_proj`; none means all linear
            maps of attention and feed-forward network, routers left out, and experts that are
            stored as one tensor: they are no modules that an adapter could name.
        dropout: share of inputs dropped in training.
        seed: of A.

    Raises:
        AdapterError: a target that no module has, or a rank that cannot be.
    """
    if not 1 <= rank <= _MAX_RANK or not 0 < alpha < math.inf or not 0 <= dropout < 1:
        raise AdapterError(
            f"rank {rank}, alpha {alpha:g}, dropout {dropout:g} cannot be",
            remedy=f"rank from 1 to {_MAX_RANK}, alpha above 0, dropout from 0 to below 1",
        )
    chosen = _choose(model, table, targets)
    slot = free_slot(model)
    generator = torch.Generator().manual_seed(seed)
    model.requires_grad_(False)
    for name, (outputs, inputs) in chosen.items():
        a = (torch.rand(rank, inputs, generator=generator) * 2 - 1) / inputs**0.5
        update = Update(a, torch.zeros(outputs, rank), scale=alpha / rank, dropout=dropout)
        add(model, name, slot, update.to(model.device))
    return slot


def merge(model: Decoder, slot: int) -> None:
    """Fold an adapter into the base's weights, in this model, and drop it.

    Raises:
        AdapterError: it changes a head that is the token table, which must stay as it is.
    """
    if str(slot) in model.output.updates and model.output.weight is None:
        raise AdapterError(
            "the adapter changes the head, which is the token table of this model too",
            remedy="use the adapter beside its base, without merging",
        )
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLinear | OutputHead):
            _fold(module, slot)
        if isinstance(module, LoraLinear) and not module.updates:
            _replace(model, name, _plain(module))


def detach(model: Decoder, slot: int) -> None:
    """Drop an adapter from a model; its base and other adapters stay."""
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLinear | OutputHead) and str(slot) in module.updates:
            del module.updates[str(slot)]
        if isinstance(module, LoraLinear) and not module.updates:
            _replace(model, name, _plain(module))


def free_slot(model: Decoder) -> int:
    """Return a slot number that no adapter of this model has."""
    adaptable = (m for m in model.modules() if isinstance(m, LoraLinear | OutputHead))
    return max((int(key) for m in adaptable for key in m.updates), default=-1) + 1


def shape_of(model: Decoder, name: str) -> tuple[int, int] | None:
    """Return (outputs, inputs) of the linear map of that dotted name, or None without one."""
    try:
        module = model.get_submodule(name)
    except AttributeError:
        return None
    return _shape(model, module) if isinstance(module, Linear | LoraLinear | OutputHead) else None


def add(model: Decoder, name: str, slot: int, update: Update) -> None:
    """Put an update beside the linear map `name`."""
    module = model.get_submodule(name)
    if isinstance(module, Linear):
        module = LoraLinear(module)
        _replace(model, name, module)
    assert isinstance(module, LoraLinear | OutputHead)
    module.updates[str(slot)] = update


def adapted(model: Decoder, slot: int) -> dict[str, Update]:
    """Return the updates of one adapter by the dotted names of their linear maps."""
    found: dict[str, Update] = {}
    for name, module in model.named_modules():
        if isinstance(module, LoraLinear | OutputHead) and str(slot) in module.updates:
            update = module.updates[str(slot)]
            assert isinstance(update, Update)
            found[name] = update
    return found


def _shape(model: Decoder, module: Linear | LoraLinear | OutputHead) -> tuple[int, int]:
    weight = model.embed.tokens if module.weight is None else module.weight
    return weight.shape[0], weight.shape[1]


def _choose(
    model: Decoder, table: NameTable, targets: Collection[str]
) -> dict[str, tuple[int, int]]:
    """Return names and shapes of the maps to adapt; the head only where it is named."""
    maps = {
        name: _shape(model, module)
        for name, module in model.named_modules()
        if isinstance(module, Linear | LoraLinear | OutputHead)
        and not isinstance(table.their_module(name).layout, Slice)
    }
    if not targets:
        left_out = ("router", "output")
        return {n: shape for n, shape in maps.items() if n.rpartition(".")[2] not in left_out}
    last = {name: table.their_module(name).theirs.rpartition(".")[2] for name in maps}
    for target in targets:
        if target not in last.values():
            raise AdapterError(
                f"no module of this model is called {target!r}",
                remedy=f"known: {', '.join(sorted(set(last.values())))}",
            )
    return {name: shape for name, shape in maps.items() if last[name] in targets}


@torch.no_grad()
def _fold(module: LoraLinear | OutputHead, slot: int) -> None:
    """Add the update of `slot` to the weight and drop it; without one nothing changes."""
    if (key := str(slot)) not in module.updates:
        return
    update, weight = module.updates[key], module.weight
    assert isinstance(update, Update)
    assert weight is not None
    merged = numbers(weight, torch.float32) + update.matrix().to(weight.device)
    # A new parameter: the old one may be a view of a file that others map too.
    del module.weight
    module.weight = torch.nn.Parameter(merged.to(weight.dtype), requires_grad=False)
    del module.updates[key]


def _plain(module: LoraLinear) -> Linear:
    outputs, inputs = module.weight.shape
    with torch.device("meta"):
        linear = Linear(inputs, outputs, bias=module.bias is not None)
    linear.weight, linear.bias = module.weight, module.bias
    return linear


def _replace(model: Decoder, name: str, module: torch.nn.Module) -> None:
    owner, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(owner), leaf, module)
