"""`puna.load` and `LanguageModel`, on cria and on the small trained LLaMA beside the checkout."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

import puna
from puna.errors import ContextError, SourceError, TemplateError, TokenizerError, UsageError
from puna.generate import Generation, LanguageModel, Options
from tests.unit.tiny import save_tiny

CHECKPOINTS = Path("data/checkpoints")
ASK = [{"role": "user", "content": "What is a baby llama called?"}]


@pytest.fixture(scope="module")
def cria() -> LanguageModel:
    return puna.load("cria", dtype="float32")


@pytest.fixture(scope="module")
def stories(shared: Path) -> LanguageModel:
    return puna.load(shared / CHECKPOINTS / "stories260K-hf")


def test_stories_greedy_text_is_exact(stories: LanguageModel, shared: Path) -> None:
    want = (
        shared / CHECKPOINTS / "stories260K-hf" / "expected_greedy_200_steps_from_bos.txt"
    ).read_text()
    bos = stories.parts.text.specials.bos
    assert bos == 1
    done = stories.generate([bos], max_tokens=200)
    assert done.text.strip() == want.strip()


def test_stream_is_generate_in_pieces(cria: LanguageModel) -> None:
    prompt = cria.render(ASK)
    pieces = list(cria.stream(prompt, max_tokens=30))
    assert len(pieces) > 3
    assert "".join(pieces) == cria.generate(prompt, max_tokens=30).text
    assert "".join(cria.chat_stream(ASK, max_tokens=30)) == cria.chat(ASK, max_tokens=30).text


def test_generating_within_a_stream_loses_nothing_of_it(cria: LanguageModel) -> None:
    alone = cria.generate("The llama", max_tokens=24).text
    parts = []
    for text in cria.stream("The llama", max_tokens=24):
        parts.append(text)
        cria.generate("A fox", max_tokens=40)
    assert "".join(parts) == alone
    assert cria.engine.idle


def test_leaving_a_stream_frees_the_engine(cria: LanguageModel) -> None:
    stream = cria.stream("The llama", max_tokens=50)
    next(stream)
    stream.close()
    assert cria.engine.idle


def test_greedy_and_seeded_sampling_repeat(cria: LanguageModel) -> None:
    def sample(seed: int) -> tuple[int, ...]:
        return cria.generate("The", max_tokens=24, temperature=1.0, seed=seed).ids

    assert cria.chat(ASK, max_tokens=20).ids == cria.chat(ASK, max_tokens=20).ids
    assert sample(1) == sample(1)
    assert len({sample(seed) for seed in range(6)}) > 1


def test_generation_equals_argmax_of_logits(cria: LanguageModel) -> None:
    prompt = cria.encode("Once upon a time")
    done = cria.generate(prompt, max_tokens=16)
    logits = cria.logits([*prompt, *done.ids])
    assert logits.shape == (len(prompt) + len(done.ids), cria.spec.vocab)
    assert logits.dtype == torch.float32
    start = len(prompt) - 1
    assert logits[start : start + len(done.ids)].argmax(-1).tolist() == list(done.ids)


def test_end_of_sequence_always_ends(cria: LanguageModel) -> None:
    done = cria.chat(ASK, max_tokens=200)
    assert done.finish == "stop"
    assert not set(done.ids) & cria.parts.text.specials.eos
    assert cria.chat(ASK, max_tokens=2).finish == "length"


def test_stop_strings_end_the_text_and_are_not_in_it(cria: LanguageModel) -> None:
    whole = cria.chat(ASK, max_tokens=40).text
    stop = whole[4:7]
    cut = cria.chat(ASK, max_tokens=40, stop=stop)
    assert cut.text == whole[: whole.index(stop)]
    assert cut.finish == "stop"


@pytest.mark.parametrize("size", [1, 2, 5, 11])
def test_a_stop_is_met_wherever_the_borders_of_tokens_lie(cria: LanguageModel, size: int) -> None:
    def told(**stop: str) -> Generation:
        return cria.generate("Once upon a time", max_tokens=24, **stop)

    whole = told()
    assert len(whole.text) > 3 * len(whole.ids), "or few stops would lie across a border"
    for start in range(0, len(whole.text) - size, 4):
        stop = whole.text[start : start + size]
        assert told(stop=stop).text == whole.text[: whole.text.index(stop)]


def test_the_stop_that_comes_first_of_several_ends_the_text(cria: LanguageModel) -> None:
    whole = cria.generate("Once upon a time", max_tokens=24).text
    stops = ["never comes", whole[20:26], whole[9:12]]
    for text in (
        cria.generate("Once upon a time", max_tokens=24, stop=stops).text,
        "".join(cria.stream("Once upon a time", max_tokens=24, stop=stops)),
    ):
        assert text == whole[: min(whole.index(stop) for stop in stops[1:])]


def test_a_stop_that_never_comes_changes_nothing(cria: LanguageModel) -> None:
    plain = cria.generate("The llama", max_tokens=20)
    for stop in ("never this", plain.text[-6:] + "?", "The llama", "llama" + plain.text[:3]):
        # Of the last two, what would have to come first is the prompt's and not the answer's.
        for done in (
            cria.generate("The llama", max_tokens=20, stop=stop).text,
            "".join(cria.stream("The llama", max_tokens=20, stop=stop)),
        ):
            assert done == plain.text


def test_samples_repeat_with_their_seed_and_differ(cria: LanguageModel) -> None:
    heat = {"temperature": 2.5, "max_tokens": 12}
    three = cria.samples("The llama", 3, seed=4, **heat)
    assert [done.ids for done in three] == [
        done.ids for done in cria.samples("The llama", 3, seed=4, **heat)
    ]
    assert three[0].ids == cria.generate("The llama", seed=4, **heat).ids
    neighbor = cria.samples("The llama", 3, seed=5, **heat)
    assert len({done.ids for done in three + neighbor}) == 6
    assert len({done.ids for done in cria.samples("The llama", 4, **heat)}) > 1
    assert len({done.ids for done in cria.samples("The", 2, max_tokens=5)}) == 1


@pytest.mark.parametrize("n", [0, -1, 1.5, "two"])
def test_a_number_of_samples_that_cannot_be_meant(cria: LanguageModel, n: object) -> None:
    with pytest.raises(UsageError, match="n must be"):
        cria.samples("The", n)  # type: ignore[arg-type]


def test_log_probabilities_are_the_model_s_before_sampling(cria: LanguageModel) -> None:
    heat = {"temperature": 1.5, "seed": 1, "top_k": 40, "frequency_penalty": 1.0}
    done = cria.generate("The", max_tokens=8, **heat, logprobs=True, top_logprobs=4)
    prompt = cria.encode("The")
    table = cria.logits([*prompt, *done.ids])[len(prompt) - 1 : -1].log_softmax(-1)
    said = table.gather(1, torch.tensor(done.ids)[:, None])[:, 0]
    assert done.logprobs == pytest.approx(said.tolist(), abs=1e-4)
    best = table.topk(4)
    for top, chances in zip(done.top_logprobs, best.values.tolist(), strict=True):
        assert [chance for _, chance in top] == pytest.approx(chances, abs=1e-4)
    assert [top[0][0] for top in done.top_logprobs] == best.indices[:, 0].tolist()
    assert cria.generate("The", max_tokens=2).logprobs == ()


def test_a_bias_forbids_and_demands(cria: LanguageModel) -> None:
    plain = cria.generate("The llama", max_tokens=6)
    without = cria.generate("The llama", max_tokens=6, logit_bias={plain.ids[0]: -1e9})
    assert plain.ids[0] not in without.ids
    assert cria.generate("The", max_tokens=4, logit_bias={9: 1e9}).ids == (9, 9, 9, 9)


def test_labels_share_what_probability_they_have(cria: LanguageModel) -> None:
    labels = [" grass", " herbs and leaves", " stones"]
    chances = cria.label("The llama eats", labels)
    assert list(chances) == labels
    assert sum(chances.values()) == pytest.approx(1)
    totals = [cria.score("The llama eats", label).total for label in labels]
    for label, total in zip(labels, totals, strict=True):
        assert math.log(chances[label] / chances[labels[0]]) == pytest.approx(
            total - totals[0], abs=1e-3
        )
    ids = cria.render([{"role": "user", "content": "What does a llama eat?"}])
    assert set(cria.label(ids, ["Grass.", "Stones."])) == {"Grass.", "Stones."}


@pytest.mark.parametrize("labels", [[], "label", ["a", "a"], [""]], ids=str)
def test_labels_that_cannot_be_meant(cria: LanguageModel, labels: object) -> None:
    with pytest.raises(UsageError):
        cria.label("The llama", labels)  # type: ignore[arg-type]


def test_score_agrees_with_logits(cria: LanguageModel) -> None:
    score = cria.score("The llama eats", " grass and herbs")
    ids = cria.encode("The llama eats grass and herbs")
    head = cria.encode("The llama eats")
    assert ids[: len(head)] == head
    table = cria.logits(ids).log_softmax(-1)
    want = [table[i - 1, ids[i]].item() for i in range(len(head), len(ids))]
    assert score.tokens == pytest.approx(want, abs=1e-4)
    assert score.total == pytest.approx(sum(want), abs=1e-3)
    assert not score.greedy
    greedy = cria.generate("The llama eats", max_tokens=4)
    assert cria.score(head, greedy.ids).greedy


def test_a_token_on_the_border_is_scored_as_the_text_has_it(cria: LanguageModel) -> None:
    ids = cria.encode("The llama eats")
    spaced = cria.score("The llama ", "eats")
    assert cria.encode("The llama ") != ids[:-1], "the space is a token of its own"
    assert spaced == cria.score("The llama", " eats")
    assert spaced.tokens[-1] == pytest.approx(
        cria.logits(ids).log_softmax(-1)[-2, ids[-1]].item(), abs=1e-4
    )


def test_scores_in_a_batch_equal_scores_alone(cria: LanguageModel) -> None:
    pairs = [("The fox", " ran"), ("A", " very long day on the high grassland"), ("One", " two")]
    together = cria.score_many(pairs)
    for pair, score in zip(pairs, together, strict=True):
        assert cria.score(*pair).total == pytest.approx(score.total, abs=1e-4)


def test_embeddings_have_unit_length_and_follow_meaning(cria: LanguageModel) -> None:
    vectors = cria.embed(["the llama eats grass", "the llama eats herbs", "7 + 5 = 12"])
    assert vectors.shape == (3, cria.spec.width)
    assert vectors.norm(dim=1).tolist() == pytest.approx([1, 1, 1], abs=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    assert cria.embed([]).shape == (0, cria.spec.width)


def test_saved_copy_says_the_same(cria: LanguageModel, tmp_path: Path) -> None:
    cria.save(tmp_path / "copy")
    again = puna.load(tmp_path / "copy")
    assert torch.equal(again.logits([1, 5, 9]), cria.logits([1, 5, 9]))
    assert again.chat(ASK, max_tokens=20).text == cria.chat(ASK, max_tokens=20).text
    again.save(tmp_path / "copy")  # onto the very files it is mapped from
    assert torch.equal(puna.load(tmp_path / "copy").logits([1, 5]), cria.logits([1, 5]))


def copy_unsealed(lm: LanguageModel, folder: Path) -> None:
    ignore = shutil.ignore_patterns("puna.seal.json")
    shutil.copytree(lm.parts.source.path, folder, ignore=ignore)


def test_a_saved_copy_ends_where_generation_config_says(
    tmp_path: Path, cria: LanguageModel
) -> None:
    copy_unsealed(cria, tmp_path / "chatty")
    (tmp_path / "chatty" / "generation_config.json").write_text('{"eos_token_id": [77, 78]}')
    lm = puna.load(tmp_path / "chatty")
    assert {77, 78} < lm.parts.text.specials.eos
    lm.save(tmp_path / "copy")
    assert puna.load(tmp_path / "copy").parts.text.specials == lm.parts.text.specials


def test_a_checkpoint_without_tokenizer_works_on_ids(tmp_path: Path, cria: LanguageModel) -> None:
    folder = tmp_path / "bare"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(cria.parts.source.path / name, folder / name)
    bare = puna.load(folder, dtype="float32")
    assert bare.tokenizer is None
    ids = cria.encode("The llama")
    assert bare.generate(ids, max_tokens=8).ids == cria.generate(ids, max_tokens=8).ids
    assert bare.generate(ids, max_tokens=8).text == ""
    with pytest.raises(TokenizerError, match="no tokenizer"):
        bare.generate("text", max_tokens=8)
    with pytest.raises(TemplateError, match="no chat template"):
        bare.chat(ASK)


def test_context_is_an_error_with_the_numbers(cria: LanguageModel) -> None:
    long = [5] * (cria.spec.context + 1)
    for call in (lambda: cria.generate(long), lambda: cria.logits(long)):
        with pytest.raises(ContextError, match=f"{len(long)} tokens"):
            call()
    full = cria.generate([5] * (cria.spec.context - 3), max_tokens=50, repetition_penalty=1.0)
    assert len(full.ids) <= 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1.0},
        {"top_p": 0.0},
        {"top_k": -1},
        {"max_tokens": 0},
        {"temperature": float("nan")},
        {"repetition_penalty": 0.0},
        {"tempreature": 1.0},
        {"stop": ""},
        {"stop": 7},
        {"seed": "seven"},
        {"max_tokens": -1},
        {"max_tokens": 1.5},
        {"typical_p": 0.0},
        {"min_p": 1.5},
        {"frequency_penalty": float("inf")},
        {"presence_penalty": "much"},
        {"logit_bias": {-1: 1.0}},
        {"logit_bias": {2048: 1.0}},
        {"logit_bias": {"5": 1.0}},
        {"logit_bias": {5: float("nan")}},
        {"logit_bias": [5, 1.0]},
        {"top_logprobs": -1},
        {"top_logprobs": 101},
        {"top_logprobs": 1.5},
        {"regex": "(", "seed": 1},
        {"regex": "a", "choice": ["a"]},
    ],
    ids=str,
)
def test_options_that_cannot_be_meant(cria: LanguageModel, wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        cria.generate("The", **wrong)


@pytest.mark.parametrize("ids", [[], [-1], [2048], [1, 10**9]])
def test_ids_outside_the_vocabulary(cria: LanguageModel, ids: list[int]) -> None:
    for call in (lambda: cria.generate(ids, max_tokens=2), lambda: cria.logits(ids)):
        with pytest.raises(UsageError):
            call()


def test_ids_may_come_in_a_tensor_but_must_be_whole(cria: LanguageModel) -> None:
    ids = torch.tensor([5, 9, 2])
    assert torch.equal(cria.logits(ids), cria.logits([5, 9, 2]))
    assert cria.generate(ids, max_tokens=3).ids == cria.generate([5, 9, 2], max_tokens=3).ids
    for wrong in ("text", [1.5, 2], [[5, 9]]):
        with pytest.raises(UsageError, match="whole numbers"):
            cria.logits(wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="list of texts"):
        cria.embed("one text")


@pytest.mark.parametrize("kind", ["dynamic", "linear", "yarn"])
def test_scaling_makes_room_beyond_the_original_context(kind: str, tmp_path: Path) -> None:
    """Also where the base grows with the sequence: what is said is what one shot would say."""
    settings = {"rope_type": kind, "factor": 4.0}
    save_tiny(tmp_path, max_position_embeddings=16, rope_scaling=settings)
    lm = puna.load(tmp_path)
    prompt = list(range(1, 30))
    done = lm.generate(prompt, max_tokens=64 - len(prompt))
    assert len(prompt) + len(done.ids) == lm.spec.context == 64
    logits = lm.logits([*prompt, *done.ids])
    assert tuple(logits[len(prompt) - 1 : -1].argmax(-1).tolist()) == done.ids


def test_nothing_there(tmp_path: Path) -> None:
    for place in (tmp_path / "none", tmp_path, "no-such-built-in"):
        with pytest.raises(SourceError):
            puna.load(place)


def test_unknown_dtype_and_device() -> None:
    with pytest.raises(UsageError, match="dtype"):
        puna.load("cria", dtype="int3")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="device"):
        puna.load("cria", device="abacus")


def test_ignore_keys(tmp_path: Path, cria: LanguageModel) -> None:
    copy_unsealed(cria, tmp_path / "odd")
    config = json.loads((tmp_path / "odd" / "config.json").read_text())
    (tmp_path / "odd" / "config.json").write_text(json.dumps({**config, "flux_capacitor": 1}))
    with pytest.raises(puna.PunaError, match="flux_capacitor"):
        puna.load(tmp_path / "odd")
    assert puna.load(tmp_path / "odd", ignore_keys=["flux_capacitor"]).spec == cria.spec


def test_how_the_engine_runs_changes_no_answer() -> None:
    """Alone or in company, guessed or not: one greedy text, compiled and in torch."""
    text = "The llama eats grass. The llama eats grass. The llama eats"
    plain = puna.load("cria", device="cpu", dtype="float32", speculation=False)
    want = plain.generate(text, max_tokens=30)
    request, _ = plain.request(plain.encode(text), Options(max_tokens=30))
    assert plain.engine.run([request])[0].usage.drafted_tokens == 0
    for how in ({}, {"deterministic": True}, {"batch": 2, "context": 128}):
        lm = puna.load("cria", device="cpu", dtype="float32", **how)  # type: ignore[arg-type]
        assert lm.generate(text, max_tokens=30).ids == want.ids


def test_a_priority_must_be_a_whole_number() -> None:
    lm = puna.load("cria", device="cpu")
    assert lm.generate("The", max_tokens=2, priority=3).ids
    with pytest.raises(UsageError, match="priority must be a whole number"):
        lm.generate("The", max_tokens=2, priority=1.5)
