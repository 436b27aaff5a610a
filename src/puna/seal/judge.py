"""What is allowed: how far each number format may move a model before it is worth a word."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from puna.seal.agree import Agreement

Verdict = Literal["agrees", "drifts", "differs"]
# The median probability of the stop token where answers end, below which answers go on.
STOP_DRIFTS, STOP_DIFFERS = 0.1, 0.01
# Checks that find fault with what was tuned, not with how it was kept.
FAULTS = ("adapter", "stop token")
# An adapter that moves no golden position by more nats than this does nothing.
INERT = 1e-12
# So many golden positions may always have another likeliest token: prompts can be short.
_FLIPS = 2


@dataclass(frozen=True, slots=True)
class Limit:
    """From `bits` per weight up: mean KL in nats, and top-1 share, that drift and that differ."""

    bits: float
    kl_drifts: float
    kl_differs: float
    top1_drifts: float
    top1_differs: float


# Two to five times what sound conversions of two small models showed (`bench/seal.py`), which
# move further than large ones. Sealed and run in one format on one machine, the figure is 0.
LIMITS = (
    Limit(32, 1e-7, 1e-4, 0.99, 0.97),
    Limit(16, 3e-3, 2e-2, 0.94, 0.90),
    Limit(8, 3e-3, 2e-2, 0.94, 0.90),
    Limit(5.5, 0.1, 0.3, 0.80, 0.70),
    Limit(4, 0.2, 0.5, 0.70, 0.55),
    Limit(3, 0.5, 1.0, 0.55, 0.40),
    Limit(0, 1.0, 2.0, 0.40, 0.25),
)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: what was found in words, and its figures."""

    name: str
    verdict: Verdict
    said: str
    figures: Mapping[str, Any] = field(default_factory=dict)


def worst(checks: Iterable[Check]) -> Verdict:
    """Return the worst verdict of several checks."""
    order: tuple[Verdict, ...] = ("agrees", "drifts", "differs")
    return max((check.verdict for check in checks), key=order.index, default="agrees")


def limit_of(bits: float) -> Limit:
    """Return what is allowed at so many bits per weight."""
    return next(limit for limit in LIMITS if bits >= limit.bits)


def judge(name: str, found: Agreement, bits: float) -> Check:
    """Judge golden prompts that were run."""
    limit = limit_of(bits)
    top1 = 1.0 if round((1 - found.top1) * found.positions) <= _FLIPS else found.top1
    if not (found.kl <= limit.kl_differs and top1 >= limit.top1_differs):
        verdict: Verdict = "differs"
    elif found.kl > limit.kl_drifts or top1 < limit.top1_drifts:
        verdict = "drifts"
    else:
        verdict = "agrees"
    said = (
        f"KL {found.kl:.2g} nats on average, {found.worst:.2g} at worst (in {found.worst_in}); "
        f"the likeliest token is the same at {found.top1:.1%} of {found.positions} positions"
    )
    figures = {
        "kl": found.kl, "kl_worst": found.worst, "top1": found.top1,
        "positions": found.positions, "prompts": found.prompts, "bits": bits,
        "kl_drifts": limit.kl_drifts, "kl_differs": limit.kl_differs,
        "top1_drifts": limit.top1_drifts, "top1_differs": limit.top1_differs,
    }  # fmt: skip
    return Check(name, verdict, said, figures)


def judge_stop(probability: float, piece: str, examples: int) -> Check:
    """Judge how surely answers end."""
    verdict: Verdict = "agrees"
    if probability < STOP_DRIFTS:
        verdict = "differs" if probability < STOP_DIFFERS else "drifts"
    said = (
        f"{piece!r:.40} has a median probability of {probability:.2g} where the answers of "
        f"{examples} training examples end"
    )
    if verdict != "agrees":
        said += "; answers will not end by themselves"
    return Check("stop token", verdict, said, {"probability": probability, "examples": examples})


def judge_effect(found: Agreement) -> Check:
    """Judge whether an adapter does anything; `found` holds it against its own base."""
    figures = {"kl": found.kl, "kl_worst": found.worst, "top1": found.top1}
    if found.worst <= INERT:
        said = f"inert: with and without it the model says the same (KL {found.worst:.2g})"
        return Check("adapter", "differs", said, figures)
    said = (
        f"moves the base by KL {found.kl:.2g} nats on average; the likeliest token changes at "
        f"{1 - found.top1:.1%} of {found.positions} positions"
    )
    return Check("adapter", "agrees", said, figures)
