"""What a plan is made of and what it says, as frozen records (no torch). Memory is in bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from puna.errors import UsageError
from puna.formats import Packing
from puna.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Sketch:
    """A model as its headers and config tell it, before a weight is touched.

    Args:
        name: what the user calls it.
        spec: the axes of its decoder.
        files: bytes on disk, or to download.
        form: the kind of its files.
        stored: values per stored number format, such as {"BF16": 1_100_000_000} or
            {"Q8_0": …, "F32": …}; empty where only a config is known.
        dtype: what `auto` opens it in.
        packing: how its weights are packed, if they are.
    """

    name: str
    spec: ModelSpec
    files: int
    form: Literal["safetensors", "gguf", "bin"]
    stored: Mapping[str, int]
    dtype: str
    packing: Packing | None = None


Cache = Literal["auto", "int8"]


def check_cache(cache: str) -> None:
    """See that a cache is of a kind that there is.

    Raises:
        UsageError: it is not.
    """
    if cache not in get_args(Cache):
        raise UsageError(f"unknown cache {cache!r:.40}", remedy="choose auto or int8")


@dataclass(frozen=True, slots=True)
class Serve:
    """Serve `batch` sequences at once of `context` tokens each; a step takes up to `chunk`.

    `cache` is what keys and values are kept in: `auto`, the model's dtype, or `int8`.
    """

    context: int
    batch: int = 1
    chunk: int = 2048
    cache: Cache = "auto"

    def __post_init__(self) -> None:
        check_cache(self.cache)
        _positive(context=self.context, batch=self.batch, chunk=self.chunk)


@dataclass(frozen=True, slots=True)
class Tune:
    """Tune on examples of at most `context` tokens, `batch_tokens` of them at once.

    `rank` and `targets` shape a LoRA adapter; no targets means all linear maps. `method` "full"
    trains every weight.
    """

    method: Literal["lora", "full"]
    context: int
    batch_tokens: int = 8192
    rank: int = 8
    targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.method not in ("lora", "full"):
            raise UsageError(f"unknown method {self.method!r:.40}", remedy="choose lora or full")
        _positive(context=self.context, batch_tokens=self.batch_tokens, rank=self.rank)


Use = Serve | Tune


@dataclass(frozen=True, slots=True)
class Device:
    """What a model would run on.

    Args:
        name: such as "this machine" or "H100 SXM 80 GB".
        memory: bytes that a job may use.
        kind: whose arithmetic and whose memory.
        bandwidth: of that memory, bytes per second; None where it is not known.
        flops: dense bfloat16 operations per second.
        watts: of the board under load.
    """

    name: str
    memory: int
    kind: Literal["cpu", "cuda"] = "cpu"
    bandwidth: float | None = None
    flops: float | None = None
    watts: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One part of what is needed: weights, KV cache, activations, gradients, optimizer …"""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Option:
    """A setting that would fit: what to change, in words, and what it then comes to in all.

    `use`, `dtype` and `quant` are the settings after the change, `machines` the devices it then
    takes.
    """

    change: str
    use: Use
    dtype: str
    total: int
    machines: int = 1
    quant: str = "auto"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a model needs for a use, of what there is.

    Args:
        sketch, use: what was planned.
        dtype: what weights are kept in.
        device, machines: where, and on how many of them.
        lines: the parts of `total`, on the device that needs most.
        total: bytes that the fullest device needs.
        capacity: bytes that it has.
        fits: whether the total is within the capacity.
        options: settings that would fit, the cheapest change first; empty where it fits.
        notes: what the figures rest on, and what Puna cannot do yet.
    """

    sketch: Sketch
    use: Use
    dtype: str
    device: Device
    machines: int
    lines: tuple[Line, ...]
    total: int
    capacity: int
    fits: bool
    options: tuple[Option, ...] = ()
    notes: tuple[str, ...] = ()


def _positive(**sizes: int) -> None:
    for name, size in sizes.items():
        if type(size) is not int or size < 1:
            raise UsageError(f"{name} must be a whole number above 0, not {size!r:.40}")
