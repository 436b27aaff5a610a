"""Rough time, energy and price of a number of tokens, every assumption said.

Reading a prompt and tuning are bound by arithmetic: 2 operations per parameter and token forward,
4 more backward of which 2 are for the weights' own gradients (Kaplan et al. 2020, section 2.1),
and those of attention. Writing is bound by memory: each step reads the weights it uses, and the
cache, once (Pope et al. 2022, section 3).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from puna.errors import UsageError
from puna.formats import Packing, bits_of_packing, repacked_bits
from puna.plan.record import Device, Plan, Serve
from puna.spec import Dense, ModelSpec, MoE, Router, count_parameters

WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}
_COUNT = re.compile(r"(\d+(?:\.\d+)?)([kmbt]?)", re.I)
_SCALES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
_PRICE = re.compile(r"(?P<name>[^:]*[^:\s])\s*:\s*(?P<read>[^/:]+)/(?P<written>[^/:]+)")
_AMOUNT = re.compile(r"([^-+\d.\s]*)\s*(\d+(?:\.\d+)?)\s*([^-+\d.\s]*)")
_READ_SHARE = 0.75  # of a number of tokens whose split is not said
# What the program takes per layer of a step beside the products: 0.4 ms at one sequence, measured
# on models so small that nothing else counts. A card computes meanwhile.
_LAYER_SECONDS = 0.4e-3


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens read (prompts, or texts to tune on) and tokens written."""

    read: int
    written: int


@dataclass(frozen=True, slots=True)
class Rates:
    """What a device does: bytes and operations per second, and which share of each is reached.

    `origin` says where the figures are from. Watts are those of one device.
    """

    bandwidth: float
    flops: float
    watts: float | None
    bandwidth_share: float
    flops_share: float
    origin: str


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds for reading and writing, and energy in kWh where a device's power is known."""

    tokens: Tokens
    machines: int
    read_seconds: float
    write_seconds: float
    kwh: float | None
    notes: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """All of it, one after the other."""
        return self.read_seconds + self.write_seconds


@dataclass(frozen=True, slots=True)
class Vendor:
    """A price per million tokens read and written, in whatever currency the user writes."""

    name: str
    read: float
    written: float
    currency: str

    def price(self, tokens: Tokens) -> float:
        """Return what these tokens cost there."""
        return (tokens.read * self.read + tokens.written * self.written) / 1e6


def parse_tokens(text: str) -> Tokens:
    """Return the tokens that `10M` or `10M:2M` (read:written) means; a sole number is split 3:1.

    Raises:
        UsageError: it is neither.
    """
    parts = [_COUNT.fullmatch(part.strip()) for part in text.split(":")]
    counts = [round(float(p[1]) * _SCALES[p[2].lower()]) for p in parts if p]
    if len(counts) != len(parts) or len(counts) > 2 or not 0 < sum(counts) < 1 << 60:
        raise UsageError(f"{text!r:.40} is no number of tokens", remedy="such as 10M, or 10M:2M")
    if len(counts) == 2:
        return Tokens(*counts)
    read = round(counts[0] * _READ_SHARE)
    return Tokens(read, counts[0] - read)


def parse_vendor(text: str) -> Vendor:
    """Return the price that `NAME:IN/OUT` means, per million tokens, with or without a currency.

    Raises:
        UsageError: it is not of that form.
    """
    found = _PRICE.fullmatch(text.strip())
    amounts = [_AMOUNT.fullmatch(found[k].strip()) for k in ("read", "written")] if found else []
    good = [amount for amount in amounts if amount]
    if found is None or len(good) != 2:
        raise UsageError(
            f"{text!r:.60} is no price",
            remedy='give NAME:IN/OUT per million tokens, such as "Example:$3/$15"',
        )
    currency = next((side for amount in good for side in (amount[1], amount[3]) if side), "")
    return Vendor(found["name"], float(good[0][2]), float(good[1][2]), currency)


def check_currencies(vendors: Iterable[Vendor]) -> None:
    """See that prices can be compared.

    Raises:
        UsageError: they are in several currencies.
    """
    named = sorted({vendor.currency for vendor in vendors if vendor.currency})
    if len(named) > 1:
        raise UsageError(
            f"prices in {' and '.join(named)} cannot be compared",
            remedy="give all of them, and --kwh-price, in one currency",
        )


def rates_of(device: Device, dtype: str, *, measured: bool) -> Rates | None:
    """Return what a device does in a dtype; None where that is not published.

    Args:
        device: with bandwidth and flops, as its data sheet says or as they were measured.
        dtype: what weights are kept in.
        measured: whether the figures are of products that ran here, in that dtype.
    """
    if device.bandwidth is None or device.flops is None:
        return None
    if measured:
        return Rates(device.bandwidth, device.flops, device.watts, 0.6, 0.85, "measured here")
    if dtype == "float32":
        return None  # sheets give products in 16 bits, and float32 is many times slower
    return Rates(device.bandwidth, device.flops, device.watts, 0.6, 0.4, "published peaks")


def estimate(plan: Plan, tokens: Tokens, rates: Rates) -> Cost:
    """Return roughly what it takes to serve these tokens, or to tune on all of them, as planned."""
    if isinstance(plan.use, Serve):
        read, write, notes = _serving(plan, plan.use, tokens, rates)
    else:
        tokens = Tokens(tokens.read + tokens.written, 0)
        read, write, notes = _tuning(plan, tokens, rates)
    kwh = None
    if rates.watts is not None:
        kwh = rates.watts * plan.machines * (read + write) / 3.6e6
        notes.append(f"each device draws its {rates.watts:.0f} W all the time; cooling not counted")
    if plan.machines > 1:
        notes.append(
            f"{plan.machines} devices hold one copy, layer after layer: reading and tuning keep "
            "all of them busy, and writing is no faster than on one"
        )
    return Cost(tokens, plan.machines, read, write, kwh, (*_rate_notes(rates), *notes))


