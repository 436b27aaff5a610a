"""The compiled step against the torch step, over all forms of the parity table."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor

from puna.adapter import attach, merge
from puna.engine import Chunk, Engine, PagePool, Request, Runner, TorchRunner
from puna.engine.lower import lower
from puna.engine.native import ByRows, NativeRunner, fastest
from puna.engine.runner import in_torch
from puna.families import gguf_names, name_table, read_config
from puna.kernels import LEVELS, library, pool
from puna.loading import load_parts
from puna.model import Decoder, Mixture, PackedWeight, build, initialize
from puna.model.native import Native
from puna.package import GGUF_TYPES, describe_gguf
from puna.plan.compiled import runs_compiled
from puna.plan.packed import Packs
from puna.quant import pack
from puna.spec import ModelSpec
from puna.weights import plan_gguf, save_gguf
from tests.parity.forms import FORMS
from tests.unit.tiny import save_tiny, tiny

pytestmark = pytest.mark.skipif(library() is None, reason="the kernels were not compiled")
LEVELS_HERE = library().levels() if library() else LEVELS
BEST = LEVELS_HERE[-1]
CONFIGS = {form.id: form.config for form in FORMS}


def spec_of(name: str) -> ModelSpec:
    return read_config(CONFIGS[name]().to_dict())


def model_of(name: str, dtype: torch.dtype = torch.float32) -> tuple[ModelSpec, Decoder]:
    spec = spec_of(name)
    model = build(spec, device="cpu")
    initialize(model, seed=3, std=0.2)
    model.to(dtype)
    for module in model.modules():
        if isinstance(module, Mixture):
            module.keep_precise()
    return spec, model.eval().requires_grad_(False)


@dataclass
class Sequence:
    """A prompt that is run piece by piece over pages of its own."""

    tokens: list[int]
    adapter: int | None = None
    done: int = 0
    tables: list[list[int]] = field(default_factory=list)


def pages_for(spec: ModelSpec, dtype: torch.dtype, sequences: list[Sequence]) -> PagePool:
    made = PagePool(spec, limit=64, dtype=dtype, device=torch.device("cpu"))
    for number, sequence in enumerate(sequences):
        first = 1 + 16 * number
        # Not in order, so that a page that is looked for by its place is not found.
        sequence.tables = [list(range(first + 15, first - 1, -1)) for _ in made.windows]
        sequence.done = 0
    return made


def run(runner: Runner, sequences: list[Sequence], counts: list[int]) -> Tensor:
    """Compute so many more tokens of each sequence, and return all of their logits."""
    ids, chunks = [], []
    for sequence, count in zip(sequences, counts, strict=True):
        if count:
            ids += sequence.tokens[sequence.done : sequence.done + count]
            tables = tuple(sequence.tables)
            span = len(sequence.tokens)
            chunks.append(Chunk(tables, sequence.done, count, span, sequence.adapter))
            sequence.done += count
    with torch.inference_mode():
        return runner.run(ids, chunks, list(range(len(ids))))


STEPS = ([20, 33], [1, 1], [7, 0], [1, 5], [3, 1])


def prompts(vocab: int) -> list[Sequence]:
    generator = torch.Generator().manual_seed(1)
    return [Sequence(torch.randint(vocab, (64,), generator=generator).tolist()) for _ in range(2)]


def native_runner(
    spec: ModelSpec, model: Decoder, made: PagePool, level: str = BEST, threads: int = 2
) -> NativeRunner:
    lowered = lower(model, spec, made)
    running = pool(level, threads)
    assert lowered is not None
    assert running is not None
    return NativeRunner(lowered, running, model.tables, made)


def both(
    spec: ModelSpec,
    model: Decoder,
    level: str,
    sequences: list[Sequence],
    threads: int = 2,
    cache: torch.dtype | None = None,
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the logits of some steps, compiled and by torch."""
    answers = []
    for native in (True, False):
        made = pages_for(spec, cache or model.dtype, sequences)
        runner: Runner = TorchRunner(model, made)
        if native:
            runner = native_runner(spec, model, made, level, threads)
        answers.append([run(runner, sequences, counts) for counts in STEPS])
    return answers[0], answers[1]


def close(got: list[Tensor], want: list[Tensor], bound: float) -> None:
    """Hold logits against each other, on the scale of the largest."""
    for one, other in zip(got, want, strict=True):
        assert one.shape == other.shape
        assert float((one - other).abs().max()) < bound * float(other.abs().max())


# The axes that kernels of different instructions could differ in.
SOME = [
    *("llama-grouped-tied", "bloom-8-heads-untied", "falcon-rw", "pythia-parallel", "gemma2"),
    *("mixtral-8x2", "deepseek-v2-group-limited", "gpt-oss"),
]


