"""Malformed task files: each is refused with its file, its line and a remedy, in three lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from puna.errors import DataError, SourceError
from puna.evaluate import read_task

FOLDER = Path(__file__).parent / "tasks"
FIRST_LINE = {"array", "blank", "empty", "pretty_printed", "utf16"}
WHY = {
    "answer_and_continuation": "exactly one way",
    "answer_and_pattern": "exactly one way",
    "answer_blank": "answer is empty",
    "answer_list": "answer must be text",
    "answer_null": "answer must be text",
    "answer_number": "answer must be text",
    "array": "not a JSON object",
    "assistant_and_answer": "the answer as well",
    "assistant_and_pattern": "the answer as well",
    "assistant_blank": "answer is empty",
    "assistant_calls_a_tool": "content must be text",
    "blank": "file is empty",
    "bom_inside": "not JSON",
    "choices_and_pattern": "choices need an answer",
    "choices_blank": "two or more different texts",
    "choices_none": "two or more different texts",
    "choices_numbers": "list of texts",
    "choices_object": "list of texts",
    "choices_one": "two or more different texts",
    "choices_text": "list of texts",
    "choices_twice": "two or more different texts",
    "choices_without_answer": "choices need an answer",
    "choices_without_the_answer": "none of the choices",
    "continuation_empty": "continuation is empty",
    "continuation_number": "continuation must be text",
    "control_character": "not JSON",
    "deep_array": "not plain JSON",
    "deep_message": "nests more than",
    "duplicate_key": "'answer' stands twice",
    "duplicate_key_inside": "'role' stands twice",
    "empty": "file is empty",
    "huge_integer": "not plain JSON",
    "lone_surrogate": "surrogate",
    "message_image": "only text parts",
    "message_number": "content must be text",
    "message_text": "must be an object",
    "message_unknown_role": "'asistant' is unknown",
    "message_without_content": "no content",
    "message_without_role": "no role",
    "messages_empty": "prompt is empty",
    "messages_object": "must be a list",
    "messages_only_assistant": "prompt is empty",
    "messages_text": "must be a list",
    "nan": "NaN is no number",
    "no_answer": "exactly one way",
    "no_answer_messages": "exactly one way",
    "no_prompt": "either messages or prompt",
    "not_json": "not JSON: Expecting value, column 27",
    "not_utf8": "not UTF-8",
    "null": "not a JSON object",
    "pattern_deep": "no regular expression",
    "pattern_in_two_ways": "nested set",
    "pattern_lookbehind": "fixed-width",
    "pattern_number": "pattern must be text",
    "pattern_open": "unterminated",
    "pattern_repeats_too_often": "too large",
    "pretty_printed": "not JSON",
    "prompt_and_messages": "either messages or prompt",
    "prompt_empty": "prompt is empty",
    "prompt_null": "prompt must be text",
    "prompt_number": "prompt must be text",
    "string": "not a JSON object",
    "tools": "tools cannot be scored",
    "two_objects": "not JSON: Extra data",
    "utf16": "not UTF-8",
}


def refused(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        read_task(path)
    error = caught.value
    assert error.remedy
    assert len(str(error).splitlines()) == 3
    assert max(map(len, str(error).splitlines())) < 600
    return error


def test_every_file_is_tried() -> None:
    assert {path.stem for path in FOLDER.glob("*")} == set(WHY)


@pytest.mark.parametrize("name", sorted(WHY))
def test_malformed_task_is_refused_with_its_place(name: str) -> None:
    path = FOLDER / f"{name}.jsonl"
    error = refused(path)
    assert WHY[name] in error.what
    place = f"{path}, line {1 if name in FIRST_LINE else 2}"
    assert error.where == place or (error.where or "").startswith(f"{place}, messages[0]")


def test_a_line_of_more_than_64_mib_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    with path.open("wb") as file:
        file.write(b'{"prompt": "p", "answer": "a"}\n')
        file.truncate(1 << 36)  # a hole: reading all of it would take very long
    error = refused(path)
    assert "longer than 64 MiB" in error.what
    assert error.where == f"{path}, line 2"


def test_what_is_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.jsonl"):
        with pytest.raises(SourceError) as caught:
            read_task(path)
        assert str(path) in str(caught.value)
