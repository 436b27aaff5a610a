"""What sequences begin with alike is computed once, and nothing else is different."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from puna.adapter import attach
from puna.families import name_table, read_config
from puna.generate.score import Pair, _groups, score_pairs, shared_start
from puna.model import Decoder, Rows, Segments, build, hidden_states, initialize
from puna.model.branches import Branches, Tree
from puna.spec import ModelSpec
from tests.parity.forms import FORMS, Form
from tests.unit.tiny import tiny

TREES = [Tree(17, (3, 1, 9, 9)), Tree(1, (1,)), Tree(9, (30, 5))]
DYNAMIC = {
    "rope_scaling": {"rope_type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 4},
}


def ids_of(trees: list[Tree], vocab: int) -> list[list[list[int]]]:
    """Return for each tree its prefix and its branches."""
    generator = torch.Generator().manual_seed(0)

    def some(count: int) -> list[int]:
        return torch.randint(vocab, (count,), generator=generator).tolist()

    return [[some(tree.prefix), *map(some, tree.branches)] for tree in trees]


def through_trees(model: Decoder, parts: list[list[list[int]]], rows: Rows) -> list[torch.Tensor]:
    """Return for each branch of each tree the states of its prefix and itself."""
    trees = [Tree(len(prefix), tuple(map(len, rest))) for prefix, *rest in parts]
    ctx = Branches(trees, rows=rows)
    flat = torch.tensor([id for tree in parts for part in tree for id in part])
    states = iter(model(flat, ctx.positions, ctx).split([len(p) for tree in parts for p in tree]))
    found = []
    for _, *rest in parts:
        prefix = next(states)
        found += [torch.cat((prefix, next(states))) for _ in rest]
    return found


def close(one: torch.Tensor, two: torch.Tensor) -> bool:
    return bool((one - two).abs().max() <= 1e-4 * two.abs().max().clamp(min=1))


def by_length(spec: ModelSpec) -> bool:
    scalings = [getattr(layer.mixer.position, "scaling", None) for layer in spec.layers]
    return any(type(s).__name__ in ("DynamicScaling", "LongRopeScaling") for s in scalings)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.id)
@torch.inference_mode()
def test_every_form_computes_a_branch_as_if_it_were_alone(form: Form) -> None:
    spec = read_config(form.config().to_dict())
    model = build(spec, device="cpu")
    initialize(model, seed=0, std=0.2)
    # Where rotation depends on the length, the branches of a tree are of one length.
    trees = [Tree(17, (9, 9, 9)), Tree(3, (30, 30))] if by_length(spec) else TREES
    parts = ids_of(trees, spec.vocab)
    alone = [[*prefix, *branch] for prefix, *rest in parts for branch in rest]
    for got, ids in zip(through_trees(model, parts, Rows()), alone, strict=True):
        assert close(got, hidden_states(model, [ids], None))


@torch.inference_mode()
def test_adapters_apply_to_prefix_and_branches() -> None:
    spec, model = tiny()
    slot = attach(model, name_table(spec), rank=2, alpha=4, targets=["q_proj", "v_proj", "up_proj"])
    for name, parameter in model.named_parameters():
        if name.endswith(".b"):
            torch.nn.init.normal_(parameter.data, std=0.5)
    parts = ids_of(TREES, spec.vocab)
    alone = [[*prefix, *branch] for prefix, *rest in parts for branch in rest]
    for got, ids in zip(through_trees(model, parts, Rows(slot)), alone, strict=True):
        assert close(got, hidden_states(model, [ids], slot))
        assert not close(got, hidden_states(model, [ids], None))


@torch.inference_mode()
def test_many_branches_are_attended_in_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    spec, model = tiny()
    parts = ids_of([Tree(11, (2, 7, 1, 4, 3))], spec.vocab)
    whole = through_trees(model, parts, Rows())
    monkeypatch.setattr("puna.model.branches._KEYS", 40)
    for got, want in zip(through_trees(model, parts, Rows()), whole, strict=True):
        assert close(got, want)


def reference(model: Decoder, ids: tuple[int, ...], start: int) -> tuple[list[float], bool]:
    ctx = Segments([len(ids)])
    logits = model.head(model(torch.tensor(ids), ctx.positions, ctx), Rows())
    rows = logits[start - 1 : -1].log_softmax(-1)
    said = list(ids[start:])
    chosen = [float(row[token]) for row, token in zip(rows, said, strict=True)]
    return chosen, rows.argmax(-1).tolist() == said


@st.composite
def alike(draw: st.DrawFn) -> list[Pair]:
    """Pairs out of few ids, so that many begin alike, at any border."""
    few = st.lists(st.integers(0, 2), min_size=1, max_size=6)
    stems = draw(st.lists(few, min_size=1, max_size=3))
    pairs = []
    for _ in range(draw(st.integers(1, 9))):
        ids = (*draw(st.sampled_from(stems)), *draw(few), *draw(few))
        pairs.append((ids, draw(st.integers(1, len(ids) - 1))))
    return pairs


@pytest.mark.parametrize("changes", [{}, DYNAMIC], ids=["plain", "dynamic"])
@settings(max_examples=30, deadline=None)
@given(pairs=alike())
@torch.inference_mode()
def test_scores_are_those_of_each_pair_alone(changes: dict[str, Any], pairs: list[Pair]) -> None:
    spec, model = tiny(**changes)
    for score, (ids, start) in zip(score_pairs(model, spec, pairs, None), pairs, strict=True):
        chosen, greedy = reference(model, ids, start)
        assert list(score.tokens) == pytest.approx(chosen, abs=1e-4)
        assert score.total == pytest.approx(sum(chosen), abs=1e-3)
        assert score.greedy == greedy


@settings(max_examples=100, deadline=None)
@given(pairs=alike(), by_length=st.booleans())
def test_groups_hold_every_pair_in_order_and_never_more_to_compute(
    pairs: list[Pair], by_length: bool
) -> None:
    groups = list(_groups(pairs, by_length=by_length))
    assert [pair for group in groups for pair in group.pairs] == pairs
    assert sum(group.tokens for group in groups) <= sum(len(ids) for ids, _ in pairs)
    for group in groups:
        first = group.pairs[0][0]
        assert 1 <= group.shared <= min(start for _, start in group.pairs)
        assert all(shared_start(first, ids) >= group.shared for ids, _ in group.pairs)
        assert not by_length or len({len(ids) for ids, _ in group.pairs}) == 1


def test_choices_of_one_question_and_its_examples_are_computed_once() -> None:
    shots = tuple(range(50))
    rows = [(*shots, 50 + row, *range(5)) for row in range(3)]
    pairs = [((*row, choice, choice), len(row)) for row in rows for choice in (7, 8, 9)]
    (group,) = _groups(pairs, by_length=False)
    assert group.shared == 50
    assert group.tokens == 50 + 9 * 8
