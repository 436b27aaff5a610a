"""Evaluation of a real small model against figures computed from its logits by hand."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

import puna
from puna.errors import DataError, PunaError, TemplateError, UsageError
from puna.evaluate import Row, Task, evaluate, majority_baseline, read_task
from puna.evaluate.prompts import joined
from puna.families import name_table, read_config
from puna.generate import LanguageModel, load
from puna.model import build, initialize
from puna.report import Report, bootstrap, wilson
from puna.weights import save_folder

TEMPLATE = Path(__file__).resolve().parents[2] / "recipes" / "cria" / "chat_template.jinja"
SPECIALS = ("<|pad|>", "<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
CONTEXT = 96
CONFIG = {
    "model_type": "llama",
    "vocab_size": 262,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


# Every byte is a token, after the special ones; Ġ stands for the space and Ċ for the line feed.
PIECES = [*SPECIALS, *sorted(pre_tokenizers.ByteLevel.alphabet())]


def byte_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(PIECES)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIALS))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", 1)]
    )
    return tokenizer


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads would only wait for each other in a model this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaMA with random weights that speaks ASCII, and often starts a new line."""
    path = tmp_path_factory.mktemp("model") / "tiny"
    spec = read_config(CONFIG)
    model = build(spec, device="cpu")
    initialize(model, seed=5, std=0.3)
    head = model.output.weight
    assert head is not None
    with torch.no_grad():
        for i, piece in enumerate(PIECES):
            head[i] *= 2.5 if piece == "Ċ" else float(piece in {"<|end|>", "Ġ"} or piece.isascii())
        head[[i for i, piece in enumerate(PIECES) if piece in SPECIALS and i != 2]] = 0.0
    save_folder(model, name_table(spec), path, config=CONFIG)
    byte_tokenizer().save(str(path / "tokenizer.json"))
    named = {"bos_token": "<|begin|>", "eos_token": "<|end|>", "pad_token": "<|pad|>"}
    (path / "tokenizer_config.json").write_text(json.dumps(named))
    shutil.copy(TEMPLATE, path / "chat_template.jinja")
    return path


@pytest.fixture(scope="module")
def lm(folder: Path) -> LanguageModel:
    return load(folder, dtype="float32", device="cpu")


def user(text: str) -> tuple[dict[str, str], ...]:
    return ({"role": "user", "content": text},)


def chat_ids(lm: LanguageModel, *turns: tuple[str, str]) -> list[int]:
    """The ids of a conversation, written without the template."""
    assert lm.tokenizer is not None
    text = "<|begin|>"
    for role, content in turns:
        text += f"<|{role}|>{content}" + ("<|end|>" if role == "assistant" else "")
    return lm.tokenizer.encode(text + "<|assistant|>", add_special=False)


def greedy(lm: LanguageModel, ids: Sequence[int], count: int) -> str:
    """What the model says, by one full forward per token."""
    assert lm.tokenizer is not None
    seen = list(ids)
    while len(seen) - len(ids) < count:
        token = int(lm.logits(seen)[-1].argmax())
        if token == 2:
            break
        seen.append(token)
    return lm.tokenizer.decode(seen[len(ids) :])


def nats(lm: LanguageModel, ids: Sequence[int], said: Sequence[int]) -> list[float]:
    """What each token of `said` costs after `ids`."""
    table = lm.logits([*ids, *said]).double().log_softmax(-1)
    return [-table[len(ids) + i - 1, token].item() for i, token in enumerate(said)]


def raw(lm: LanguageModel, text: str) -> list[int]:
    assert lm.tokenizer is not None
    return lm.tokenizer.encode(text, add_special=False)


def run(lm: LanguageModel, rows: Sequence[Row], **more: Any) -> Report:
    return evaluate(lm, Task("tiny.jsonl", tuple(rows)), subject="tiny", **more)


