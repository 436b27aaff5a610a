"""Golden prompts run: what a model thinks at each golden position."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from puna.model import Decoder, Rows, hidden_states
from puna.seal.record import Golden, Row

# Positions that are looked at in a prompt, and ids that are kept for each.
POSITIONS, TOP = 12, 20


def look(
    model: Decoder, prompts: Sequence[Golden], adapter: int | None
) -> Iterator[tuple[Golden, Tensor]]:
    """Yield each prompt with float32 log probabilities [P, vocab] at its golden positions.

    Args:
        model: filled with weights.
        prompts: those without rows are looked at in positions spread evenly, the last among them.
        adapter: its slot, or None for the bare model.
    """
    with torch.inference_mode():
        hidden = hidden_states(model, [golden.ids for golden in prompts], adapter)
        start = 0
        for golden in prompts:
            places = [row.at for row in golden.rows] or _spread(len(golden.ids))
            rows = hidden[torch.tensor(places, device=hidden.device) + start]
            yield golden, model.head(rows, Rows(adapter)).float().log_softmax(-1).cpu()
            start += len(golden.ids)


def with_rows(model: Decoder, prompts: Sequence[Golden], adapter: int | None) -> tuple[Golden, ...]:
    """Return prompts with the rows they have now, exactly."""
    looked = look(model, prompts, adapter)
    return tuple(replace(golden, rows=_rows(golden, table)) for golden, table in looked)


def with_base(model: Decoder, prompts: Sequence[Golden]) -> tuple[Golden, ...]:
    """Return prompts that have rows with those of the bare base as well."""
    looked = look(model, prompts, None)
    return tuple(replace(golden, base=_rows(golden, table)) for golden, table in looked)


def _rows(golden: Golden, table: Tensor) -> tuple[Row, ...]:
    places = [row.at for row in golden.rows] or _spread(len(golden.ids))
    top = table.topk(min(TOP, table.shape[1]))
    return tuple(
        Row(at, tuple(ids), tuple(min(value, 0.0) for value in values))
        for at, ids, values in zip(places, top.indices.tolist(), top.values.tolist(), strict=True)
    )


def _spread(length: int) -> list[int]:
    count = min(POSITIONS, length)
    return sorted({round((i + 1) * length / count) - 1 for i in range(count)})
