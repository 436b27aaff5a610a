"""How surely a model ends its answers: what its stop token has where training examples end."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from statistics import median

import torch

from puna.model import Decoder, Rows, hidden_states
from puna.seal.record import Stop


def measure_stop(
    model: Decoder,
    examples: Sequence[tuple[Sequence[int], Sequence[bool]]],
    stops: Collection[int],
    adapter: int | None,
) -> Stop | None:
    """Return the median probability of a stop token where the last answer of an example ends.

    Args:
        model: after tuning.
        examples: ids of each, and which of them were learned; the end is the first stop token at
            or after the last id that was learned, whether or not it was learned itself.
        stops: the ids that end an answer.
        adapter: the slot that was tuned.

    Returns None where no example ends in a stop token.
    """
    found = []
    for ids, learned in examples:
        at = _end(ids, learned, stops)
        if at is not None and at > 0:
            found.append((ids[at], _probability(model, ids[: at + 1], adapter)))
    if not found:
        return None
    token = max({token for token, _ in found}, key=[token for token, _ in found].count)
    return Stop(token, median(p for t, p in found if t == token), len(found))


def _end(ids: Sequence[int], learned: Sequence[bool], stops: Collection[int]) -> int | None:
    last = max((i for i, flag in enumerate(learned) if flag), default=None)
    if last is None:
        return None
    return next((i for i in range(last, len(ids)) if ids[i] in stops), None)


@torch.inference_mode()
def _probability(model: Decoder, ids: Sequence[int], adapter: int | None) -> float:
    hidden = hidden_states(model, [ids[:-1]], adapter)[-1:]
    logits = model.head(hidden, Rows(adapter)).float()
    return float(logits.softmax(-1)[0, ids[-1]])
