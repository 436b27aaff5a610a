"""Settings that would fit, the cheapest change first: each is what Puna can do today."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace

from puna.errors import UsageError
from puna.plan.estimate import estimate, total_of
from puna.plan.packed import opened_as
from puna.plan.record import Device, Option, Serve, Sketch, Tune, Use

# What weights are kept in: dtype, and what they are packed in.
Kept = tuple[str, str]
# A change of settings: in words, and what it makes of use and weights.
_Change = tuple[str, Use, Kept]
_Ladders = list[Iterator[_Change]]

_SHORTEST = 512
_SMALL_CHUNK = 512
_LOW_RANK = 4
_MOST_MACHINES = 64


def find_options(
    sketch: Sketch, use: Use, kept: Kept, device: Device, machines: int
) -> tuple[Option, ...]:
    """Return settings that fit: single changes first, else all of them at once, then devices."""
    found: list[Option] = []
    for ladder in _ladders(sketch, use, kept):
        found += _first(sketch, ladder, device, machines)
    if not found:
        found += _first(sketch, _together(use, kept), device, machines)
    return (*found, *_devices(sketch, use, kept, device, machines))


def _first(
    sketch: Sketch, ladder: Iterable[_Change], device: Device, machines: int
) -> list[Option]:
    """Return the first rung that fits, if one does."""
    for words, use, kept in ladder:
        total = _total(sketch, use, kept, device, machines)
        if total <= device.memory:
            return [Option(words, use, kept[0], total, machines, kept[1])]
    return []


def _total(sketch: Sketch, use: Use, kept: Kept, device: Device, machines: int) -> int:
    dtype, quant = kept
    return total_of(estimate(opened_as(sketch, quant, dtype), use, dtype, device.kind, machines))


def _ladders(sketch: Sketch, use: Use, kept: Kept) -> Iterator[Iterator[_Change]]:
    """Yield ladders of changes; the first rung of each that fits is offered."""
    own, others = _serving(use, kept) if isinstance(use, Serve) else _tuning(use, kept)
    yield from own
    dtype, quant = kept
    if dtype == "float32":
        yield iter([("bfloat16 instead of float32", use, ("bfloat16", quant))])
    yield (
        (f"weights in {bits} bits (--quant {format_})", use, (dtype, format_))
        for format_, bits in _packings(sketch, use, kept)
    )
    yield from others


def _packings(sketch: Sketch, use: Use, kept: Kept) -> Iterator[tuple[str, int]]:
    """Yield formats that weights may be packed in, and their bits; none where they are already."""
    if opened_as(sketch, kept[1], kept[0]).packing is not None:
        return
    if isinstance(use, Tune) and use.method == "full":
        return
    for format_, bits in (("int8", 8), ("int4", 4)):
        with suppress(UsageError):  # blocks of a file that are as coarse
            opened_as(sketch, format_, kept[0])
            yield format_, bits


def _serving(use: Serve, kept: Kept) -> tuple[_Ladders, _Ladders]:
    """Return ladders that come before a change of dtype, and those that come after."""
    batch = (
        (
            f"{n} sequence{'s' * (n > 1)} at once instead of {use.batch}",
            replace(use, batch=n),
            kept,
        )
        for n in _halves(use.batch, 1)
    )
    context = (
        (f"a context of {n:,} tokens instead of {use.context:,}", replace(use, context=n), kept)
        for n in _halves(use.context, _SHORTEST)
    )
    chunk = (
        (f"steps of {n:,} tokens instead of {use.chunk:,}", replace(use, chunk=n), kept)
        for n in _halves(use.chunk, _SMALL_CHUNK)
    )
    rounded = [("keys and values in 8 bits (--cache int8)", replace(use, cache="int8"), kept)]
    return [batch, iter(rounded if use.cache == "auto" else []), context, chunk], []


def _tuning(use: Tune, kept: Kept) -> tuple[_Ladders, _Ladders]:
    """Return the same of tuning; fewer tokens at once change no step, the others do."""
    at_once = (
        (
            f"{n:,} tokens at once instead of {use.batch_tokens:,}",
            replace(use, batch_tokens=n),
            kept,
        )
        for n in _halves(use.batch_tokens, use.context)
    )
    if use.method == "full":
        lora = ("an adapter (LoRA) instead of every weight", replace(use, method="lora"), kept)
        return [at_once], [iter([lora])]
    rank = (
        (f"rank {n} instead of {use.rank}", replace(use, rank=n), kept)
        for n in _halves(use.rank, _LOW_RANK)
    )
    shorter = (
        (
            f"examples of at most {n:,} tokens, one at a time, instead of {use.context:,}",
            replace(use, context=n, batch_tokens=min(n, use.batch_tokens)),
            kept,
        )
        for n in _halves(use.context, _SHORTEST)
    )
    return [at_once], [rank, shorter]


def _together(use: Use, kept: Kept) -> Iterator[_Change]:
    """Yield every cheap change at once, with the context halved until it fits."""
    half = ("bfloat16", kept[1]) if kept[0] == "float32" else kept
    words = ", bfloat16" if kept[0] == "float32" else ""
    for context in (use.context, *_halves(use.context, _SHORTEST)):
        if isinstance(use, Serve):
            small: Use = Serve(context, 1, min(use.chunk, _SMALL_CHUNK), use.cache)
            yield f"1 sequence of {context:,} tokens, small steps{words}", small, half
        else:
            rank = min(use.rank, _LOW_RANK)
            small = replace(use, method="lora", context=context, batch_tokens=context, rank=rank)
            said = f"an adapter of rank {rank}, one example of {context:,} tokens at a time"
            yield said + words, small, half


def _halves(size: int, least: int) -> Iterator[int]:
    """Yield half of a size, half of that …, powers of two, down to `least`."""
    step = 1 << (size - 1).bit_length() >> 1 if size > 1 else 0
    while step >= least and step > 0:
        yield step
        step //= 2
    if least < size and step * 2 > least > 0:
        yield least


def _devices(
    sketch: Sketch, use: Use, kept: Kept, device: Device, machines: int
) -> Iterator[Option]:
    most = min(_MOST_MACHINES, len(sketch.spec.layers))
    dtype, quant = kept
    for count in range(machines + 1, most + 1):
        total = _total(sketch, use, kept, device, count)
        if total <= device.memory:
            words = f"{count} devices of this memory instead of {machines}"
            yield Option(words, use, dtype, total, count, quant)
            break
    total = _total(sketch, use, kept, device, machines)
    gigabytes = -(-total // 10**9)
    words = f"a device with {gigabytes:,} GB free"
    yield Option(words, use, dtype, total, machines, quant)
