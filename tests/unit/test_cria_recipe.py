"""The text and the tokenizer that cria is made from."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "cria"
FILES = ("pretrain.jsonl", "chat.jsonl", "heldout.jsonl", "stats.json")
Row = dict[str, Any]


def run(script: str, *arguments: object, hash_seed: int = 0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(RECIPE / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
    )


def rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cria") / "data"
    done = run("make_data.py", "--out", out, "--seed", 0, "--scale", 0.01)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def folder(data: Path) -> Path:
    out = data.parent / "tokenizer"
    done = run("make_tokenizer.py", "--data", data, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def recipe() -> Iterator[SimpleNamespace]:
    """The recipe's own modules, imported as its scripts import them, and forgotten afterwards."""
    before = set(sys.modules)
    sys.path.insert(0, str(RECIPE))
    try:
        import make_data
        import text
        from text import conversations, core, sums

        yield SimpleNamespace(
            make_data=make_data, text=text, conversations=conversations, core=core, sums=sums
        )
    finally:
        sys.path.remove(str(RECIPE))
        for name in set(sys.modules) - before:
            if name.split(".")[0] in {"text", "make_data"}:
                del sys.modules[name]


def test_the_same_seed_gives_the_same_bytes(data: Path, tmp_path: Path) -> None:
    again = run("make_data.py", "--out", tmp_path, "--scale", 0.01, hash_seed=7)
    assert again.returncode == 0, again.stderr
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (data / name).read_bytes(), name


def test_another_seed_changes_the_training_text_and_not_the_heldout_rows(
    data: Path, tmp_path: Path
) -> None:
    assert run("make_data.py", "--out", tmp_path, "--seed", 1, "--scale", 0.001).returncode == 0
    assert (tmp_path / "heldout.jsonl").read_bytes() == (data / "heldout.jsonl").read_bytes()
    first = rows(data / "pretrain.jsonl")[0]
    assert first not in rows(tmp_path / "pretrain.jsonl")


def test_no_row_comes_twice(data: Path) -> None:
    plain = [row["text"] for row in rows(data / "pretrain.jsonl")]
    talks = [
        json.dumps([m for m in row["messages"] if m["role"] != "system"])
        for row in rows(data / "chat.jsonl")
    ]
    assert len(set(plain)) == len(plain)
    assert len(set(talks)) == len(talks)