def _serving(
    plan: Plan, use: Serve, tokens: Tokens, rates: Rates
) -> tuple[float, float, list[str]]:
    spec, width = plan.sketch.spec, WIDTHS[plan.dtype]
    prompt = use.context * tokens.read / (tokens.read + tokens.written)
    held = (prompt + use.context) / 2
    flops = rates.flops * rates.flops_share
    each = forward_flops(spec, prompt / 2)
    chunk = max(1.0, min(use.chunk, prompt * use.batch))
    read = tokens.read / chunk * _step(plan, chunk * each / (flops * plan.machines))
    packed = _packed(plan.sketch.packing)
    cached = 1 if use.cache == "int8" else width
    moved = step_bytes(spec, use.batch, held, width, packed=packed, cached=cached)
    step = _step(
        plan,
        max(
            moved / (rates.bandwidth * rates.bandwidth_share),
            use.batch * forward_flops(spec, held) / flops,
        ),
    )
    sequences = "1 sequence" if use.batch == 1 else f"{use.batch} sequences"
    notes = [
        f"every request fills {use.context:,} tokens, {prompt:,.0f} of them read",
        f"reading: {each / 1e9:.3g} GFLOP per token",
        f"writing: {sequences} at once; a step of all moves {moved / 1e9:.3g} GB",
    ]
    if use.batch == 1:
        notes.append(
            "more sequences at once (--batch) write faster: weights are moved once for all"
        )
    return read, tokens.written / use.batch * step, notes


def _step(plan: Plan, products: float) -> float:
    """Return the seconds of a step whose products take so many."""
    program = len(plan.sketch.spec.layers) * _LAYER_SECONDS
    return products + program if plan.device.kind == "cpu" else max(products, program)


def _tuning(plan: Plan, tokens: Tokens, rates: Rates) -> tuple[float, float, list[str]]:
    assert not isinstance(plan.use, Serve)
    full = plan.use.method == "full"
    matrices, attention = _flops(plan.sketch.spec, plan.use.context / 2)
    each = (3 if full else 2) * matrices + 3 * attention
    seconds = tokens.read * each / (rates.flops * rates.flops_share * plan.machines)
    rule = "6 FLOP per parameter" if full else "4 FLOP per parameter, for the base is frozen,"
    note = f"tuning: {rule} and attention, {each / 1e9:.3g} GFLOP per token; all epochs counted"
    return seconds, 0.0, [note]


def _rate_notes(rates: Rates) -> Iterator[str]:
    yield (
        f"of {rates.flops / 1e12:,.4g} TFLOP/s {rates.flops_share:.0%} and of "
        f"{rates.bandwidth / 1e9:,.4g} GB/s {rates.bandwidth_share:.0%} are reached "
        f"({rates.origin})"
    )


def forward_flops(spec: ModelSpec, context: float) -> float:
    """Return the operations of one token's forward that sees `context` tokens on average."""
    return sum(_flops(spec, context))


def step_bytes(
    spec: ModelSpec,
    batch: int,
    context: float,
    width: int,
    *,
    packed: float | None = None,
    cached: int | None = None,
) -> float:
    """Return the bytes that one step reads for `batch` sequences that hold `context` tokens each.

    A value takes `width` bytes, one of a weight `packed` bytes where weights are packed, one of
    the cache `cached` where that is kept otherwise. Of a mixture's experts those are read that some
    token picks, if each is as likely as another.
    """
    layers = tuple(replace(layer, ffn=_picked(layer.ffn, batch)) for layer in spec.layers)
    weights = _multiplied(replace(spec, layers=layers))
    cache = sum(
        mixer.kv_heads * (mixer.head_dim + mixer.v_dim) * min(context, mixer.window or context)
        for mixer in (layer.mixer for layer in spec.layers)
    )
    return (width if packed is None else packed) * weights + (cached or width) * batch * cache


def _packed(packing: Packing | None) -> float | None:
    """Return the bytes that a packed value takes."""
    if packing is None:
        return None
    return (repacked_bits(packing.format) or bits_of_packing(packing.format)) / 8


def _flops(spec: ModelSpec, context: float) -> tuple[float, float]:
    """Return the operations of a token's products with weights, and of attention."""
    attention = sum(
        2 * mixer.heads * (mixer.head_dim + mixer.v_dim) * min(context, mixer.window or context)
        for mixer in (layer.mixer for layer in spec.layers)
    )
    return 2.0 * _multiplied(spec), attention


def _multiplied(spec: ModelSpec) -> int:
    """Return the parameters that one token is multiplied with: an embedding is looked up."""
    looked_up = 0 if spec.head.tied else spec.vocab * (spec.embed.width or spec.width)
    return count_parameters(spec, active=True) - looked_up


def _picked(ffn: Dense | MoE, batch: int) -> Dense | MoE:
    """Return a mixture as if each token picked all experts that `batch` tokens pick together."""
    if not isinstance(ffn, MoE):
        return ffn
    distinct = ffn.experts * (1 - (1 - ffn.top_k / ffn.experts) ** batch)
    router = Router(bias=ffn.router.bias, correction=ffn.router.correction)
    return replace(ffn, top_k=max(ffn.top_k, round(distinct)), router=router)
