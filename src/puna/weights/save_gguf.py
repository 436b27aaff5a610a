"""Parameters to a GGUF file, one tensor at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from puna.errors import UsageError
from puna.families import LatentHalves, NameTable, Place
from puna.formats import (
    GGML_TYPES,
    Typed,
    padding,
    tensor_bytes,
    write_atomic,
    write_gguf_header,
)
from puna.quant import quantize
from puna.weights.layout import to_theirs
from puna.weights.packed import Held, weight_of, weights_of

# One expert of a layer; all of them go into one tensor.
_EXPERT = re.compile(r"(blk\.\d+\.ffn_\w+)\.(\d+)\.(weight|bias)")
# Small tensors that readers of GGUF expect in float32.
_WHOLE = re.compile(r".*(_norm|_norm_2)\.\w+|position_embd\.weight|.*ffn_gate_inp\.weight")


@dataclass(frozen=True, slots=True)
class Planned:
    """One tensor of a file to be written, and the parameters that it is made of, in order."""

    kind: str
    shape: tuple[int, ...]
    places: tuple[Place, ...]


def plan_gguf(module: nn.Module, table: NameTable, kind: str) -> dict[str, Planned]:
    """Return the tensors of a file whose matrices are in the format `kind`, by GGUF name.

    Vectors, norms and routers stay in float32. A matrix whose rows do not fill whole blocks is
    written in bfloat16, or float16 where it comes from that. Below 8 bits the head keeps Q8_0.
    """
    plan: dict[str, Planned] = {}
    weights = dict(weights_of(module))
    tied = "output.weight" not in weights
    for name, parameter in weights.items():
        place = table.by_ours(name)
        if isinstance(place.layout, LatentHalves):
            plan |= _plan_halves(place, place.layout, parameter, kind)
            continue
        match = _EXPERT.fullmatch(place.theirs)
        theirs = f"{match[1]}_exps.{match[3]}" if match else place.theirs
        if (held := plan.get(theirs)) is not None:
            shape = (held.shape[0] + 1, *held.shape[1:])
            plan[theirs] = replace(held, shape=shape, places=(*held.places, place))
            continue
        head = theirs == ("token_embd.weight" if tied else "output.weight")
        shape = tuple(parameter.shape)
        format_ = _format(kind, theirs, shape, parameter.dtype, head=head)
        plan[theirs] = Planned(format_, (1, *shape) if match else shape, (place,))
    return plan


def _plan_halves(
    place: Place, layout: LatentHalves, parameter: Tensor | Held, kind: str
) -> Iterator[tuple[str, Planned]]:
    """Yield the two tensors that stand for the map from a latent to keys and values."""
    rank = parameter.shape[1]
    keys, values = (layout.heads, rank, layout.keys), (layout.heads, layout.values, rank)
    halves: tuple[tuple[Literal["keys", "values"], tuple[int, ...]], ...]
    halves = (("keys", keys), ("values", values))
    for half, shape in halves:
        name = place.theirs.replace("attn_kv_b", f"attn_{half[0]}_b")
        at = replace(place, theirs=name, layout=replace(layout, half=half))
        yield name, Planned(_format(kind, name, shape, parameter.dtype), shape, (at,))


def _format(
    kind: str, name: str, shape: tuple[int, ...], dtype: torch.dtype, *, head: bool = False
) -> str:
    if len(shape) < 2 or _WHOLE.fullmatch(name):
        return "F32"
    if head and kind not in ("F32", "F16", "BF16"):
        kind = "Q8_0"
    if shape[-1] % GGML_TYPES[kind].values:
        return "F16" if dtype == torch.float16 else "BF16"
    return kind


def save_gguf(
    path: Path,
    module: nn.Module,
    plan: Mapping[str, Planned],
    metadata: Mapping[str, Typed],
    *,
    extra: Mapping[str, Tensor] | None = None,
    check: Callable[[Path], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write the file and return its size in bytes; only one tensor is in flight.

    Args:
        path: the file; what was there is replaced in one step.
        module: where the parameters are.
        plan: what `plan_gguf` made of it.
        metadata: all keys, typed.
        extra: more float32 vectors, which come first.
        check: called with the written file before it takes its place.
        progress: called with (bytes done, bytes in all).

    Raises:
        UsageError: a value that float16 cannot hold.
        StorageError: the disk did not take it; what was there before is still there.
    """
    vectors = extra or {}
    shapes = {name: ("F32", tuple(tensor.shape)) for name, tensor in vectors.items()}
    shapes |= {name: (planned.kind, planned.shape) for name, planned in plan.items()}
    header = write_gguf_header(metadata, shapes)
    sizes = {name: tensor_bytes(*shape) for name, shape in shapes.items()}
    total = len(header) + sum(size + padding(size) for size in sizes.values())

    def chunks() -> Iterator[bytes | memoryview]:
        done = len(header)
        yield header
        for name, size in sizes.items():
            parts = [vectors[name]] if name in vectors else _parameters(module, plan[name])
            for part in parts:
                yield _packed(name, part, shapes[name][0])
            yield bytes(padding(size))
            done += size + padding(size)
            if progress:
                progress(done, total)

    write_atomic(path, chunks(), check=check)
    return total


def _parameters(module: nn.Module, planned: Planned) -> Iterator[Tensor]:
    for place in planned.places:
        yield to_theirs(weight_of(module, place.ours).cpu(), place.layout)


def _packed(name: str, tensor: Tensor, kind: str) -> memoryview:
    if kind == "F16" and tensor.dtype != torch.float16 and bool((tensor.abs() > 65_504).any()):
        raise UsageError(
            f"tensor {name} has values that float16 cannot hold", remedy="choose bf16 or q8_0"
        )
    raw: memoryview = quantize(tensor, kind).numpy().data
    return raw