def test_conversations_are_well_formed(data: Path) -> None:
    talks = rows(data / "chat.jsonl")
    for row in talks:
        roles = [message["role"] for message in row["messages"]]
        turns = roles[1:] if roles[0] == "system" else roles
        assert turns == ["user", "assistant"] * (len(turns) // 2)
        assert turns
        assert all(m["content"] and m["content"] == m["content"].strip() for m in row["messages"])
    assert any(row["messages"][0]["role"] == "system" for row in talks)
    assert any(len(row["messages"]) > 4 for row in talks)


def test_every_skill_is_trained_and_held_out(data: Path, recipe: SimpleNamespace) -> None:
    names = {skill.name for skill in recipe.text.SKILLS}
    assert {row["skill"] for row in rows(data / "chat.jsonl")} == names | {"mixed"}
    held = rows(data / "heldout.jsonl")
    assert {row["skill"] for row in held} == names
    for row in held:
        assert row["messages"][-1]["role"] == "user"
        assert ("answer" in row) != ("pattern" in row)
        re.compile(row.get("pattern", ""))


def test_reserved_words_are_never_trained_on(data: Path, recipe: SimpleNamespace) -> None:
    reserved = recipe.conversations.all_reserved()
    assert reserved.found("The Vase of Oksana, and dried figs.") == ["dried figs", "oksana", "vase"]
    for row in (*rows(data / "pretrain.jsonl"), *rows(data / "chat.jsonl")):
        assert reserved.found(json.dumps(row, ensure_ascii=False)) == []


def test_heldout_prompts_are_never_trained_on(data: Path) -> None:
    trained = {
        message["content"].lower().rstrip(".?!")
        for row in rows(data / "chat.jsonl")
        for message in row["messages"]
        if message["role"] == "user"
    }
    for row in rows(data / "heldout.jsonl"):
        if row["skill"] != "memory":  # its last question is one of few; what was told is new
            assert row["messages"][-1]["content"].lower().rstrip(".?!") not in trained


def test_reserved_words_are_drawn_only_for_the_heldout_set(recipe: SimpleNamespace) -> None:
    """The last safety net drops a row with a reserved word; the grammars must not need it."""
    reserved = recipe.conversations.all_reserved()
    for skill in recipe.text.SKILLS:
        draw = recipe.core.Draw(f"test:{skill.name}")
        for _ in range(150):
            said = " ".join(f"{t.prompt} {t.reply}" for t in skill.make(draw).turns)
            assert reserved.found(said) == [], skill.name


@pytest.mark.parametrize("skill_name", ["story", "outside", "talk", "fun", "format"])
def test_patterns_accept_the_answers_of_the_grammar(
    recipe: SimpleNamespace, skill_name: str
) -> None:
    skill = next(skill for skill in recipe.text.SKILLS if skill.name == skill_name)
    for novelty in skill.novelty:
        draw = recipe.core.Draw(
            f"test:{skill_name}",
            held_words=novelty == "words",
            held_phrasings=novelty == "phrasing",
        )
        for _ in range(150):
            made = skill.make(draw)
            if made.pattern is not None:
                assert re.search(made.pattern, made.turns[-1].reply), made
                for empty in ("Sure.", "I do not know.", f"Yes: {made.turns[-1].prompt}"):
                    if skill_name in {"story", "fun", "format", "outside"}:
                        assert not re.search(made.pattern, empty), made


def test_sums_are_right_and_reserved_ones_are_not_trained(
    data: Path, recipe: SimpleNamespace
) -> None:
    seen = 0
    for row in rows(data / "chat.jsonl"):
        for ask, answer in zip(row["messages"], row["messages"][1:], strict=False):
            match = re.search(r"(\d+) ?(\+|-|plus|minus) ?(\d+)", ask["content"])
            if (
                ask["role"] != "user"
                or not match
                or int(match[1]) > 20
                or "real" in answer["content"]
            ):
                continue
            a, sign, b = int(match[1]), match[2], int(match[3])
            sign = {"plus": "+", "minus": "-"}.get(sign, sign)
            assert int(answer["content"]) == (a + b if sign == "+" else a - b), ask
            assert not recipe.sums.reserved(a, b, sign), ask
            seen += 1
    assert seen > 30


def test_answers_over_a_passage_stand_in_it(data: Path) -> None:
    absent = 0
    found = [row for row in rows(data / "chat.jsonl") if row["skill"] == "passage"]
    for row in found:
        prompt = next(m["content"] for m in row["messages"] if m["role"] == "user").lower()
        for message in row["messages"]:
            if message["role"] != "assistant":
                continue
            if message["content"] == "The passage does not say.":
                absent += 1
                continue
            answer = re.sub(r"^(an?|the) ", "", message["content"].lower())
            assert answer in prompt, row
    assert 0.15 < absent / len(found) < 0.55


def test_prose_has_no_glitches(data: Path) -> None:
    glitch = re.compile(
        r"[{}<>|]|a\(n\)|\ba [aeio]\w|\ban [bcdfgjklmnpqrstvwxyz]|  | [,.?!]|\.\.|[.?!]\"? [a-z]"
    )
    speech = re.compile(
        r'[?!]" (he |she |it )?(asked|said|cried|called|shouted|answered|whispered|thought)'
    )
    for row in rows(data / "pretrain.jsonl"):
        text = speech.sub("", row["text"])
        assert not glitch.search(text), (glitch.search(text), row["text"])


def test_triage_is_not_taught(data: Path) -> None:
    """The support-desk task is left to tuning: its labels are never an answer about a text."""
    labels = {"billing", "shipping", "account", "technical", "returns"}
    for row in rows(data / "chat.jsonl"):
        for ask, answer in zip(row["messages"], row["messages"][1:], strict=False):
            if answer["role"] == "assistant" and answer["content"].lower() in labels:
                assert answer["content"] in ask["content"], row
                assert row["skill"] in {"format", "mixed"}


def test_statistics_agree_with_the_files(data: Path) -> None:
    figures = json.loads((data / "stats.json").read_text())
    talks, plain = rows(data / "chat.jsonl"), rows(data / "pretrain.jsonl")
    assert figures["chat"]["rows"] == len(talks)
    assert figures["pretrain"]["characters"] == sum(len(row["text"]) for row in plain)
    assert figures["chat"]["skills"]["sum"]["rows"] == sum(r["skill"] == "sum" for r in talks)
    assert figures["heldout"]["rows"] == len(rows(data / "heldout.jsonl"))
    new = figures["heldout"]["skills"]["outside/phrasing"]
    assert 0 <= new["longest_shared_run_share"] < 0.7
    assert figures["dropped_for_a_reserved_word"] <= 3


def test_overlap_measures_what_it_says(recipe: SimpleNamespace) -> None:
    from text import statistics

    words = statistics.Vocabulary()
    train = words.encode(["the red fox ran over the long hill at night", "a cold wind"])
    same, part, none = (
        words.encode([text])
        for text in ("the red fox ran over the long hill at night", "a red fox ran home", "zub mip")
    )
    measured = statistics.overlap(train, [same, part, none])
    assert measured[0] == (0.8, 1.0)  # the longest of the measured lengths in ten words is 8
    assert measured[1] == (3 / 5, None)
    assert measured[2] == (0.0, None)
    assert statistics.unique_share(words.encode(["x y x y x y"]), 2) == 0.4


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ("a(n) {thing}", {"an owl"}),
        ("<A|The <old|new>> {thing}", {"A owl", "The old owl", "The new owl"}),
        ("a -> b | c", {"a -> b | c"}),
        ("<x|>y", {"xy", "y"}),
    ],
)
def test_templates_expand_to_all_of_their_forms(
    recipe: SimpleNamespace, template: str, wanted: set[str]
) -> None:
    draw = recipe.core.Draw("any")
    assert {draw.line(template, thing="owl") for _ in range(200)} == wanted
    assert recipe.core.forms(template) == len(wanted)


