"""The axes of the older families and of the mixtures, trained and served.

The gradient of the loss is compared by published names, so that transposed matrices and experts
that share a tensor are brought back to how the reference saves them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from puna.engine import Engine, Request
from puna.loading import Parts
from puna.model import Segments
from puna.weights import gather, read_tensors
from tests.parity import measure
from tests.parity.forms import FORMS

# One form for each axis that no family of the mission has.
AXES = [
    "gpt2-scale-by-layer",  # learned positions, matrices stored [in, out], a scale per layer
    "gptj-partial-rotary",  # rotation of neighbors, a bias of the head
    "gpt-neo-global-and-local",  # a window in some layers
    "mpt-6-heads-clipped",  # clipped projections under ALiBi
    "opt-350m-untied",  # norms after the sums, maps around the table and the head, no last norm
    "opt-galactica",  # norms without parameters
    "qwen3-moe-some-dense-unnormalized",  # norms of q and k, unnormalized gates
    "gpt-oss",  # sinks, clamped gates, slices of one tensor
    "deepseek-v2-biases",  # a latent for queries as well, values of another width, shared experts
    "deepseek-v3-groups",  # sigmoid scores, a correction, groups
]


def _form(name: str, folder: Path) -> measure.Opened:
    return measure.open_form(next(form for form in FORMS if form.id == name), folder)


def _published_gradients(reference: Any, folder: Path) -> dict[str, Tensor]:
    """Return the reference's gradients under the names that it saves parameters by."""
    _put_gradients(reference)
    reference.save_pretrained(folder)
    return read_tensors(folder / "model.safetensors")


@torch.no_grad()
def _put_gradients(model: torch.nn.Module) -> None:
    """Put the gradient of each parameter in its place."""
    for parameter in model.parameters():
        parameter.copy_(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)


def _our_gradients(parts: Parts) -> dict[str, Tensor]:
    _put_gradients(parts.model)
    return dict(gather(parts.model, parts.table))


@pytest.mark.parametrize("name", AXES)
def test_the_gradient_of_the_loss_is_the_reference_s(name: str, tmp_path: Path) -> None:
    opened = _form(name, tmp_path / "model")
    # Id 1 is OPT's padding, whose row of the table its class never trains.
    ids = torch.randint(
        2, opened.parts.spec.vocab, (40,), generator=torch.Generator().manual_seed(5)
    )
    theirs = F.cross_entropy(opened.reference(ids[None]).logits[0, :-1].float(), ids[1:])
    theirs.backward()
    model = opened.parts.model.requires_grad_(True)
    ctx = Segments([len(ids)])
    ours = F.cross_entropy(model.head(model(ids, ctx.positions, ctx), ctx.rows)[:-1], ids[1:])
    ours.backward()
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)
    want = _published_gradients(opened.reference, tmp_path / "gradients")
    got = _our_gradients(opened.parts)
    assert set(got) == set(want)
    for tensor, gradient in got.items():
        if tensor.endswith("e_score_correction_bias"):
            assert not gradient.any()  # it is set by a rule of its own, never by the loss
            continue
        largest = float(want[tensor].abs().max())
        assert largest > 0 or ".experts." in tensor, tensor  # an expert may serve no token
        assert float((gradient - want[tensor]).abs().max()) < 1e-4 * max(largest, 1e-2), tensor


@pytest.mark.parametrize("name", AXES)
def test_a_cache_too_small_for_all_says_the_same(name: str, tmp_path: Path) -> None:
    parts = _form(name, tmp_path).parts
    generator = torch.Generator().manual_seed(9)
    asked = [
        Request(
            f"r{i}",
            tuple(torch.randint(2, parts.spec.vocab, (n,), generator=generator).tolist()),
            20,
        )
        for i, n in enumerate((30, 3, 17, 41, 9, 25))
    ]
    roomy = Engine(parts.model, parts.spec).run(asked)
    tight = Engine(parts.model, parts.spec, cache_tokens=80, max_batch_tokens=24)
    for request in asked:
        tight.submit(request)
    said: dict[str, list[int]] = {request.id: [] for request in asked}
    sent_back = False
    while not tight.idle:
        for event in tight.step():
            said[event.id].extend(event.token_ids)
        waiting = tight._scheduler.waiting
        sent_back = sent_back or any(len(s.tokens) > len(s.request.prompt_ids) for s in waiting)
    assert sent_back
    assert list(said.values()) == [list(done.token_ids) for done in roomy]
