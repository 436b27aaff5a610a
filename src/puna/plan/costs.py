"""Bytes by part: what each layer holds, what stands at the ends, what every device needs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import torch

from puna.engine import PAGE
from puna.plan.calibrated import kernel_bytes, loading_bytes, runtime_bytes
from puna.plan.record import Serve, Sketch, Tune, Use
from puna.plan.serving import step_bytes
from puna.plan.stand_in import alike
from puna.plan.tuning import Need, tuning_needs
from puna.spec import LayerSpec, ModelSpec, MoE, count_parameters

Bytes = Counter[str]


@dataclass(frozen=True, slots=True)
class Costs:
    """Bytes by part of each layer in order, of the ends, and of whatever device works."""

    layers: tuple[Bytes, ...]
    first: Bytes
    last: Bytes
    each: Bytes


def costs_of(sketch: Sketch, use: Use, dtype: torch.dtype, kind: str) -> Costs:
    """Return what a use of a model comes to on a device of that kind."""
    if isinstance(use, Serve):
        found = _serve(sketch.spec, use, dtype)
    else:
        found = _tune(sketch.spec, use, dtype)
    beside = sum((found.first + found.last + found.each).values())
    beside += sum(sum(layer.values()) for layer in found.layers)
    weights = weight_bytes(sketch.spec, dtype)
    # What loading takes for a moment is given back before there is a cache or an activation.
    loading = loading_bytes(sketch, dtype, kind) - (beside - weights)
    each = found.each + Counter(
        loading=max(0, loading),
        kernels=kernel_bytes(sketch.spec, use, dtype, kind),
        runtime=runtime_bytes(kind),
    )
    return replace(found, each=each)


def weight_bytes(spec: ModelSpec, dtype: torch.dtype) -> int:
    """Return the bytes of a model's weights; routers are float32 whatever the dtype."""
    ends, layers = _weights(spec, dtype)
    return ends + sum(layers)


def cache_tokens(use: Serve) -> int:
    """Return the tokens that the pages of a use have room for."""
    return (use.batch * -(-use.context // PAGE) + 1) * PAGE


def _serve(spec: ModelSpec, use: Serve, dtype: torch.dtype) -> Costs:
    tokens = cache_tokens(use)
    ends, weights = _weights(spec, dtype)
    layers = tuple(
        Counter({"weights": size, "KV cache": tokens * _cached_values(layer) * dtype.itemsize})
        for layer, size in zip(spec.layers, weights, strict=True)
    )
    each = Counter({"activations": step_bytes(spec, use, dtype, "cpu")})
    return Costs(layers, *_ends(spec, ends, dtype), each)


def _tune(spec: ModelSpec, use: Tune, dtype: torch.dtype) -> Costs:
    needs = tuning_needs(spec, use, dtype, "cpu")
    ends, weights = _weights(spec, dtype)
    of = {kind.layer: need for kind, need in needs.layers}
    size = dtype.itemsize if use.method == "full" else torch.float32.itemsize
    layers = tuple(
        Counter(weights=weight) + _learned(of[alike(layer)], use, size)
        for layer, weight in zip(spec.layers, weights, strict=True)
    )
    first, last = _ends(spec, ends, dtype)
    beside = _learned(needs.ends, use, size)
    each = Counter(activations=beside.pop("activations", 0))
    return Costs(layers, first, last + beside, each)


def _learned(need: Need, use: Tune, size: int) -> Bytes:
    """Return activations, and what learning takes: AdamW keeps two numbers of each parameter."""
    found = Counter(
        activations=need.activations,
        gradients=need.learning * size,
        optimizer=2 * need.learning * size,
    )
    if use.method == "lora":
        found["adapter"] = need.learning * size
    return found


def _cached_values(layer: LayerSpec) -> int:
    mixer = layer.mixer
    return mixer.kv_heads * (mixer.head_dim + mixer.v_dim)


def _ends(spec: ModelSpec, ends: int, dtype: torch.dtype) -> tuple[Bytes, Bytes]:
    """Return the weights before the first layer and behind the last one."""
    head = 0 if spec.head.tied else spec.vocab * (spec.head.width or spec.width) * dtype.itemsize
    return Counter(weights=ends - head), Counter(weights=head)


def _weights(spec: ModelSpec, dtype: torch.dtype) -> tuple[int, list[int]]:
    """Return the bytes of the weights of the ends and of each layer."""
    sizes: dict[LayerSpec, int] = {}
    for layer in spec.layers:
        if layer not in sizes:
            one, two = (
                count_parameters(replace(spec, layers=(layer,) * n, extra_layers=0)) for n in (1, 2)
            )
            sizes[layer] = (two - one) * dtype.itemsize + _precise(layer, spec.width, dtype)
    values = sum(sizes[layer] - _precise(layer, spec.width, dtype) for layer in spec.layers)
    ends = count_parameters(spec) * dtype.itemsize - values
    return ends, [sizes[layer] for layer in spec.layers]


def _precise(layer: LayerSpec, width: int, dtype: torch.dtype) -> int:
    """Return the bytes that a router takes more for being float32."""
    if not isinstance(layer.ffn, MoE):
        return 0
    router = layer.ffn.router
    values = layer.ffn.experts * (width + router.bias + router.correction)
    return values * (torch.float32.itemsize - dtype.itemsize)
