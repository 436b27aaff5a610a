"""From logits to tokens: one sequence after a step."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from puna.engine.request import Finish
from puna.engine.sampling import pick
from puna.engine.sequence import Sequence
from puna.errors import UsageError


@dataclass(frozen=True, slots=True)
class End:
    """How a request ended."""

    finish: Finish
    error: str | None = None


def advance(sequence: Sequence, logits: Tensor) -> tuple[tuple[int, ...], End | None]:
    """Say what is known by now; return the new tokens, and the end if they are the last.

    Args:
        sequence: whose tokens are all computed, and its draft behind them.
        logits: [1 + drafted, vocab] float32 on the CPU: after its last token, and after each of
            the draft's, which count as far as the draft turns out right.
    """
    start = len(sequence.tokens)
    try:
        end = _go_on(sequence, logits, start)
    except Exception as error:  # what a request brings along must not end the others
        end = End("error", f"{type(error).__name__}: {error}")
    return tuple(sequence.tokens[start:]), end


def _go_on(sequence: Sequence, logits: Tensor, start: int) -> End | None:
    """Say tokens until one is not known to be computed, or the request ends."""
    end: End | None = None
    while end is None:
        constraint = sequence.request.constraint
        if constraint is not None and constraint.done:
            return End("stop")
        if forced := _forced(sequence, vocab=logits.shape[-1]):
            for token in forced:
                _skip(sequence)
                if end := _say(sequence, token, start, None):
                    break
        elif sequence.missing:
            return None
        else:
            end = _pick(sequence, logits[len(sequence.tokens) - start], start)
    return end


def _forced(sequence: Sequence, vocab: int) -> list[int]:
    """Return the ids that come next without a pick.

    Where log probabilities are wanted each token needs logits: a mask that allows one id says it.
    """
    request = sequence.request
    if request.constraint is None or request.logprobs or request.top_logprobs:
        return []
    ids = list(request.constraint.forced())
    if ids and not 0 <= min(ids) <= max(ids) < vocab:
        raise UsageError(f"the grammar forces ids {ids!r:.60}, and they lie below {vocab}")
    return ids


def _skip(sequence: Sequence) -> None:
    """Use up the chance of a pick, so that what is sampled later does not depend on forcing."""
    if sequence.generator is not None:
        torch.rand(1, dtype=torch.float64, generator=sequence.generator)


def _pick(sequence: Sequence, row: Tensor, start: int) -> End | None:
    request = sequence.request
    # A sum tells as much as looking at each, and takes a tenth of the time.
    if not math.isfinite(float(row.sum())) and not bool(row.isfinite().all()):
        return End("error", "the model computed values that are not finite")
    allowed = None if request.constraint is None else request.constraint.allowed()
    if allowed is not None and not bool(allowed.any()):
        return End("error", "the grammar allows nothing here")
    token = pick(
        row,
        request.sampling,
        sequence.tokens,
        sequence.generator,
        allowed,
        len(request.prompt_ids),
    )
    return _say(sequence, token, start, row)


def _say(sequence: Sequence, token: int, start: int, row: Tensor | None) -> End | None:
    """Add a token, tell those who look on, and return the end if it is the last."""
    request = sequence.request
    if token in request.stop_ids:
        return End("stop")
    _append(sequence, token, start)
    if row is not None and (request.logprobs or request.top_logprobs):
        _keep_logprobs(sequence, token, row.log_softmax(-1))
    if sequence.first is None:
        sequence.first = time.perf_counter() - sequence.came
    if request.constraint is not None:
        request.constraint.take(token)
    if request.watch is not None and request.watch((token,)):
        return End("stop")
    if len(sequence.tokens) < sequence.span:
        return None
    whole = request.constraint is not None and request.constraint.done
    return End("stop" if whole else "length")


def _append(sequence: Sequence, token: int, start: int) -> None:
    """Add a token, which is computed already where the draft, up to here, said so."""
    place = len(sequence.tokens) - start
    guessed = sequence.missing == 0 and sequence.draft[place : place + 1] == [token]
    sequence.tokens.append(token)
    sequence.computed += guessed


def _keep_logprobs(sequence: Sequence, token: int, table: Tensor) -> None:
    request = sequence.request
    sequence.logprobs.append(float(table[token]))
    if request.top_logprobs:
        best = table.topk(request.top_logprobs)
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        sequence.top_logprobs.append(tuple(pairs))