def test_an_open_choice_is_refused(recipe: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match="not closed"):
        recipe.core.parse("a <b|c")


def test_sentences_get_their_capitals(recipe: SimpleNamespace) -> None:
    case = recipe.core.sentence_case
    assert (
        case('the fox ran. "stop!" cried he. he went.') == 'The fox ran. "Stop!" cried he. He went.'
    )
    assert case('"why?" he asked. "no." she left.') == '"Why?" he asked. "No." She left.'


@pytest.mark.parametrize("scale", ["0", "-1", "11", "nan"])
def test_a_scale_without_sense_is_a_short_error(tmp_path: Path, scale: str) -> None:
    done = run("make_data.py", "--out", tmp_path / "out", "--scale", scale)
    assert done.returncode == 2
    assert "scale" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3


def test_a_folder_that_cannot_be_written_is_a_short_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("make_data.py", "--out", tmp_path / "file" / "x", "--scale", 0.0001)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "could not make the folder" in done.stderr


@pytest.mark.parametrize(
    ("line", "said"), [(None, "cannot read"), ("{}", "line 2"), ("{", "line 2"), ("[]", "line 2")]
)
def test_bad_data_for_the_tokenizer_is_a_short_error(
    tmp_path: Path, line: str | None, said: str
) -> None:
    if line is not None:
        (tmp_path / "pretrain.jsonl").write_text('{"text": "a"}\n' + line + "\n")
    done = run("make_tokenizer.py", "--data", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_too_little_text_for_the_vocabulary_is_said(tmp_path: Path) -> None:
    for name in ("pretrain.jsonl", "chat.jsonl"):
        (tmp_path / name).write_text('{"text": "a short text"}\n')
    done = run("make_tokenizer.py", "--data", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "2048" in done.stderr


@pytest.mark.parametrize(
    "text",
    [
        "Hello, cria!",
        " two  spaces\tand a tab \n\n",
        "你好，世界",
        "🦙 👩‍👩‍👧 é ñ ß",
        "def f(x):\n    return x ** 2  # ½\n",
        "مرحبا שלום",
        "\x00\x7f\u2028",
        "",
    ],
)
def test_any_text_comes_back(folder: Path, text: str) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_the_tokenizer_fits_the_config(folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    config = json.loads((RECIPE / "config.json").read_text())
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    assert tokenizer.get_vocab_size() == config["vocab_size"] == 2048
    for kind in ("bos", "eos", "pad"):
        assert tokenizer.token_to_id(settings[f"{kind}_token"]) == config[f"{kind}_token_id"]
    assert settings["model_max_length"] == config["max_position_embeddings"]
    assert config["head_dim"] * config["num_attention_heads"] == config["hidden_size"]
    assert tokenizer.encode("120", add_special_tokens=False).tokens == ["1", "2", "0"]
    assert tokenizer.encode("a").ids[0] == config["bos_token_id"]


def test_the_same_text_gives_the_same_tokenizer(folder: Path, data: Path, tmp_path: Path) -> None:
    assert run("make_tokenizer.py", "--data", data, "--out", tmp_path, hash_seed=5).returncode == 0
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def parameters(config: Row) -> int:
    width, head = config["hidden_size"], config["head_dim"]
    attention = 2 * width * head * (config["num_attention_heads"] + config["num_key_value_heads"])
    layer = attention + 3 * width * config["intermediate_size"] + 2 * width
    return config["vocab_size"] * width + config["num_hidden_layers"] * layer + width


def test_the_readme_states_the_size() -> None:
    count = parameters(json.loads((RECIPE / "config.json").read_text()))
    assert count * 2 <= 8_000_000
    assert f"{count:,}" in (RECIPE / "README.md").read_text()


@pytest.fixture(scope="module")
def reference(folder: Path) -> Any:
    transformers: ModuleType = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(folder)


def test_the_reference_reads_the_tokenizer_and_marks_the_answers(reference: Any) -> None:
    talk = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": " What is 12 + 7?\n"},
        {"role": "assistant", "content": " 19 "},
        {"role": "user", "content": "Thanks"},
        {"role": "assistant", "content": "You are welcome!"},
    ]
    out = reference.apply_chat_template(talk, return_dict=True, return_assistant_tokens_mask=True)
    pieces = zip(out["input_ids"], out["assistant_masks"], strict=True)
    marked = reference.decode([token for token, mark in pieces if mark])
    assert marked == " 19 <|end|>You are welcome!<|end|>"
    assert out["input_ids"][0] == reference.bos_token_id
    assert reference.decode(out["input_ids"]) == (
        "<|begin|><|system|>Be kind.<|user|>What is 12 + 7?<|assistant|> 19 <|end|>"
        "<|user|>Thanks<|assistant|>You are welcome!<|end|>"
    )
    ask = reference.apply_chat_template(talk[:2], tokenize=False, add_generation_prompt=True)
    assert ask == "<|begin|><|system|>Be kind.<|user|>What is 12 + 7?<|assistant|>"


@pytest.mark.parametrize("roles", [("tool",), ("user", "system"), ("user", "function")])
def test_the_template_refuses_what_it_does_not_know(reference: Any, roles: tuple[str, ...]) -> None:
    talk = [{"role": role, "content": "x"} for role in roles]
    with pytest.raises(Exception, match="one system message"):
        reference.apply_chat_template(talk, tokenize=False)


def test_every_row_fits_the_context(data: Path, reference: Any) -> None:
    longest = max(
        len(reference(reference.apply_chat_template(row["messages"], tokenize=False))["input_ids"])
        for row in rows(data / "chat.jsonl")
    )
    assert 100 < longest <= 512