# --- reading ---


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_every_form_is_read(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": " a "}]
    path = write(
        tmp_path / "t.jsonl",
        {"messages": talk, "skill": "sums", "meta": {"é": 1}, "level": 3, "flag": None},
        {"messages": talk[:1], "choices": ["a", "b"], "answer": "b"},
        {"messages": talk, "choices": [" a ", "b"]},
        {"prompt": "p", "pattern": r"\d+"},
        {"prompt": "p", "continuation": " c"},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}], "answer": "x"},
    )
    task = read_task(path)
    assert task.name == "t.jsonl"
    question = ({"role": "user", "content": "q"},)
    groups = {"skill": "sums", "meta": '{"é": 1}', "level": "3", "flag": "null"}
    assert task.rows == (
        Row(1, question, answer=" a ", groups=groups),
        Row(2, question, answer="b", choices=("a", "b")),
        Row(3, question, answer=" a ", choices=(" a ", "b")),
        Row(4, "p", pattern=re.compile(r"\d+")),
        Row(5, "p", continuation=" c"),
        Row(6, question, answer="x"),
    )
    kinds = ["answer", "choices", "choices", "pattern", "continuation", "answer"]
    assert [row.kind for row in task.rows] == kinds


def test_blank_lines_a_mark_and_carriage_returns_are_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    row = b'{"prompt": "p", "answer": "a"}'
    path.write_bytes(b"\xef\xbb\xbf" + row + b"\r\n\r\n  \n" + row)
    assert [row.line for row in read_task(path).rows] == [1, 4]


@pytest.mark.parametrize(
    ("said", "right"),
    [("Yes", True), (" Yes\n", True), ("yes", False), ("Yes.", False), ("", False)],
)
def test_answers_are_exact_but_for_outer_whitespace(said: str, right: bool) -> None:
    assert Row(1, "p", answer="\tYes ").accepts(said) is right


def test_rows_that_cannot_be_meant() -> None:
    for wrong in (
        {},
        {"answer": "a", "continuation": "b"},
        {"answer": "a", "choices": ("b", "c")},
        {"choices": ("b", "c")},
    ):
        with pytest.raises(DataError):
            Row(1, "p", **wrong)
    with pytest.raises(DataError, match="no rows"):
        Task("t", ())


# --- what is said ---


def test_accuracy_over_answers_and_patterns(lm: LanguageModel) -> None:
    texts = [f"question {i}" for i in range(9)]
    said = [greedy(lm, chat_ids(lm, ("user", text)), 6) for text in texts]
    rows = [
        Row(i, user(text), answer=f" {words}\n" if i % 3 == 0 else f"{words}x")
        if i % 2
        else Row(i, user(text), pattern=re.compile(re.escape(words[1:3]) if i < 5 else "qq+z"))
        for i, (text, words) in enumerate(zip(texts, said, strict=True))
    ]
    seen: list[tuple[int, int]] = []
    report = run(lm, rows, max_tokens=6, batch=4, on_progress=lambda a, b: seen.append((a, b)))
    right = [i in {0, 2, 3, 4} for i in range(9)]
    assert [sample["right"] for sample in report.samples] == right
    assert [sample["said"] for sample in report.samples] == said
    assert [sample["input"] for sample in report.samples] == texts
    assert [sample["line"] for sample in report.samples] == list(range(9))
    assert report.samples[8]["expected"] == "qq+z"
    assert report.metrics == {"accuracy": wilson(4, 9)}
    assert seen == [(4, 9), (8, 9), (9, 9)]
    assert (report.kind, report.subject, report.task) == ("evaluation", "tiny", "tiny.jsonl")


def test_text_prompts_are_continued_up_to_a_blank_line(lm: LanguageModel) -> None:
    texts = [f"{i} is" for i in range(12)]
    whole = [greedy(lm, lm.encode(text), 40) for text in texts]
    assert sum("\n\n" in text.strip() for text in whole) >= 3
    rows = [Row(i, text, answer="?") for i, text in enumerate(texts)]
    report = run(lm, rows, max_tokens=40)
    assert [s["said"] for s in report.samples] == [text.split("\n\n")[0] for text in whole]
    assert "blank line" in report.environment["compared"]
    assert report.environment["too long"] == "0"  # to stop early is not to be cut