@pytest.mark.parametrize("name", CONFIGS)
def test_every_form_as_in_torch(name: str) -> None:
    spec, model = model_of(name)
    close(*both(spec, model, BEST, prompts(spec.vocab)), 2e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_keys_and_values_in_eight_bits(name: str) -> None:
    """As in torch, and near what is not rounded.

    A code may lie between two numbers, and by that a router between two experts.
    """
    spec, model = model_of(name)
    got, want = both(spec, model, BEST, prompts(spec.vocab), cache=torch.int8)
    _, whole = both(spec, model, BEST, prompts(spec.vocab))
    assert share_off(got, want, 0.02) < 0.05
    assert share_off(want, whole, 0.1) < 0.2
    assert share_off(want, whole, 1e-4) > 0.5  # it is rounded


def share_off(got: list[Tensor], want: list[Tensor], bound: float) -> float:
    """Return the share of rows that are off by more than a share of their largest logit."""
    one, other = torch.cat(got), torch.cat(want)
    off = (one - other).abs().amax(-1) > bound * other.abs().amax(-1)
    return float(off.float().mean())


@pytest.mark.parametrize("level", LEVELS_HERE[:-1])
@pytest.mark.parametrize("name", SOME)
def test_plainer_instructions(name: str, level: str) -> None:
    spec, model = model_of(name)
    close(*both(spec, model, level, prompts(spec.vocab)), 2e-5)


@pytest.mark.parametrize("level", LEVELS_HERE)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype, level: str) -> None:
    """Against float32 with the same weights: no further from it than torch in half precision."""
    for name in SOME:
        spec, half = model_of(name, dtype)
        _, full = model_of(name, dtype)
        full.float()
        got, torch_half = both(spec, half, level, prompts(spec.vocab))
        _, want = both(spec, full, level, prompts(spec.vocab))
        for one, other, true in zip(got, torch_half, want, strict=True):
            allowed = float((other - true).abs().max()) * 1.5 + 1e-3 * float(true.abs().max())
            assert float((one - true).abs().max()) < allowed


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads(threads: int) -> None:
    spec, model = model_of("llama-grouped-tied")
    two, _ = both(spec, model, BEST, prompts(spec.vocab), 2)
    other, _ = both(spec, model, BEST, prompts(spec.vocab), threads)
    assert all(map(torch.equal, two, other))


@pytest.mark.parametrize("kind", ["int8", "int4", "nf4"])
@pytest.mark.parametrize("name", CONFIGS)
def test_packed_weights_of_every_form(name: str, kind: str) -> None:
    """Against products in torch; an input may lie between two codes of 8 bits."""
    spec, model = model_of(name)
    pack_model(model, kind)
    got, want = both(spec, model, BEST, prompts(spec.vocab))
    assert sum(isinstance(m, PackedWeight) for m in model.modules()) > 1
    assert share_off(got, want, 0.12) < 0.05  # or between two experts


@pytest.mark.parametrize("level", LEVELS_HERE)
@pytest.mark.parametrize("kind", ["int8", "int4", "nf4"])
def test_packed_weights_with_plainer_instructions(kind: str, level: str) -> None:
    """Sums of whole numbers are exact, so all levels agree up to the float operations."""
    spec, model = model_of("llama-grouped-tied")
    pack_model(model, kind)
    best, _ = both(spec, model, BEST, prompts(spec.vocab))
    other, _ = both(spec, model, level, prompts(spec.vocab))
    close(other, best, 1e-2)


def pack_model(model: Decoder, kind: str) -> None:
    for linear in model.linears().values():
        packed = pack(linear.weight.detach(), kind)
        del linear.weight
        linear.weight = PackedWeight(packed, torch.float32, Native())


@pytest.mark.parametrize("name", ["llama-grouped-tied", "mixtral-8x2", "deepseek-v2-biases"])
def test_rows_with_adapters_of_their_own(name: str) -> None:
    spec, model = model_of(name)
    generator = torch.Generator().manual_seed(5)
    slots = [attach(model, name_table(spec), rank=3, alpha=6.0, seed=s) for s in range(2)]
    for place, parameter in model.named_parameters():
        if place.endswith(".b"):
            parameter.data = torch.randn(parameter.shape, generator=generator)
    model.requires_grad_(False)
    sequences = prompts(spec.vocab)
    seen = []
    for uses in ((None, slots[0]), (slots[1], slots[0]), (slots[1], slots[1]), (None, None)):
        for sequence, slot in zip(sequences, uses, strict=True):
            sequence.adapter = slot
        got, want = both(spec, model, BEST, sequences)
        close(got, want, 2e-5)
        seen.append(got[0][:20])
    assert torch.equal(seen[0], seen[3])  # the first sequence, without an adapter both times
    assert torch.equal(seen[1], seen[2])  # with one, whatever the other uses
    assert not torch.allclose(seen[0], seen[1])


