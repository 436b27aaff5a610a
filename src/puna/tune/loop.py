"""The loop: batches, gradients, steps, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from puna.data import Encoded, collate, fingerprint, order
from puna.errors import DataError, UsageError
from puna.model import Decoder, Rows
from puna.tune import checkpoint
from puna.tune.loss import backward
from puna.tune.settings import Settings

# What may differ between a run and its continuation: it changes no step.
_FREE = ("save_every",)


@dataclass(frozen=True, slots=True)
class Step:
    """One optimizer step: `step` of `steps` done, mean loss in nats, tokens and seconds taken."""

    step: int
    steps: int
    loss: float
    gradient: float
    learning_rate: float
    tokens: int
    seconds: float


def train(
    model: Decoder,
    examples: Sequence[Encoded],
    settings: Settings,
    *,
    rows: Rows | None = None,
    state: Path | None = None,
    about: Mapping[str, Any] | None = None,
    on_step: Callable[[Step], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> tuple[float, ...]:
    """Train the parameters that require a gradient, and return the loss of every step.

    Args:
        model: the decoder, with adapters attached or not.
        examples: what to learn from.
        settings: how.
        rows: the adapter the tokens use.
        state: where the run is saved; a run that is there goes on, to the same weights, bit for
            bit, that it would have reached without the break (on the same machine and threads).
        about: what else must be the same for a run to go on, as JSON values.
        on_step: called after every step.
        stop: asked after every step whether to end there; the step is saved first.

    Raises:
        KeyboardInterrupt: `stop` said so.
        UsageError: nothing to train, or a saved run of other data or settings.
        DataError: a loss that is not finite; the last checkpoint is kept.
        StorageError: a checkpoint could not be written.
    """
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if not parameters or not examples:
        raise UsageError("there is nothing to train: no parameter learns, or no example teaches")
    optimizer = _optimizer(parameters, settings)
    per_epoch = math.ceil(len(examples) / settings.batch_size)
    steps = per_epoch * settings.epochs
    run = {**_fixed(settings), "data": fingerprint(examples), "steps": steps, **(about or {})}
    losses: list[float] = []
    if state is not None and checkpoint.has_checkpoint(state):
        progress, tensors = checkpoint.load(state, run)
        checkpoint.unpack(tensors, parameters, optimizer)
        losses.extend(progress.losses)
    for number, chosen in _batches(len(examples), settings, start=len(losses)):
        began = time.perf_counter()
        picked = [examples[i] for i in chosen]
        rate = settings.learning_rate_at(number, steps)
        loss, gradient = _step(
            model, picked, parameters, optimizer, settings, rate, number, rows or Rows()
        )
        if not (math.isfinite(loss) and math.isfinite(gradient)):
            raise DataError(
                f"the loss of step {number + 1} is not finite; training stopped before it",
                remedy="use a lower learning rate; the last checkpoint is kept",
            )
        losses.append(loss)
        done = len(losses)
        stopped = stop is not None and done < steps and stop()
        due = done % settings.save_every == 0 or done == steps or stopped
        if state is not None and due:
            saved = checkpoint.Progress(done, tuple(losses), run)
            checkpoint.save(state, saved, checkpoint.pack(parameters, optimizer))
        if on_step:
            tokens = sum(len(example.ids) for example in picked)
            seconds = time.perf_counter() - began
            on_step(Step(done, steps, loss, gradient, rate, tokens, seconds))
        if stopped:
            raise KeyboardInterrupt
    return tuple(losses)


def _step(
    model: Decoder,
    examples: Sequence[Encoded],
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.AdamW,
    settings: Settings,
    rate: float,
    number: int,
    rows: Rows,
) -> tuple[float, float]:
    """Return loss and gradient norm; the optimizer moves only where both are finite."""
    optimizer.zero_grad()
    learned = sum(int(example.learn[1:].sum()) for example in examples)
    batches = collate(examples, max_tokens=settings.micro_tokens)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed((settings.seed << 32) + number)  # dropout repeats, also after a break
        loss = sum(backward(model, batch, learned=learned, rows=rows) for batch in batches)
    gradient = float(nn.utils.clip_grad_norm_(parameters.values(), settings.clip))
    if math.isfinite(loss) and math.isfinite(gradient):
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
    return loss, gradient


def _optimizer(parameters: Mapping[str, nn.Parameter], settings: Settings) -> torch.optim.AdamW:
    groups = [
        {
            "params": [p for p in parameters.values() if p.ndim > 1],
            "weight_decay": settings.weight_decay,
        },
        {"params": [p for p in parameters.values() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas)


def _batches(count: int, settings: Settings, *, start: int) -> Iterator[tuple[int, list[int]]]:
    number = 0
    for epoch in range(settings.epochs):
        for chosen in order(count, batch_size=settings.batch_size, seed=settings.seed, epoch=epoch):
            if number >= start:
                yield number, chosen
            number += 1


def _fixed(settings: Settings) -> dict[str, Any]:
    return {key: value for key, value in asdict(settings).items() if key not in _FREE}
