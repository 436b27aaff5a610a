"""Settings that would fit, the cheapest change first: each is what Puna can do today."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from puna.plan.estimate import estimate, total_of
from puna.plan.record import Device, Option, Serve, Sketch, Tune, Use

# A change of settings: in words, and what it makes of use and dtype.
_Change = tuple[str, Use, str]

_SHORTEST = 512
_SMALL_CHUNK = 512
_LOW_RANK = 4
# What an adapter is least worth having on.
_MOST_MACHINES = 64


def find_options(
    sketch: Sketch, use: Use, dtype: str, device: Device, machines: int
) -> tuple[Option, ...]:
    """Return settings that fit: single changes first, else all of them at once, then devices."""
    found = []
    for ladder in _ladders(use, dtype):
        for change, changed, kind in ladder:
            if option := _fitting(sketch, (change, changed, kind), device, machines):
                found.append(option)
                break
    if not found and (option := _fitting(sketch, _all(use, dtype), device, machines)):
        found.append(option)
    return (*found, *_devices(sketch, use, dtype, device, machines))


def _fitting(sketch: Sketch, change: _Change, device: Device, machines: int) -> Option | None:
    words, use, dtype = change
    total = total_of(estimate(sketch, use, dtype, device.kind, machines))
    return Option(words, use, dtype, total, machines) if total <= device.memory else None


def _ladders(use: Use, dtype: str) -> Iterator[Iterator[_Change]]:
    """Yield ladders of changes; the first rung of each that fits is offered."""
    if isinstance(use, Serve):
        yield (
            (
                f"{n} sequence{'s' * (n > 1)} at once instead of {use.batch}",
                replace(use, batch=n),
                dtype,
            )
            for n in _halves(use.batch, 1)
        )
        yield (
            (
                f"a context of {n:,} tokens instead of {use.context:,}",
                replace(use, context=n),
                dtype,
            )
            for n in _halves(use.context, _SHORTEST)
        )
        yield (
            (f"steps of {n:,} tokens instead of {use.chunk:,}", replace(use, chunk=n), dtype)
            for n in _halves(use.chunk, _SMALL_CHUNK)
        )
    else:
        yield (
            (
                f"{n:,} tokens at once instead of {use.batch_tokens:,}",
                replace(use, batch_tokens=n),
                dtype,
            )
            for n in _halves(use.batch_tokens, use.context)
        )
    if dtype == "float32":
        yield iter([("bfloat16 instead of float32", use, "bfloat16")])
    if isinstance(use, Tune):
        yield from _tuning(use, dtype)


def _tuning(use: Tune, dtype: str) -> Iterator[Iterator[_Change]]:
    if use.method == "full":
        yield iter(
            [("an adapter (LoRA) instead of every weight", replace(use, method="lora"), dtype)]
        )
        return
    yield (
        (f"rank {n} instead of {use.rank}", replace(use, rank=n), dtype)
        for n in _halves(use.rank, _LOW_RANK)
    )
    yield (
        (
            f"examples of at most {n:,} tokens instead of {use.context:,}",
            replace(use, context=n, batch_tokens=min(n, use.batch_tokens)),
            dtype,
        )
        for n in _halves(use.context, _SHORTEST)
    )


def _all(use: Use, dtype: str) -> _Change:
    """Return every change at once, each at its smallest."""
    half = "bfloat16" if dtype == "float32" else dtype
    words = ", bfloat16" if dtype == "float32" else ""
    if isinstance(use, Serve):
        context = min(use.context, _SHORTEST)
        small: Use = Serve(context, 1, min(use.chunk, _SMALL_CHUNK))
        return f"1 sequence of {context:,} tokens{words}", small, half
    context = min(use.context, _SHORTEST)
    small = replace(
        use, method="lora", context=context, batch_tokens=context, rank=min(use.rank, _LOW_RANK)
    )
    return f"an adapter of rank {small.rank}, examples of {context:,} tokens{words}", small, half


def _halves(size: int, least: int) -> Iterator[int]:
    """Yield half of a size, half of that …, powers of two, down to `least`."""
    step = 1 << (size - 1).bit_length() >> 1 if size > 1 else 0
    while step >= least and step > 0:
        yield step
        step //= 2
    if least < size and step * 2 > least > 0:
        yield least


def _devices(
    sketch: Sketch, use: Use, dtype: str, device: Device, machines: int
) -> Iterator[Option]:
    most = min(_MOST_MACHINES, len(sketch.spec.layers))
    for count in range(machines + 1, most + 1):
        total = total_of(estimate(sketch, use, dtype, device.kind, count))
        if total <= device.memory:
            yield Option(
                f"{count} devices of this memory instead of {machines}", use, dtype, total, count
            )
            break
    total = total_of(estimate(sketch, use, dtype, device.kind, machines))
    gigabytes = -(-total // 10**9)
    yield Option(f"a device with {gigabytes:,} GB free", use, dtype, total, machines)
