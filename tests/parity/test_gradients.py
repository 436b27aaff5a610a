"""The gradient of the training loss, parameter by parameter, against the reference library."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from puna.data import Encoded, collate
from puna.model import Rows
from puna.tune.loss import backward
from puna.weights import to_theirs
from tests.parity import measure
from tests.parity.forms import FORMS

# One form at least for each axis, so that all of them are trained through.
CASES = {
    "qwen2-upper-windows": "a window in some layers, biases of q, k and v",
    "qwen3-layer-types-biases": "norms of q and k over each head",
    "gemma2": "norms around each half, one plus the weight, soft caps, a scaled embedding",
    "gemma3-text-rope-linear-capped": "a rope for each kind of layer",
    "phi3-longrope": "fused matrices, longrope",
    "olmo-clipped-tied-biases": "norms without weights, clipped projections",
    "olmo2": "norms at the end, norms of q and k over all heads",
    "smollm3": "layers without positions",
    "granite": "factors of embedding, scores, residual and logits",
    "starcoder2-window": "no gate, biases of norms and maps",
}


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_of_the_loss_is_the_reference_s(name: str, tmp_path: Path) -> None:
    opened = measure.open_form(next(f for f in FORMS if f.id == name), tmp_path)
    reference, parts = opened.reference, opened.parts
    sequences = [ids for ids in opened.sequences if len(ids) > 1]
    learned = sum(len(ids) - 1 for ids in sequences)
    want = 0.0
    for ids in sequences:
        logits = reference(ids[None]).logits[0]
        loss = F.cross_entropy(logits[:-1], ids[1:], reduction="sum") / learned
        loss.backward()
        want += float(loss.detach())
    parts.model.requires_grad_(True)
    rows = [Encoded(ids.int(), torch.ones(len(ids), dtype=torch.bool)) for ids in sequences]
    (batch,) = collate(rows, max_tokens=1000)
    assert backward(parts.model, batch, learned=learned, rows=Rows()) == pytest.approx(want, 1e-5)
    theirs = {n: p.grad for n, p in reference.named_parameters() if p.grad is not None}
    ours = {}
    for parameter, tensor in parts.model.named_parameters():
        place = parts.table.by_ours(parameter)
        assert tensor.grad is not None, parameter
        ours[place.theirs] = to_theirs(tensor.grad, place.layout)
    assert ours.keys() == theirs.keys()
    for tensor_name, gradient in ours.items():
        scale = float(theirs[tensor_name].abs().max())
        assert scale > 0, tensor_name
        difference = float((gradient - theirs[tensor_name]).abs().max())
        assert difference < 1e-4 * scale, tensor_name
