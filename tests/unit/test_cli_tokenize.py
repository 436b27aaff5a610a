"""`puna tokenize`: the forms it reads, and there and back again to the character."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import puna
from puna.cli.app import main
from puna.cli.tokenize import read_ids
from puna.errors import UsageError
from puna.loading import load_parts
from puna.package import export_gguf
from tests.unit.vocabularies import HARD, SEPARATOR, rank_file

Capture = pytest.CaptureFixture[str]


def run(capsys: Capture, *arguments: str) -> Any:
    main(["tokenize", *arguments, "--json"])
    return json.loads(capsys.readouterr().out)


def refused(capsys: Capture, *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(["tokenize", *arguments])
    assert caught.value.code == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.strip().splitlines()) <= 3
    return said.err


def piped(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_the_built_in_model(capsys: Capture) -> None:
    made = run(capsys, "cria", "A cria hums.")
    assert made["pieces"] == ["A", "Ġcria", "Ġhum", "s", "."]
    assert (made["tokens"], made["characters"], made["bytes"]) == (5, 12, 12)
    back = run(capsys, "cria", " ".join(map(str, made["ids"])), "--decode")
    assert back == made
    special = run(capsys, "cria", "A cria hums.", "--special")
    assert special["ids"] == [*made["special"]["before"], *made["ids"]]
    ids = json.dumps(special["ids"])
    assert run(capsys, "cria", ids, "--decode", "--special")["text"] == "A cria hums."
    assert run(capsys, "cria", ids, "--decode")["text"] == "<|begin|>A cria hums."


def test_special_tokens_are_read_unless_told_not_to(capsys: Capture) -> None:
    assert run(capsys, "cria", "a<|end|>")["pieces"][-1] == "<|end|>"
    plain = run(capsys, "cria", "a<|end|>", "--no-parse-special")
    assert "<|end|>" not in plain["pieces"]
    assert run(capsys, "cria", json.dumps(plain["ids"]), "--decode")["text"] == "a<|end|>"


@pytest.mark.parametrize(
    ("path", "pre"),
    [
        ("llama.cpp/ggml-vocab-gpt-2.gguf", ()),
        ("llama.cpp/ggml-vocab-phi-3.gguf", ()),
        ("mistral/mistral_instruct_tokenizer_240323.model.v3", ()),
        ("mistral-7b-instruct-v0.3/tokenizer.json", ()),
        ("llama3.2", ("--pre", "llama3")),
    ],
)
def test_every_form_there_and_back(
    path: str,
    pre: tuple[str, ...],
    shared: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = str(shared / "data" / "tokenizers" / path)
    # A space after a special token is put there by phi-3, and none of it is text.
    text = "x" + SEPARATOR.join(text for text in HARD[1:] if "</s>" not in text)
    piped(monkeypatch, text)
    made = run(capsys, place, "-", *pre)
    assert made["text"] == text
    assert len(made["ids"]) == len(made["pieces"]) == made["tokens"]
    piped(monkeypatch, ",".join(map(str, made["ids"])))
    assert run(capsys, place, "--decode", *pre) == made


def test_ranks_need_a_name(tmp_path: Path, capsys: Capture) -> None:
    from puna.text import byte_level

    path = tmp_path / "mine.tiktoken"
    path.write_bytes(rank_file({c: n for n, c in enumerate(sorted(byte_level.BYTE_OF))}))
    assert "--pre NAME" in refused(capsys, str(path), "a")
    assert run(capsys, str(path), "ab", "--pre", "qwen2")["pieces"] == ["a", "b"]
    assert "'qwen9' is not known" in refused(capsys, str(path), "a", "--pre", "qwen9")


def test_empty_text_is_text(capsys: Capture) -> None:
    assert run(capsys, "cria", "")["ids"] == []
    assert run(capsys, "cria", "", "--decode")["text"] == ""


def test_what_people_see(capsys: Capture) -> None:
    main(["tokenize", "cria", "a\tb \x1b[2J\n"])
    said = capsys.readouterr().out
    assert "a⇥b·\\x1b[2J⏎" in said
    assert "9 characters" in said
    main(["tokenize", "cria", "38 682", "--decode"])
    assert capsys.readouterr().out == "A cria"


def test_refusals(capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "there is no model 'nope'" in refused(capsys, "nope", "x")
    assert "holds no tokenizer" in refused(capsys, str(tmp_path), "x")
    assert "no id 99999" in refused(capsys, "cria", "99999", "--decode")
    assert "is no list of ids" in refused(capsys, "cria", "1;2", "--decode")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff")))
    assert "stdin is not UTF-8 (byte 0)" in refused(capsys, "cria")


@pytest.mark.parametrize("text", ["[1, true]", "[1.5]", "{}", "1 -2", "[[1]]", "x", "[" * 10_000])
def test_what_is_no_list_of_ids(text: str) -> None:
    with pytest.raises(UsageError, match="is no list of ids"):
        read_ids(text)
    assert read_ids(" 1, 2 3\n4 ") == [1, 2, 3, 4]


def test_a_real_process(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes("  Grüße\r\n".encode())
    made = subprocess.run(
        [sys.executable, "-m", "puna", "tokenize", "cria", "--json"],
        stdin=(tmp_path / "text").open("rb"),
        capture_output=True,
        check=True,
    )
    ids = json.loads(made.stdout)["ids"]
    back = subprocess.run(
        [sys.executable, "-m", "puna", "tokenize", "cria", "--decode"],
        input=json.dumps(ids).encode(),
        capture_output=True,
        check=True,
    )
    assert back.stdout == (tmp_path / "text").read_bytes()


def test_a_name_that_would_change_nothing_is_refused(capsys: Capture, tmp_path: Path) -> None:
    export_gguf(load_parts("cria", device="cpu"), tmp_path / "cria.gguf", "q8_0")
    assert "leave out --pre" in refused(capsys, "cria", "x", "--pre", "gpt-2")
    path = Path(puna.__file__).parent / "builtin" / "cria" / "tokenizer.json"
    assert "leave out --pre" in refused(capsys, str(path), "x", "--pre", "no such name")
    assert "is not known" in refused(capsys, str(tmp_path / "cria.gguf"), "x", "--pre", "nothing")
