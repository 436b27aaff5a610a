"""Go templates: the language as Go's own package runs it, and conversations as Ollama shows them.

The expected texts in gotmpl_cases.json were written by Go 1.27's text/template and by the
template package of Ollama, given these templates and data.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from puna.errors import TemplateError
from puna.text import ChatTemplate, open_template
from puna.text.gotmpl import GoSyntaxError, functions
from puna.text.gotmpl.evaluator import Walk, Wrong
from puna.text.gotmpl.parser import parse
from puna.text.gotmpl.values import ordered
from puna.text.meter import Limits, Meter
from tests.unit.text_samples import Messages, assistant, system, user

CASES = json.loads((Path(__file__).parent / "gotmpl_cases.json").read_text("utf-8"))
OLLAMA = {case["name"]: case for case in CASES["ollama"]}


def run(source: str) -> str:
    tree = parse(source, functions.NAMES)
    context = functions.Context(Meter(Limits()), datetime(2024, 7, 26))
    return Walk(tree, context).run(tree.root, ordered(CASES["data"]))


@pytest.mark.parametrize(("source", "want"), CASES["language"])
def test_the_language(source: str, want: str) -> None:
    assert run(source) == want


@pytest.mark.parametrize("source", CASES["faulty"])
def test_what_go_refuses_is_refused(source: str) -> None:
    with pytest.raises((Wrong, GoSyntaxError)):
        run(source)


def made(source: str, **more: Any) -> ChatTemplate:
    return ChatTemplate(source, bos_token=None, eos_token=None, language="go", **more)


@pytest.mark.parametrize("name", OLLAMA)
def test_conversations_as_ollama_shows_them(name: str) -> None:
    case = OLLAMA[name]
    template = made(case["template"])
    assert case["text"] == template.render_text(
        case["messages"], tools=case["tools"], add_generation_prompt=True
    )


PUBLISHED: dict[str, Messages] = {
    "user": [user("Hello, how are you?")],
    "user-assistant-user": [
        user("Hello, how are you?"),
        assistant("I'm doing great. How can I help you today?"),
        user("I'd like to show off how chat templating works!"),
    ],
}
PUBLISHED["system-user-assistant-user"] = [
    system("You are a helpful assistant."),
    *PUBLISHED["user-assistant-user"],
]


def test_ollama_s_own_templates(shared: Path) -> None:
    folder = shared / "data" / "chat_templates" / "ollama" / "template"
    shown = 0
    for path in sorted(folder.glob("*.gotmpl")):
        for name, messages in PUBLISHED.items():
            want = (folder / "testdata" / path.name / name).read_text("utf-8")
            text = open_template(path).render_text(messages, add_generation_prompt=True)
            assert (path.name, text) == (path.name, want)
            shown += 1
    assert shown == 60


def test_arguments_as_text_and_the_other_words_of_openai() -> None:
    call = {"id": "c1", "function": {"name": "f", "arguments": '{"b": 1, "a": "<"}'}}
    talk = [
        user([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]),
        assistant(None, tool_calls=[call], reasoning_content="hm"),
        {"role": "tool", "tool_call_id": "c1", "content": "ok"},
        {"role": "developer", "content": "rule"},
    ]
    source = (
        "{{ range .Messages }}{{ .Role }}={{ .Content }};{{ .Thinking }};{{ .ToolName }};"
        "{{ range .ToolCalls }}{{ .Function.Arguments }}{{ end }}|{{ end }}{{ .System }}"
    )
    assert made(source).render_text(talk, add_generation_prompt=True) == (
        'user=one\n\ntwo;;;|assistant=;hm;;{"a":"\\u003c","b":1}|tool=ok;;f;|system=rule;;;|rule'
    )


def test_a_tool_prints_as_json_wherever_it_is_taken_from() -> None:
    source = "{{ range .Messages }}{{ end }}{{ range .Tools }}{{ .Function }}{{ end }}"
    tool = {"type": "function", "function": {"name": "f", "description": "d"}}
    assert made(source).render_text([user("x")], tools=[tool], add_generation_prompt=True) == (
        '{"name":"f","description":"d","parameters":{"type":"","properties":null}}'
    )


def test_thinking_and_the_clock() -> None:
    def shown(source: str, **options: Any) -> str:
        template = made("{{ range .Messages }}{{ end }}" + source, clock=lambda: now)
        return template.render_text([user("x")], options=options, add_generation_prompt=True)

    now = datetime(2024, 3, 1, 12)
    assert shown("{{ currentDate }} {{ yesterdayDate }}") == "2024-03-01 2024-02-29"
    flags = "{{ .Think }} {{ .ThinkLevel }} {{ .IsThinkSet }}"
    assert shown(flags) == "false  false"
    assert shown(flags, enable_thinking=False) == "false  true"
    assert shown(flags, think=True) == "true  true"
    assert shown(flags, reasoning_effort="high") == "true high true"
    with pytest.raises(TemplateError, match="no place for the option 'colour'"):
        shown(flags, colour="blue")


def test_without_the_generation_prompt_the_text_ends_with_the_last_message() -> None:
    chatml = (
        "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n"
        "{{ end }}<|im_start|>assistant\n"
    )
    talk = [user("a"), assistant("b")]
    want = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"
    assert made(chatml).render_text(talk) == want
    assert made(chatml).render_text(talk, add_generation_prompt=True) == (
        want + "<|im_start|>assistant\n"
    )
    older = "{{ .System }}[{{ .Prompt }}]{{ .Response }}</s>"
    assert made(older).render_text(talk) == "[a]b</s>"
    assert made(older).render_text(talk, add_generation_prompt=True) == "[a]b"
    with pytest.raises(TemplateError, match=r"no loop over \.Messages"):
        made("{{ (index .Messages 0).Content }}").render_text(talk)


def test_the_older_form_has_no_place_for_tools() -> None:
    older = made("{{ .Prompt }}{{ .Response }}")
    call = assistant("", tool_calls=[{"function": {"name": "f", "arguments": {}}}])
    result = {"role": "tool", "content": "x"}
    for talk, tools in (([user("x"), call], None), ([user("x"), result], None)):
        with pytest.raises(TemplateError, match="no place for tools"):
            older.render_text(talk, tools=tools)
    with pytest.raises(TemplateError, match="no place for tools"):
        older.render_text([user("x")], tools=[json.loads('{"type": "function"}')])
    with pytest.raises(TemplateError, match="no place for the role 'guest'"):
        older.render_text([{"role": "guest", "content": "x"}])


def test_errors_tell_the_line() -> None:
    for source, line in (("a\n{{ range }}", 2), ("a\n\n{{ .Prompt.x }}", 3)):
        with pytest.raises(TemplateError) as caught:
            made(source, name="my.gotmpl").render_text([user("x")], add_generation_prompt=True)
        assert caught.value.where == f"my.gotmpl, line {line}"