@pytest.mark.parametrize(
    ("prompt", "answer", "want"),
    [("q", "a", " a"), ("q ", "a", "a"), ("q\n", "a", "a"), ("q", " a", " a"), ("q", "\na", "\na")],
)
def test_an_answer_follows_a_text_prompt_after_one_space(
    prompt: str, answer: str, want: str
) -> None:
    assert joined(prompt, answer) == want


def test_the_report_says_how_it_was_made(lm: LanguageModel) -> None:
    report = run(lm, [Row(1, user("q"), answer="a")], max_tokens=5, seed=3)
    assert report.seed == 3
    facts = dict(report.environment)
    assert "outer whitespace aside" in facts.pop("compared")
    assert facts == {
        "puna": puna.__version__,
        "torch": torch.__version__,
        "dtype": "float32",
        "device": "cpu",
        "decoding": "greedy, at most 5 tokens",
        "shots": "0",
        "too long": "0",
    }
    assert Report.from_json(json.loads(json.dumps(report.to_json()))) == report


# --- how likely it is ---


@pytest.mark.parametrize("chat", [True, False])
def test_choices_go_by_likelihood(lm: LanguageModel, chat: bool) -> None:
    choices = ("no", "a longer choice", "yes, it is", "b")
    rows, best, best_norm = [], [], []
    for i in range(12):
        text = f"item {i}?"
        ids = chat_ids(lm, ("user", text)) if chat else list(lm.encode(text))
        space = "" if chat else " "
        totals = [sum(nats(lm, ids, raw(lm, space + choice))) for choice in choices]
        rates = [total / len(c) for total, c in zip(totals, choices, strict=True)]
        best.append(choices[totals.index(min(totals))])
        best_norm.append(choices[rates.index(min(rates))])
        answer = best[-1] if i < 5 else best_norm[-1]
        rows.append(Row(i, user(text) if chat else text, answer=answer, choices=choices))
    assert best != best_norm
    report = run(lm, rows, batch=5)
    answers = [row.answer for row in rows]
    hits = sum(a == b for a, b in zip(answers, best, strict=True))
    hits_norm = sum(a == b for a, b in zip(answers, best_norm, strict=True))
    assert [sample["said"] for sample in report.samples] == best
    assert 5 <= hits < 12
    assert report.metrics == {
        "accuracy": wilson(hits, 12),
        "choices_norm": wilson(hits_norm, 12),
    }


@pytest.mark.parametrize("chat", [True, False])
def test_continuations_are_measured_in_nats(lm: LanguageModel, chat: bool) -> None:
    rows, costs, hits = [], [], 0
    for i, said in enumerate(["ok", " a much longer continuation", "\n", " é", None]):
        text = f"text {i}"
        ids = chat_ids(lm, ("user", text)) if chat else list(lm.encode(text))
        if said is None:  # what the model itself would say
            said = greedy(lm, ids, 3)
            hits += 1
        rows.append(Row(i, user(text) if chat else text, continuation=said))
        costs.append(nats(lm, ids, raw(lm, said)))
    report = run(lm, rows, seed=8)
    rate = sum(map(sum, costs)) / sum(map(len, costs))
    found = report.metrics["nats_per_token"]
    want = bootstrap([sum(c) / len(c) for c in costs], 8, weights=[len(c) for c in costs])
    assert found.value == pytest.approx(rate, rel=1e-5)
    assert (found.n, found.low, found.high) == pytest.approx((5, want.low, want.high), rel=1e-5)
    perplexity = report.metrics["perplexity"]
    assert perplexity.value == pytest.approx(math.exp(rate), rel=1e-4)
    assert perplexity.low == pytest.approx(math.exp(want.low), rel=1e-4)
    assert perplexity.high == pytest.approx(math.exp(want.high), rel=1e-4)
    assert report.metrics["greedy"] == wilson(hits, 5)
    assert "accuracy" not in report.metrics
    first = report.samples[1]
    assert first["nats per token"] == pytest.approx(sum(costs[1]) / len(costs[1]), rel=1e-5)
    assert first["expected"] == " a much longer continuation"


