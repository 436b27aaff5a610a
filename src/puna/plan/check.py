"""The plan that runs before anything is allocated: it refuses with numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from puna.engine import cache_dtype, value_bytes
from puna.errors import FitError
from puna.formats import Packing, repacked_bits
from puna.loading import Known
from puna.model import is_fast
from puna.plan.allocator import map_blocks
from puna.plan.bound import Kept, Step, due_of, largest_step, step_bound
from puna.plan.calibrated import kernel_bytes, runtime_bytes
from puna.plan.costs import cache_bytes, weight_bytes
from puna.plan.estimate import DTYPES
from puna.plan.make import make_plan
from puna.plan.memory import available_memory
from puna.plan.packed import Packs, largest_working, packs_of
from puna.plan.record import Cache, Device, Plan, Serve, Sketch, Tune, Use
from puna.plan.sketch import sketch_of
from puna.spec import ModelSpec, kv_bytes_per_token

# Passed as a key to ignore, it lets a job begin that is planned not to fit.
MEMORY_KEY = "memory"
# What a conversation needs at least, in tokens, where nothing else is asked for.
ROOM = 2048
# The most that the cache of an engine takes unless more is asked for.
_CACHE_BYTES = 4 << 30
# Blocks that were freed but stay in the heap come to at most so much of a step's tensors.
_HOLES = 1.0


def check_fits(known: Known, use: Callable[[ModelSpec], Use], *, free: int | None = None) -> None:
    """See that a job fits before its weights are read.

    Args:
        known: the model that is about to be opened, and how.
        use: of its spec, what for.
        free: bytes that it may take; by default what is free now.

    Raises:
        FitError: it does not, with figures; not where `MEMORY_KEY` is ignored.
    """
    if MEMORY_KEY in known.ignored:
        return
    sketch = sketch_of(known.description)
    wanted = use(sketch.spec)
    room = memory_of(known.device) if free is None else free
    if isinstance(wanted, Serve) and _bound(sketch, wanted, known) <= room:
        return
    device = Device("this machine", room, _kind(known.device))
    plan = make_plan(sketch, wanted, dtype=known.dtype, quant=known.quant, device=device)
    if not plan.fits:
        raise refusal(plan)
    if isinstance(wanted, Tune) and device.kind == "cpu" and _loose(plan) > room:
        map_blocks()


def serving(
    context: int | None = None,
    batch: int | None = None,
    *,
    cache: Cache = "auto",
    free: int | None = None,
) -> Callable[[Known], None]:
    """Return the check of a model that is to answer, for `puna.loading.load_parts`.

    Args:
        context: the longest sequence that must fit; without it a conversation of `ROOM` tokens.
        batch: sequences at once that must fit; without it one.
        cache: what keys and values are kept in.
        free: as for `check_fits`.
    """

    def use(spec: ModelSpec) -> Serve:
        return Serve(min(context or ROOM, spec.context), batch or 1, cache=cache)

    return lambda known: check_fits(known, use, free=free)


def holding(*, free: int | None = None) -> Callable[[Known], None]:
    """Return the check of a model that is opened to be written again, and computes little."""
    return lambda known: check_fits(known, lambda _: Serve(1, 1, 1), free=free)


def cache_limit(
    spec: ModelSpec,
    *,
    dtype: torch.dtype,
    device: str,
    cache: Cache = "auto",
    context: int | None = None,
    batch: int | None = None,
    sequences: int = 64,
    chunk: int = 2048,
    packing: Packing | None = None,
    free: int | None = None,
) -> int:
    """Return the tokens that an engine's cache may hold so that weights and steps fit beside it.

    Where `context` and `batch` are both stated, exactly theirs; otherwise what fits, at most 4 GiB
    worth or one full context, and at least a conversation.

    Args:
        spec, dtype, device: of the model.
        cache: what keys and values are kept in.
        context, batch: the longest sequence and the sequences at once, where they are stated.
        sequences, chunk: the most sequences, and new tokens, of a step.
        packing: of its weights.
        free: bytes that all of it may take; by default what is free now.
    """
    longest = min(context or spec.context, spec.context)
    if context is not None and batch is not None:
        return batch * longest
    each = kv_bytes_per_token(spec, **value_bytes(cache_dtype(cache, dtype)))
    most = max(longest * (batch or 1), _CACHE_BYTES // each)
    room = memory_of(device) if free is None else free
    packs = None
    if packing is not None:
        bits = repacked_bits(packing.format)
        packs = Packs(packing.format) if bits is None else Packs(None, bits)
        room -= largest_working(spec, chunk + sequences)
    room -= _fixed(spec, Serve(1), dtype, device, packs)
    kept = Kept(dtype.itemsize, not is_fast(dtype), cache == "int8")
    low, high = min(ROOM, longest), most
    while low < high:  # the largest that fits
        tokens = (low + high + 1) // 2
        step = Step(chunk + due_of(sequences), tokens, due_of(sequences), min(tokens, longest))
        if tokens * each + step_bound(spec, step, kept) <= room:
            low = tokens
        else:
            high = tokens - 1
    return low


def memory_of(device: str) -> int:
    """Return the bytes that a fresh process could take: what is free, and what this one has."""
    if _kind(device) == "cuda":
        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    return available_memory() + _own()


def refusal(plan: Plan) -> FitError:
    """Return the error that a plan which does not fit ends in."""
    parts = ", ".join(f"{line.name} {_gb(line.bytes)}" for line in plan.lines)
    options = "; ".join(f"{option.change} ({_gb(option.total)})" for option in plan.options[:3])
    return FitError(
        f"{plan.sketch.name} needs {_gb(plan.total)} of memory, and {_gb(plan.capacity)} are free: "
        f"{parts}",
        where=plan.device.name,
        remedy=f"{options}; or insist with --ignore-key {MEMORY_KEY}",
    )


def _bound(sketch: Sketch, use: Serve, known: Known) -> int:
    spec, dtype = sketch.spec, DTYPES[known.dtype]
    packs = packs_of(replace(sketch, packing=known.packing), dtype)
    step = largest_step(use)
    working = 0 if packs is None else largest_working(spec, step.rows)
    kept = Kept(dtype.itemsize, not is_fast(dtype), use.cache == "int8")
    fixed = _fixed(spec, use, dtype, known.device, packs)
    return fixed + cache_bytes(spec, use, dtype) + step_bound(spec, step, kept) + working


def _fixed(
    spec: ModelSpec, use: Use, dtype: torch.dtype, device: str, packs: Packs | None = None
) -> int:
    kind = _kind(device)
    beside = runtime_bytes(kind) + kernel_bytes(spec, use, dtype, kind)
    return weight_bytes(spec, dtype, packs) + beside


def _loose(plan: Plan) -> int:
    """Return the total where freed blocks stay in the heap."""
    return plan.total + int(_HOLES * sum(b.bytes for b in plan.lines if b.name == "activations"))


def _kind(device: str) -> Literal["cpu", "cuda"]:
    return "cuda" if device.startswith("cuda") else "cpu"


def _own() -> int:
    """Return what this process holds; pages of files are left out, for they count as free."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    found = re.search(r"^RssAnon:\s+(\d+) kB", status, re.M)
    return int(found[1]) << 10 if found else 0


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"
