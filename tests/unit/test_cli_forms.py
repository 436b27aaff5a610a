"""The flags that say what an answer looks like."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from puna.cli.chat import chat_command
from puna.cli.forms import Form
from puna.errors import UsageError
from puna.generate.options import Options

SCHEMA = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "additionalProperties": False}


def puna(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "puna", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_files_and_texts_become_options(tmp_path: Path) -> None:
    schema, grammar = tmp_path / "schema.json", tmp_path / "sum.lark"
    schema.write_text(json.dumps(SCHEMA))
    grammar.write_text('start: "é"')
    assert Options(**Form(schema=schema).fields()) == Options(schema=json.dumps(SCHEMA))
    assert Options(**Form(grammar=grammar).fields()) == Options(grammar='start: "é"')
    assert Options(**Form(choice=("a", "b")).fields()) == Options(choice=("a", "b"))
    assert Options(**Form(regex="a*").fields()) == Options(regex="a*")
    assert Options(**Form().fields()) == Options()


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    odd, large = tmp_path / "odd.json", tmp_path / "large.json"
    odd.write_bytes(b"\xff\xfe\x00")
    large.write_bytes(b" " * (5 << 20))
    for path, says in ((odd, "UTF-8"), (large, "larger"), (tmp_path / "none", "cannot be read")):
        with pytest.raises(UsageError, match=says) as error:
            Form(schema=path).fields()
        assert error.value.where == str(path)
    with pytest.raises(UsageError, match="cannot be read"):
        Form(grammar=tmp_path).fields()


def test_generate_and_chat_keep_to_a_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(SCHEMA))
    done = puna("generate", "--prompt", "The", "--schema", str(schema), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(json.loads(done.stdout)["text"]) in ({}, {"a": 1}, {"a": 2})
    chat_command(message="Hello", form=Form(regex="-[ab]{3}"))
    assert re.fullmatch("-[ab]{3}\n", capsys.readouterr().out)


def test_a_form_that_is_no_good_is_an_error_in_words() -> None:
    done = puna("generate", "--prompt", "The", "--regex", "-(", "--choice", "a")
    assert done.returncode == 1
    assert "give one of regex and choice" in done.stderr
    assert "Traceback" not in done.stderr