def test_scoring_does_not_take_text_for_special_tokens(lm: LanguageModel) -> None:
    ids = chat_ids(lm, ("user", "q"))
    assert lm.tokenizer is not None
    said = lm.tokenizer.encode("<|end|>", add_special=False, parse_special=False)
    assert len(said) == 7
    report = run(lm, [Row(1, user("q"), continuation="<|end|>")])
    want = sum(nats(lm, ids, said)) / 7
    assert report.metrics["nats_per_token"].value == pytest.approx(want, rel=1e-5)


def test_a_model_that_computes_no_numbers_is_an_error_with_the_row(folder: Path) -> None:
    broken = load(folder, dtype="float32", device="cpu")
    broken.parts.model.norm.weight.fill_(math.nan)
    for row in (Row(7, "p", continuation="c"), Row(7, "p", answer="a", choices=("a", "b"))):
        with pytest.raises(PunaError, match="not finite") as caught:
            run(broken, [row])
        assert "tiny.jsonl, line 7" in str(caught.value)


# --- mixed rows, groups, examples ---


def test_rows_of_all_kinds_in_one_batch_keep_their_order(lm: LanguageModel) -> None:
    def kinds(i: int) -> list[Row]:
        return [
            Row(i, f"t{i}", continuation=" c"),
            Row(i + 1, user(f"q{i}"), answer="x"),
            Row(i + 2, f"t{i}", pattern=re.compile(".*")),
            Row(i + 3, user(f"q{i}"), answer="a", choices=("a", "b")),
        ]

    rows = kinds(0) + kinds(4)
    together = run(lm, rows, max_tokens=4)
    alone = [run(lm, [row], max_tokens=4).samples[0] for row in rows]
    key = "nats per token"
    for sample, single in zip(together.samples, alone, strict=True):
        assert sample.get(key, 0.0) == pytest.approx(single.get(key, 0.0), rel=1e-5)
        assert {**sample, key: 0} == {**single, key: 0}
    assert together.metrics["accuracy"].n == 6
    assert together.metrics["nats_per_token"].n == 2


def test_groups_stand_beside_the_whole(lm: LanguageModel) -> None:
    rows = [
        Row(i, user(f"q{i}"), pattern=re.compile("" if i % 3 else "qq+z"), groups=groups)
        for i, groups in enumerate([{"skill": "b"}, {"skill": "a"}, {"skill": "a"}, {}, {"x": "y"}])
    ]
    report = run(lm, rows, max_tokens=2, group_by="skill")
    assert list(report.metrics.items()) == [
        ("accuracy", wilson(3, 5)),
        ("accuracy: b", wilson(0, 1)),
        ("accuracy: a", wilson(2, 2)),
        ("accuracy: (none)", wilson(1, 2)),
    ]
    groups = [sample["group"] for sample in report.samples]
    assert groups == ["b", "a", "a", "(none)", "(none)"]
    with pytest.raises(UsageError, match="'nothing'") as caught:
        run(lm, rows, group_by="nothing")
    assert "skill, x" in str(caught.value)


