"""Packing that knows what each map is fed: the model is packed layer by layer, as text runs in it.

What a layer is fed is what the layers before it make of the text once they are packed, so that a
layer makes up for what those err (Frantar et al. 2022). One layer's moments are held at a time.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from puna.engine import PAGE, Engine, Request, Sampling
from puna.errors import WeightsError
from puna.loading import Parts
from puna.model import Decoder, Segments
from puna.quant import pack, pack_fed
from puna.weights import Packer, put

# Tokens that run at once.
_AT_ONCE = 2048
# Texts of the model's own, and tokens of each.
_TEXTS, _LENGTH = 64, 256


@torch.inference_mode()
def calibrate(
    model: Decoder,
    sequences: Sequence[Sequence[int]],
    packer: Packer,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Pack the weights of a model in place, each for the inputs that text brings it.

    Args:
        model: filled, its weights not packed.
        sequences: ids, none longer than the context.
        packer: from `puna.loading.packer_of`.
        progress: called with (layers done, layers in all).

    Raises:
        WeightsError: a weight, or what it is fed, is not finite.
    """
    batches = [_batch(model, part) for part in _batches(sequences)]
    states = [x for x, _ in batches]
    layers = zip(*(steps for _, steps in batches), strict=True)
    for index, steps in enumerate(layers):
        inside = {n: k for n, k in packer.kinds.items() if n.startswith(f"layers.{index}.")}
        with _moments(model, inside) as found:
            for step, x in zip(steps, states, strict=True):
                step(x)
        for name, kind in inside.items():
            _pack(model, name, kind, found[name], packer)
        states = [step(x) for step, x in zip(steps, states, strict=True)]
        if progress:
            progress(index + 1, len(model.layers))
    for name, kind in packer.kinds.items():
        if not name.startswith("layers."):
            _pack(model, name, kind, None, packer)


def own_text(parts: Parts) -> list[Sequence[int]]:
    """Return text that a model says, as ids, the same each time.

    A sequence begins with a token drawn at random and goes on by the model's own distribution
    (LLM-QAT, Liu et al. 2023), so no data is needed, and none of what proves the model is used.
    """
    spec, first = parts.spec, parts.text.specials.bos
    drawn = random.Random(0)
    begins = [drawn.randrange(spec.vocab) for _ in range(_TEXTS)]
    length = min(_LENGTH, spec.context - 2)
    ahead = () if first is None else (first,)
    engine = Engine(
        parts.model, spec, max_sequences=_TEXTS, cache_tokens=_TEXTS * (length + 2 + PAGE)
    )
    asked = [
        Request(str(n), (*ahead, begin), length, sampling=Sampling(temperature=1.0), seed=n)
        for n, begin in enumerate(begins)
    ]
    done = engine.run(asked)
    return [(*one.prompt_ids, *said.token_ids) for one, said in zip(asked, done, strict=True)]


def _batches(sequences: Sequence[Sequence[int]]) -> Iterator[list[Sequence[int]]]:
    part: list[Sequence[int]] = []
    for ids in sequences:
        if part and sum(map(len, part)) + len(ids) > _AT_ONCE:
            yield part
            part = []
        part.append(ids)
    if part:
        yield part


def _batch(
    model: Decoder, sequences: Sequence[Sequence[int]]
) -> tuple[Tensor, Iterator[Callable[[Tensor], Tensor]]]:
    """Return what the first layer sees of some sequences, and the layers as maps."""
    ctx = Segments([len(ids) for ids in sequences], device=model.device)
    flat = torch.tensor([i for ids in sequences for i in ids], device=model.device)
    return model.embed(flat, ctx.positions), model.blocks(ctx.positions, ctx)


@contextmanager
def _moments(model: Decoder, names: Mapping[str, object]) -> Iterator[dict[str, Tensor]]:
    """Within, the sums of x xᵀ over inputs x of the maps that these weights are of: [K, K]."""
    found: dict[str, Tensor] = {}
    hooks = []
    for name in names:
        owner = model.get_submodule(name.rpartition(".")[0])
        width = model.get_parameter(name).shape[1]
        found[name] = torch.zeros(width, width, device=model.device)

        def add(_: nn.Module, args: tuple[Tensor, ...], name: str = name) -> None:
            x = args[0].float()
            found[name].addmm_(x.t(), x)

        hooks.append(owner.register_forward_pre_hook(add))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _pack(
    model: Decoder, name: str, kind: str | None, moments: Tensor | None, packer: Packer
) -> None:
    assert kind is not None
    weight = model.get_parameter(name).detach()
    try:
        packed = pack(weight, kind) if moments is None else pack_fed(weight, moments, kind)
    except WeightsError as error:
        raise WeightsError(f"the weight {name} cannot be packed: {error.what}") from error
    put(model, name, packer.hold(name, packed))
