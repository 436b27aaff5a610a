"""A few layers and experts of a model that stand for all of them, built without data.

A stack of n like layers holds what two of them hold and n - 2 times what one more adds; experts
likewise. So a model of any size is traced in a moment, by its own forward.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from puna.model import Decoder, Linear, Mixture, build
from puna.spec import LayerSpec, ModelSpec, MoE, Router

# Experts that are built of each mixture.
FEW_EXPERTS = 2


@dataclass(frozen=True, slots=True)
class Kind:
    """Layers of one kind: `count` of them in the model, `copies` and `experts` of each built."""

    layer: LayerSpec
    count: int
    copies: int
    experts: int

    @property
    def all_experts(self) -> int:
        """Experts of such a layer in the model; 0 where it has no mixture."""
        return self.layer.ffn.experts if isinstance(self.layer.ffn, MoE) else 0


def kinds_of(spec: ModelSpec, *, copies: int) -> list[Kind]:
    """Return the kinds of a model's layers with up to `copies` of each built."""
    counts: dict[LayerSpec, int] = {}
    for layer in map(alike, spec.layers):
        counts[layer] = counts.get(layer, 0) + 1
    return [
        Kind(layer, count, min(copies, count), min(FEW_EXPERTS, _experts(layer)))
        for layer, count in counts.items()
    ]


def alike(layer: LayerSpec) -> LayerSpec:
    """Return what layers have in common that hold the same: the scale of scores is a number."""
    return replace(layer, mixer=replace(layer.mixer, scale=1.0))


def reduced(spec: ModelSpec, kinds: Sequence[Kind]) -> ModelSpec:
    """Return the spec of a model that has only what the kinds say is built."""
    layers = tuple(_with_few(kind) for kind in kinds for _ in range(kind.copies))
    return replace(spec, layers=layers, extra_layers=0)


def stand_in(spec: ModelSpec, kinds: Sequence[Kind], *, dtype: torch.dtype, busy: float) -> Decoder:
    """Return the decoder of `reduced` on `meta`, with routers as wide as they are.

    Args:
        spec, kinds: what is built.
        dtype: of its weights.
        busy: an expert gets so many times the tokens of an even split.
    """
    model = build(reduced(spec, kinds), dtype=dtype)
    wanted = [kind for kind in kinds for _ in range(kind.copies)]
    for block, kind in zip(model.layers, wanted, strict=True):
        if isinstance(kind.layer.ffn, MoE):
            _widen(block, kind.layer.ffn, kind.experts, spec.width, busy)
    return model.eval()


def _experts(layer: LayerSpec) -> int:
    return layer.ffn.experts if isinstance(layer.ffn, MoE) else 0


def _with_few(kind: Kind) -> LayerSpec:
    moe = kind.layer.ffn
    if not isinstance(moe, MoE):
        return kind.layer
    router = Router(bias=moe.router.bias, correction=moe.router.correction)
    few = replace(moe, experts=kind.experts, top_k=1, router=router)
    return replace(kind.layer, ffn=few)


def _widen(block: nn.Module, moe: MoE, built: int, width: int, busy: float) -> None:
    """Let a mixture of few experts route as the whole one does, and share tokens evenly."""
    mixture = block.get_submodule("ffn")
    assert isinstance(mixture, Mixture)
    with torch.device("meta"):
        mixture.router = Linear(width, moe.experts, bias=moe.router.bias)
        if moe.router.correction:
            mixture.correction = nn.Parameter(torch.empty(moe.experts))
    mixture.top_k, mixture.how = moe.top_k, moe.router
    mixture.share = partial(_evenly, experts=moe.experts, built=built, busy=busy)


def _evenly(
    picks: Tensor, *, experts: int, built: int, busy: float
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield the built experts, each with its share of the tokens. See `puna.model.ffn.Share`."""
    tokens = picks.shape[0]
    each = min(tokens, max(1, round(busy * picks.numel() / experts)))
    for expert in range(min(built, picks.numel())):
        rows = torch.zeros(each, dtype=torch.int64, device=picks.device)
        yield expert, rows, torch.zeros_like(rows)
