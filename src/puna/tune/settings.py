"""How to train, checked when it is made."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from puna.errors import UsageError


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train.

    Args:
        epochs: passes over the data.
        batch_size: examples per optimizer step.
        learning_rate: the peak of a schedule that rises over `warmup` (a share of all steps) and
            falls as a cosine to `final` times the peak (Loshchilov & Hutter 2016).
        weight_decay, betas: of AdamW (Loshchilov & Hutter 2017); vectors are not decayed.
        clip: the largest norm of a step's gradient.
        seed: of order and dropout, below 2³².
        micro_tokens: tokens that run at once; changes memory, not the step (but, with dropout,
            which inputs are dropped).
        save_every: steps between checkpoints.
    """

    epochs: int = 3
    batch_size: int = 16
    learning_rate: float = 1e-3
    warmup: float = 0.05
    final: float = 0.1
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0
    seed: int = 0
    micro_tokens: int = 8192
    save_every: int = 50

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            parts = value if isinstance(value, tuple) else (value,)
            if not all(0 <= part < math.inf for part in parts):
                raise UsageError(f"{field.name} must be a number of at least 0, not {value}")
        for name in ("epochs", "batch_size", "learning_rate", "clip", "micro_tokens", "save_every"):
            if getattr(self, name) <= 0:
                raise UsageError(f"{name} must be above 0, not {getattr(self, name)}")
        for name in ("epochs", "batch_size", "seed", "micro_tokens", "save_every"):
            if type(getattr(self, name)) is not int:
                raise UsageError(f"{name} must be a whole number, not {getattr(self, name)!r:.40}")
        # Each step draws its chance from (seed << 32) + its number, in 64 bits.
        for name, most in (("seed", 1 << 31), ("epochs", 1 << 31), ("batch_size", 1 << 31)):
            if getattr(self, name) >= most:
                raise UsageError(f"{name} must be below {most:,}, not {getattr(self, name)!r:.40}")
        if self.warmup > 1 or self.final > 1 or max(self.betas) >= 1:
            raise UsageError("warmup and final are shares of at most 1, betas lie below 1")

    def learning_rate_at(self, step: int, steps: int) -> float:
        """Return the rate of step 0 … steps - 1."""
        rise = self.warmup * steps
        if step < rise:
            return self.learning_rate * (step + 1) / (rise + 1)
        fall = (step - rise) / max(1.0, steps - rise)
        height = self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * fall))
        return self.learning_rate * height