def test_examples_stand_before_a_conversation(lm: LanguageModel) -> None:
    shots = [
        Row(1, ({"role": "system", "content": "other"}, *user("s1")), answer="A"),
        Row(2, "s2", answer="B", choices=("B", "C")),
        Row(3, user("s3"), continuation="D"),
    ]
    said = {"role": "assistant", "content": "yes"}
    prompt = ({"role": "system", "content": "sys"}, *user("first"), said, *user("now"))
    ids = chat_ids(
        lm,
        ("system", "sys"),
        *(("user", "s1"), ("assistant", "A"), ("user", "s2"), ("assistant", "B")),
        *(("user", "s3"), ("assistant", "D")),
        *(("user", "first"), ("assistant", "yes"), ("user", "now")),
    )
    rows = [Row(1, prompt, answer="x"), Row(2, prompt, continuation="ab")]
    report = run(lm, rows, shots=shots, max_tokens=8)
    assert report.samples[0]["said"] == greedy(lm, ids, 8)
    want = sum(nats(lm, ids, raw(lm, "ab"))) / 2
    assert report.samples[1]["nats per token"] == pytest.approx(want, rel=1e-5)
    assert report.samples[0]["input"] == "now"
    assert report.environment["shots"] == "3"


def test_examples_stand_before_text_as_blocks(lm: LanguageModel) -> None:
    shots = [
        Row(1, "1 + 1 =", answer="2"),
        Row(2, "2 + 1 = ", answer="3"),
        Row(3, "so", continuation="!"),
    ]
    text = "1 + 1 = 2\n\n2 + 1 = 3\n\nso!\n\n3 + 1 ="
    choices = ("4", "5", " 6")
    rows = [
        Row(1, "3 + 1 =", answer="4"),
        Row(2, "3 + 1 =", answer="4", choices=choices),
        Row(3, "3 + 1 =", continuation="4"),
    ]
    report = run(lm, rows, shots=shots, max_tokens=5)
    ids = lm.encode(text)
    assert report.samples[0]["said"] == greedy(lm, ids, 5).split("\n\n")[0]
    costs = [sum(nats(lm, ids, raw(lm, choice))) for choice in (" 4", " 5", " 6")]
    assert report.samples[1]["said"] == choices[costs.index(min(costs))]
    assert report.samples[2]["nats per token"] == pytest.approx(
        nats(lm, ids, raw(lm, "4"))[0], rel=1e-5
    )


def test_examples_that_cannot_be_shown(lm: LanguageModel) -> None:
    with pytest.raises(UsageError, match="pattern"):
        run(lm, [Row(1, user("q"), answer="a")], shots=[Row(9, "p", pattern=re.compile("a"))])
    with pytest.raises(UsageError, match="conversation"):
        run(lm, [Row(1, "q", answer="a")], shots=[Row(9, user("p"), answer="a")])


# --- what does not fit ---


def test_rows_beyond_the_context_are_wrong_and_listed_and_never_cut(lm: LanguageModel) -> None:
    fits = lm.encode("x" * 200)
    assert len(fits) == 201  # one per byte, and the beginning
    long, short, brim = "x" * (CONTEXT - 1), "y", "z" * (CONTEXT - 4)
    anything = re.compile("")
    rows = [
        Row(1, long, pattern=anything),
        Row(2, short, pattern=anything),
        Row(3, brim, pattern=anything),  # fits, but the context ends within the answer
        Row(4, long, continuation=" c"),
        Row(5, short, continuation=" c"),
        Row(6, brim, answer="a", choices=("a", "not that short")),
        Row(7, short, answer="a", choices=("a", "b")),
        Row(8, user(long), answer="a"),
    ]
    report = run(lm, rows, max_tokens=10)
    reasons = {s["line"]: s["too long"] for s in report.samples if "too long" in s}
    assert set(reasons) == {1, 3, 4, 6, 8}
    assert reasons[1] == f"{CONTEXT} tokens, but the model's context is {CONTEXT}"
    assert reasons[3] == f"the context of {CONTEXT} tokens ended within the answer"
    assert reasons[4] == f"{CONTEXT + 2} tokens, but the model's context is {CONTEXT}"
    assert not any(s["right"] for s in report.samples if s["line"] in reasons)
    assert report.environment["too long"] == "5"
    alone = run(lm, [rows[1], rows[4], rows[6]], max_tokens=10)
    hits = alone.metrics["accuracy"].value * alone.metrics["accuracy"].n
    assert report.metrics["accuracy"] == wilson(round(hits), 6)
    assert report.metrics["nats_per_token"] == alone.metrics["nats_per_token"]
    assert report.metrics["greedy"].n == 2
    assert report.samples[4]["nats per token"] == alone.samples[1]["nats per token"]


