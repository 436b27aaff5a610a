"""`puna render` as a user runs it, and templates chosen by name on the other commands."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from puna.text import load_template
from tests.unit.test_cli import error, run
from tests.unit.text_samples import TOOL, sentencepiece_bytes

TALK = [{"role": "user", "content": "Hello!"}, {"role": "assistant", "content": "Hi [b]you[/b]"}]
CHATML = "<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\nHi [b]you[/b]<|im_end|>\n"
GO = "{{ range .Messages }}<|{{ .Role }}|>{{ .Content }}<|end|>{{ end }}<|assistant|>"


@pytest.fixture
def talk(tmp_path: Path) -> str:
    path = tmp_path / "talk.json"
    path.write_text(json.dumps(TALK))
    return str(path)


def facts(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(run(capsys, "render", *argv, "--json"))
    assert list(value) == ["text", "ids", "assistant", "spans", "reason"]
    return value


def test_a_format_without_a_tokenizer(capsys: pytest.CaptureFixture[str], talk: str) -> None:
    shown = facts(capsys, "chatml", talk)
    assert shown["text"] == CHATML
    assert (shown["ids"], shown["assistant"], shown["reason"]) == (None, None, None)
    [[start, end]] = shown["spans"]
    assert CHATML[start:end] == "Hi [b]you[/b]<|im_end|>"


def test_a_model_gives_ids_and_which_are_the_assistant_s(
    capsys: pytest.CaptureFixture[str], talk: str
) -> None:
    import puna

    shown = facts(capsys, "cria", talk)
    tokenizer = puna.load("cria").tokenizer
    assert tokenizer is not None
    assert shown["ids"] == tokenizer.encode(shown["text"], add_special=False)
    assert len(shown["assistant"]) == len(shown["ids"])
    marked = [i for i, said in zip(shown["ids"], shown["assistant"], strict=True) if said]
    assert tokenizer.decode(marked, skip_special=False) == "Hi [b]you[/b].<|end|>".replace(".", "")
    named = facts(capsys, "cria", talk, "--template", "chatml")
    assert named["text"] == CHATML


def test_a_tokenizer_file_for_a_template(
    capsys: pytest.CaptureFixture[str], talk: str, tmp_path: Path
) -> None:
    model = tmp_path / "some.model"
    model.write_bytes(sentencepiece_bytes())
    shown = facts(capsys, "vicuna", talk, "--tokenizer", str(model))
    assert shown["text"].startswith("<s>A chat between")
    assert shown["ids"][0] == 1
    assert shown["ids"][-1] == 2
    assert shown["assistant"][-1] is True


def test_standard_input_tools_options_and_the_clock(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = tmp_path / "own.jinja"
    template.write_text(
        "{{ tools | length if tools else 0 }}{{ color }}{{ count + 1 }}"
        "{{ strftime_now('%Y') }}{{ '?' if add_generation_prompt }}"
    )

    def shown(value: Any, *argv: str) -> str:
        data = io.BytesIO(json.dumps(value).encode())
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(data))
        options = ("--set", "color=blue", "--set", "count=1", "--now", "2024-07-26")
        return str(facts(capsys, str(template), "-", *options, *argv)["text"])

    user = TALK[:1]
    assert shown(user) == "0blue22024?"
    assert shown(TALK) == "0blue22024"
    assert shown(user, "--no-add-generation-prompt") == "0blue22024"
    assert shown({"messages": user, "tools": [TOOL]}) == "1blue22024?"
    (tmp_path / "tools.json").write_text(json.dumps([TOOL, TOOL]))
    assert shown({"messages": user}, "--tools", str(tmp_path / "tools.json")) == "2blue22024?"


def test_go_templates_and_what_cannot_be_marked(
    capsys: pytest.CaptureFixture[str], talk: str, tmp_path: Path
) -> None:
    path = tmp_path / "own.gotmpl"
    path.write_text(GO)
    shown = facts(capsys, str(path), talk)
    assert shown["text"] == "<|user|>Hello!<|end|><|assistant|>Hi [b]you[/b]<|end|>"
    [[start, end]] = shown["spans"]
    assert shown["text"][start:end] == "Hi [b]you[/b]<|end|>"
    path.write_text(GO.replace("<|assistant|>", "other prompt"))
    shown = facts(capsys, str(path), talk)
    assert shown["spans"] is None
    assert "cannot be marked" in shown["reason"]
    assert shown["text"].endswith("Hi [b]you[/b]<|end|>")


def test_for_people_the_text_is_itself(capsys: pytest.CaptureFixture[str], talk: str) -> None:
    assert run(capsys, "render", "chatml", talk) == CHATML + "\n"


def test_errors_are_three_lines(
    capsys: pytest.CaptureFixture[str], talk: str, tmp_path: Path
) -> None:
    said = error(capsys, "render", "vicunia", talk)
    assert "no format and no file 'vicunia'" in said
    assert "vicuna" in said
    assert "cannot read the messages" in error(capsys, "render", "vicuna", str(tmp_path / "no"))
    (tmp_path / "bad.json").write_text("{")
    assert "are not JSON" in error(capsys, "render", "vicuna", str(tmp_path / "bad.json"))
    (tmp_path / "three.json").write_text("3")
    assert "messages must be a list" in error(
        capsys, "render", "vicuna", str(tmp_path / "three.json")
    )
    assert "no chat template" in error(capsys, "render", str(tmp_path), talk)
    assert "no tokenizer" in error(capsys, "render", "vicuna", talk, "--tokenizer", str(tmp_path))
    assert "KEY=VALUE" in error(capsys, "render", "vicuna", talk, "--set", "x")
    assert "cannot be set" in error(capsys, "render", "vicuna", talk, "--set", "messages=[]")


def test_a_tuned_adapter_keeps_the_template_it_was_tuned_with(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import puna

    (tmp_path / "data.jsonl").write_text(json.dumps({"messages": TALK}) + "\n")
    run(
        capsys,
        *("tune", "cria", str(tmp_path / "data.jsonl"), "--out", str(tmp_path / "run")),
        *("--epochs", "1", "--template", "vicuna", "--json"),
    )
    adapter = tmp_path / "run" / "adapter"
    saved = load_template(adapter, None)
    assert saved is not None
    assert saved.stops == ("USER:",)
    lm = puna.load("cria", adapter=adapter)
    assert lm.turn_stops() == ("USER:",)
    lm.save(tmp_path / "merged")
    assert puna.load(tmp_path / "merged").turn_stops() == ("USER:",)
    said = json.loads(
        run(
            capsys, "chat", "--template", "vicuna", "--message", "Hi", "--max-tokens", "3", "--json"
        )
    )
    assert said["prompt_tokens"] > 40