@pytest.mark.parametrize("kind", [None, "int8", "int4"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_does_not_depend_on_its_neighbors(dtype: torch.dtype, kind: str | None) -> None:
    """To the last bit: alone, beside others, and however its sequence is cut."""
    for name in SOME:
        spec, model = model_of(name, dtype)
        if kind is not None:
            pack_model(model, kind)
        first, second = prompts(spec.vocab)
        cuts = ([[48, 0]], [[9, 17], [1, 3], [30, 0], [7, 1], [1, 1]], [[1, 5]] * 48)
        answers = []
        for counts in cuts:
            made = pages_for(spec, dtype, [first, second])
            runner = fastest(model, spec, made)
            assert isinstance(runner, NativeRunner)
            rows = [
                run(runner, [first, second], [a, min(b, 64 - second.done)])[:a] for a, b in counts
            ]
            answers.append(torch.cat(rows)[:48])
        assert torch.equal(answers[0], answers[1])
        assert torch.equal(answers[0], answers[2])


def test_more_tokens_than_pass_together() -> None:
    spec, model = tiny(max_position_embeddings=1024)
    tokens = torch.randint(spec.vocab, (700,), generator=torch.Generator().manual_seed(2)).tolist()
    sequence = Sequence(tokens)
    answers = []
    for make in (fastest, in_torch):
        made = PagePool(spec, limit=64, dtype=torch.float32, device=torch.device("cpu"))
        sequence.tables, sequence.done = [list(range(1, 50)) for _ in made.windows], 0
        answers.append(run(make(model, spec, made), [sequence], [700]))
    close(answers[:1], answers[1:], 2e-5)


def test_values_that_are_not_finite_stay_with_their_sequence() -> None:
    spec, model = tiny()
    model.embed.tokens[7] = float("nan")
    sequences = [Sequence([7] * 64), Sequence([3] * 64)]
    got, _ = both(spec, model, BEST, sequences)
    assert got[0][:20].isnan().all()
    assert got[0][20:].isfinite().all()


def test_few_rows_and_many() -> None:
    spec, model = tiny()
    sequences = prompts(spec.vocab)
    made = pages_for(spec, torch.float32, sequences)
    few, many = fastest(model, spec, made), TorchRunner(model, made)
    answers = [run(ByRows(few, many), sequences, counts) for counts in STEPS]
    _, want = both(spec, model, BEST, sequences)
    close(answers, want, 2e-5)


def test_weights_that_have_changed() -> None:
    """What was lowered is of the old ones; an engine that is told takes the new."""
    spec, model = tiny()
    slot = attach(model, name_table(spec), rank=3, alpha=60.0)
    for name, parameter in model.named_parameters():
        if name.endswith(".b"):
            parameter.data = torch.ones_like(parameter)
    model.requires_grad_(False)
    ids = tuple(prompts(spec.vocab)[0].tokens[:20])
    engine = Engine(model, spec)
    assert isinstance(engine.runner, NativeRunner)
    bare, tuned = engine.run([Request("bare", ids, 20), Request("tuned", ids, 20, adapter=slot)])
    merge(model, slot)
    engine.forget()
    (merged,) = engine.run([Request("merged", ids, 20)])
    assert merged.token_ids == tuned.token_ids != bare.token_ids


@pytest.mark.parametrize("name", CONFIGS)
def test_the_plan_counts_with_the_runner_that_will_run(name: str) -> None:
    spec, model = model_of(name)
    runner = fastest(model, spec, pages_for(spec, torch.float32, []))
    assert runs_compiled(torch.float32, None) == (not isinstance(runner, TorchRunner))


@pytest.mark.parametrize("kind", ["int8", "int4", "nf4"])
def test_the_plan_knows_which_packed_weights_are_compiled(kind: str) -> None:
    parts = load_parts("cria", quant=kind, device="cpu")
    pool_of = PagePool(parts.spec, limit=4, dtype=parts.model.dtype, device=parts.model.device)
    runner = fastest(parts.model, parts.spec, pool_of)
    compiled = runs_compiled(parts.model.dtype, Packs(kind))
    assert compiled
    assert not isinstance(runner, TorchRunner)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("form", ["int8", "int4", "nf4", "q8_0", "q5_0", "q4_1", "q4_0"])
def test_what_users_open_is_compiled(tmp_path: Path, form: str, tied: bool) -> None:
    """Packed at load and kept from GGUF, with a table of its own or one that is the head too."""
    sizes = {"hidden_size": 64, "intermediate_size": 128, "tie_word_embeddings": tied}
    save_tiny(tmp_path, **sizes)
    path, quant = tmp_path, form
    if form.startswith("q"):
        path, quant = tmp_path / "model.gguf", "keep"
        parts = load_parts(tmp_path, device="cpu")
        save_gguf_as(path, parts.model, parts.spec, form)
    parts = load_parts(path, quant=quant, device="cpu")
    assert any(isinstance(module, PackedWeight) for module in parts.model.modules())
    engine = Engine(parts.model, parts.spec)
    assert not isinstance(engine.runner, TorchRunner)
    torch_engine = Engine(parts.model, parts.spec, runner=in_torch)
    asked = Request("a", tuple(range(3, 40)), 1, logprobs=True)
    (one,), (other,) = engine.run([asked]), torch_engine.run([asked])
    assert one.logprobs == pytest.approx(other.logprobs, abs=0.2)


def save_gguf_as(path: Path, model: Decoder, spec: ModelSpec, form: str) -> None:
    plan = plan_gguf(model, gguf_names(spec), GGUF_TYPES[form][0])
    metadata = describe_gguf(spec, {name: planned.shape for name, planned in plan.items()})
    save_gguf(path, model, plan, metadata)