def test_a_task_of_which_nothing_fits_has_figures_still(lm: LanguageModel) -> None:
    report = run(lm, [Row(1, "x" * 300, continuation="c")])
    assert report.metrics == {"greedy": wilson(0, 1)}
    assert report.environment["too long"] == "1"


# --- errors ---


def test_a_row_that_the_template_refuses_is_named(lm: LanguageModel) -> None:
    rows = [Row(1, user("q"), answer="a"), Row(31, ({"role": "tool", "content": "t"},), answer="a")]
    with pytest.raises(TemplateError, match="cria takes") as caught:
        run(lm, rows)
    assert "tiny.jsonl, line 31" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


def test_a_model_without_a_template_cannot_be_asked_conversations(
    folder: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(folder, bare)
    (bare / "chat_template.jinja").unlink()
    lm = load(bare, device="cpu")
    with pytest.raises(TemplateError, match="no chat template"):
        run(lm, [Row(1, user("q"), answer="a")])
    assert run(lm, [Row(1, "q", answer="a")], max_tokens=2).metrics["accuracy"].n == 1


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"max_tokens": 0}])
def test_arguments_that_cannot_be_meant(lm: LanguageModel, wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        run(lm, [Row(1, "q", answer="a")], **wrong)


# --- the baseline ---


def test_majority_says_the_commonest_answer() -> None:
    def rows(*answers: str) -> list[Row]:
        return [Row(i, user("q"), answer=answer) for i, answer in enumerate(answers, 1)]

    train = rows("b", "a", " a", "c", "a\n", "b")
    task = Task(
        "t",
        (
            *rows("a", "b", " a "),
            Row(4, "q", answer="a", choices=("a", "b")),
            Row(5, "q", pattern=re.compile("^[ab]$")),
            Row(6, "q", continuation="a"),
        ),
    )
    assert majority_baseline(train, task) == wilson(4, 5)
    assert majority_baseline(rows("b", "a"), task) == wilson(2, 5)  # of equals, the first
    with pytest.raises(UsageError, match="no answer"):
        majority_baseline([Row(1, "p", continuation="a")], task)
    with pytest.raises(UsageError, match="right or wrong"):
        majority_baseline(train, Task("t", (Row(6, "q", continuation="a"),)))


def test_the_triage_example_has_a_baseline_of_one_in_five() -> None:
    folder = Path(__file__).resolve().parents[2] / "examples" / "triage"
    train, held = read_task(folder / "train.jsonl"), read_task(folder / "heldout.jsonl")
    assert majority_baseline(train.rows, held) == wilson(40, 200)


# --- a trained model ---


def test_a_trained_model_finds_its_own_language_likelier(shared: Path, tmp_path: Path) -> None:
    stories = load(shared / "data/checkpoints/stories260K-hf", device="cpu")
    begin = "Once upon a time, there was a little girl named Lily."
    rows = []
    for i, word in enumerate(["park", "garden", "house", "dog", "sun", "tree"]):
        good, bad = f"She went to the {word}.", f"the to {word} went She."
        rows.append(Row(i, begin, answer=good, choices=(bad, good)))
    plain = "Lily liked to play with her ball."
    rows.append(Row(9, "Once upon a time,", continuation=" there was a little girl named Lily."))
    rows.append(Row(10, "Once upon a time,", continuation=plain[::-1]))
    report = run(stories, rows)
    assert report.metrics["accuracy"] == wilson(6, 6)
    costs = [sample["nats per token"] for sample in report.samples[-2:]]
    assert costs[0] < 1.0 < 4.0 < costs[1]
