"""Bytes by part: what each layer holds, what stands at the ends, what every device needs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import torch

from puna.engine import PAGE, cache_dtype, value_bytes
from puna.plan.bound import largest_step
from puna.plan.calibrated import kernel_bytes, loading_bytes, runtime_bytes
from puna.plan.compiled import compiled_bytes, runs_compiled
from puna.plan.packed import Packs, largest_working, packs_of, saved_by_ends, saved_by_layer
from puna.plan.record import Serve, Sketch, Tune, Use
from puna.plan.serving import step_bytes
from puna.plan.stand_in import alike
from puna.plan.tuning import Need, tuning_needs
from puna.spec import LayerSpec, ModelSpec, MoE, count_parameters, kv_bytes_per_token

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
    packs = packs_of(sketch, dtype)
    if isinstance(use, Serve):
        found = _serve(sketch.spec, use, dtype, packs, kind)
    else:
        found = _tune(sketch.spec, use, dtype, packs, kind)
    beside = sum((found.first + found.last + found.each).values())
    beside += sum(sum(layer.values()) for layer in found.layers)
    weights = weight_bytes(sketch.spec, dtype, packs)
    # What loading takes for a moment is given back before there is a cache or an activation.
    loading = loading_bytes(sketch, dtype, kind) - (beside - weights)
    each = found.each + Counter(
        loading=max(0, loading),
        runtime=runtime_bytes(kind),
    )
    return replace(found, each=each)


def weight_bytes(spec: ModelSpec, dtype: torch.dtype, packs: Packs | None = None) -> int:
    """Return the bytes of a model's weights; routers are float32 whatever the dtype."""
    (first, last), layers = _weights(spec, dtype, packs)
    return first + last + sum(layers)


def table_bytes(spec: ModelSpec, dtype: torch.dtype, packs: Packs | None) -> int:
    """Return the bytes of a table that is the head too."""
    size = spec.vocab * (spec.head.width or spec.width) * dtype.itemsize
    return size if packs is None else size - saved_by_ends(spec, dtype, packs)[0]


def cache_bytes(spec: ModelSpec, use: Serve, dtype: torch.dtype) -> int:
    """Return what the pages of a use take."""
    tokens = (use.batch * -(-use.context // PAGE) + 1) * PAGE
    return tokens * kv_bytes_per_token(spec, **value_bytes(cache_dtype(use.cache, dtype)))


def _serve(
    spec: ModelSpec, use: Serve, dtype: torch.dtype, packs: Packs | None, kind: str
) -> Costs:
    ends, weights = _weights(spec, dtype, packs)
    layers = tuple(
        Counter(
            {"weights": size, "KV cache": cache_bytes(replace(spec, layers=(layer,)), use, dtype)}
        )
        for layer, size in zip(spec.layers, weights, strict=True)
    )
    if kind == "cpu" and runs_compiled(dtype, packs):
        return Costs(layers, *_ends(ends), Counter(activations=compiled_bytes(spec, use)))
    working = 0 if packs is None else largest_working(spec, largest_step(use).rows)
    kernels = kernel_bytes(spec, use, dtype, kind)
    activations = step_bytes(spec, use, dtype, "cpu") + working
    return Costs(layers, *_ends(ends), Counter(activations=activations, kernels=kernels))


def _tune(spec: ModelSpec, use: Tune, dtype: torch.dtype, packs: Packs | None, kind: str) -> Costs:
    needs = tuning_needs(spec, use, dtype, "cpu")
    ends, weights = _weights(spec, dtype, packs)
    of = {kind.layer: need for kind, need in needs.layers}
    size = dtype.itemsize if use.method == "full" else torch.float32.itemsize
    layers = tuple(
        Counter(weights=weight) + _learned(of[alike(layer)], use, size)
        for layer, weight in zip(spec.layers, weights, strict=True)
    )
    first, last = _ends(ends)
    beside = _learned(needs.ends, use, size)
    kernels = kernel_bytes(spec, use, dtype, kind)
    each = Counter(activations=beside.pop("activations", 0), kernels=kernels)
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


def _ends(ends: tuple[int, int]) -> tuple[Bytes, Bytes]:
    """Return the weights before the first layer and behind the last one."""
    return Counter(weights=ends[0]), Counter(weights=ends[1])


def _weights(
    spec: ModelSpec, dtype: torch.dtype, packs: Packs | None
) -> tuple[tuple[int, int], list[int]]:
    """Return the bytes of the weights of both ends and of each layer."""
    sizes: dict[LayerSpec, int] = {}
    for layer in spec.layers:
        if layer not in sizes:
            one, two = (
                count_parameters(replace(spec, layers=(layer,) * n, extra_layers=0)) for n in (1, 2)
            )
            sizes[layer] = (two - one) * dtype.itemsize + _precise(layer, spec.width, dtype)
    values = sum(sizes[layer] - _precise(layer, spec.width, dtype) for layer in spec.layers)
    last = 0 if spec.head.tied else spec.vocab * (spec.head.width or spec.width) * dtype.itemsize
    first = count_parameters(spec) * dtype.itemsize - values - last
    if packs is None:
        return (first, last), [sizes[layer] for layer in spec.layers]
    table, head = saved_by_ends(spec, dtype, packs)
    less = {x: n - saved_by_layer(alike(x), spec, dtype, packs) for x, n in sizes.items()}
    return (first - table, last - head), [less[layer] for layer in spec.layers]


def _precise(layer: LayerSpec, width: int, dtype: torch.dtype) -> int:
    """Return the bytes that a router takes more for being float32."""
    if not isinstance(layer.ffn, MoE):
        return 0
    router = layer.ffn.router
    values = layer.ffn.experts * (width + router.bias + router.correction)
    return values * (torch.float32.itemsize - dtype.itemsize)
