"""Cross-entropy of what is learned, and its gradient, with never more than a few logits at once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from puna.data import Batch
from puna.model import Decoder, Rows, Segments

# Logits held at a time, as a count of float32 values (64 MiB).
_LOGITS = 1 << 24


def backward(model: Decoder, batch: Batch, *, learned: int, rows: Rows) -> float:
    """Add the gradient of `sum of cross-entropy / learned` to the parameters; return that loss."""
    ctx = Segments(batch.lengths, rows=rows, device=model.device)
    return float(accumulate(model, batch, ctx, learned=learned))


def accumulate(model: Decoder, batch: Batch, ctx: Segments, *, learned: int) -> Tensor:
    """Do what `backward` does in the context of the batch's segments; return the loss as a scalar.

    The head runs over a slice of rows at a time: each slice's gradient goes into the hidden
    states at once and its logits are freed, so memory does not grow with rows × vocabulary.
    """
    device = model.device
    hidden = model(batch.ids.to(device), ctx.positions, ctx)
    said_rows = batch.rows.to(device)
    said = hidden.index_select(0, said_rows)
    leaf = said.detach().requires_grad_()
    targets = batch.targets.to(device)
    vocab = model.embed.tokens.shape[0]
    step = max(1, _LOGITS // vocab)
    total = torch.zeros((), device=device)
    for at in range(0, len(targets), step):
        logits = model.head(leaf[at : at + step], ctx.rows.take(said_rows[at : at + step]))
        loss = F.cross_entropy(logits, targets[at : at + step], reduction="sum") / learned
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    said.backward(leaf.grad)
    return total
