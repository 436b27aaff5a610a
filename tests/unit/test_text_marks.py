"""Every published template: what the assistant says is marked to the letter, or refused by name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from puna.errors import TemplateError
from puna.text import ChatTemplate, format_names, open_template
from tests.unit.text_samples import Messages, assistant, made, system, user

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "The city"}},
            "required": ["city"],
        },
    },
}


def call(city: str, number: str = "abcdefghi") -> dict[str, object]:
    function = {"name": "get_weather", "arguments": {"city": city}}
    return {"id": number, "type": "function", "function": function}


def result(text: str, number: str = "abcdefghi") -> dict[str, object]:
    return {"role": "tool", "name": "get_weather", "tool_call_id": number, "content": text}


TALKS: dict[str, Messages] = {
    "two": [user("Hello?"), assistant("Hi there."), user("Who?"), assistant("Me.")],
    "system": [system("Be kind."), user("Hello?"), assistant("Hi there."), user("Who?")],
    "thinking": [
        user("Hello?"),
        assistant("Hi there.", reasoning_content="Let me think."),
        user("Who?"),
        assistant("Me.", reasoning_content="Me again."),
    ],
    "in a row": [user("a"), assistant("One."), assistant("Two."), user("b"), assistant("Three.")],
    "call": [
        user("Weather in Oslo?"),
        assistant("", tool_calls=[call("Oslo")]),
        result("sunny"),
        assistant("It is sunny."),
    ],
    "calls": [
        system("Be kind."),
        user("Weather in Oslo and Rome?"),
        assistant("", tool_calls=[call("Oslo"), call("Rome", "abcdefghj")]),
        result("sunny"),
        result("rainy", "abcdefghj"),
        assistant("Sunny and rainy."),
        user("Thanks"),
        assistant("Welcome."),
    ],
}
# What may end a turn, and what a template writes before the words: a space, reasoning, a channel.
ENDS = (
    r"(?:<\|im_end\|>|<\|eot_id\|>|<\|end\|>|<\|return\|>|<\|call\|>|</s>|<end_of_turn>"
    r"|<end_message>|<\|end_of_turn\|>|<\|endoftext\|>|<\|END_OF_TURN_TOKEN\|>| </s>"
    r"|\n<\|EOT\|>|\n{1,2}|)"
)
CHANNEL = r"<\|channel\|>analysis<\|message\|>Me again\.<\|end\|><\|start\|>assistant"
LEADS = (
    rf"(?: |<think>.*?</think>\n*|\[THINK\].*?\[/THINK\]"
    rf"|(?:{CHANNEL}|)<\|channel\|>final<\|message\|>|)"
)
CALL = re.compile(
    r"(?: to=functions\.|<tool_call>\n|\[TOOL_CALLS\] ?|\{\"name\": \"|\[\{).*"
    r"(?:</tool_call><\|im_end\|>|\}\]?</s>|\}<\|call\|>|\}<\|eot_id\|>)",
    re.DOTALL,
)
# Templates whose generation prompt is not what stands before an answer in the history.
OTHER_PROMPT = {
    "codellama-70b-instruct",
    "codellama-70b-instruct #13",
    "command-r",
    "gemma3-instruct",
}
# The second of two answers in a row gets a header of its own that no token sets apart.
NO_BORDER = {"chatqa #32"}
# Templates that write tool calls; the others show none.
CALLS = re.compile(r"NousResearch|Qwen|Llama-3|Nemo|gpt-oss|^v\d|^llama3-instruct #24$")
# gpt-oss writes the first of several calls only, and Mistral's second format no earlier ones.
NOT_ALL_CALLS = {"openai-gpt-oss-120b", "v2", "v2_spm"}
# Formats with turns that no token ends.
NO_TOKEN_ENDS = {
    "dolly",
    "falcon",
    "falcon-chat",
    "falcon-instruct",
    "guanaco",
    "phi-2",
    "redpajama",
    "stablelm",
}
# How many templates are marked and how many refused, for each conversation.
COUNTS = {
    "two": (90, 4),
    "system": (84, 4),
    "thinking": (90, 4),
    "in a row": (80, 4),
    "call": (34, 49),
    "calls": (28, 50),
}


def sources(shared: Path) -> Iterator[tuple[str, ChatTemplate]]:
    folder = shared / "data" / "chat_templates"
    paths = [
        *folder.glob("llama.cpp/*.jinja"),
        *folder.glob("mistral-common/chat_templates/*.jinja"),
    ]
    for path in sorted(paths):
        yield path.stem, made(path.read_text("utf-8"))
    for path in sorted((folder / "ollama" / "template").glob("*.gotmpl")):
        yield path.stem, open_template(path)
    index = json.loads((folder / "ollama" / "template" / "index.json").read_text("utf-8"))
    for number, entry in enumerate(index):
        yield f"{entry['name']} #{number}", made(entry["template"])


@pytest.fixture(scope="module")
def published(shared: Path) -> list[tuple[str, ChatTemplate]]:
    return list(sources(shared))


def renders(template: ChatTemplate, talk: Messages) -> bool:
    try:
        template.render_text(talk, tools=tools_of(talk))
    except TemplateError:
        return False
    return True


def tools_of(talk: Messages) -> list[dict[str, object]] | None:
    return [TOOL] if any(message.get("tool_calls") for message in talk) else None


def check(name: str, talk: Messages, said: list[str]) -> None:
    """Each turn is its content and the end of the turn, and nothing of anybody else's."""
    spoken = [message for message in talk if message["role"] == "assistant"]
    contents = [message["content"] for message in spoken]
    if len(said) < len(spoken):  # two in a row that the template makes one
        contents = ["\n\n".join(contents[:2]), *contents[2:]]
        spoken = spoken[1:]
    assert len(said) == len(spoken), (name, said)
    for message, content, turn in zip(spoken, contents, said, strict=True):
        if message.get("tool_calls"):
            cities = [c["function"]["arguments"]["city"] for c in message["tool_calls"]]
            assert CALL.fullmatch(turn), (name, turn)
            assert all(turn.count(f'"city": "{city}"') == 1 for city in cities), (name, turn)
        else:
            exact = re.compile(LEADS + re.escape(content) + ENDS, re.DOTALL)
            assert exact.fullmatch(turn), (name, turn)


def expected_refusal(name: str, talk: str) -> bool:
    if name in OTHER_PROMPT or (talk == "in a row" and name in NO_BORDER):
        return True
    if talk in {"call", "calls"} and not CALLS.search(name):
        return True
    return talk == "calls" and name in NOT_ALL_CALLS


@pytest.mark.parametrize("talk", TALKS)
def test_marked_to_the_letter_or_refused(
    talk: str, published: list[tuple[str, ChatTemplate]]
) -> None:
    marked = refused = 0
    for name, template in published:
        messages = TALKS[talk]
        if not renders(template, messages):
            continue
        try:
            text, spans = template.mark(messages, tools=tools_of(messages))
        except TemplateError as error:
            assert expected_refusal(name, talk), (name, error.what)
            assert "cannot be marked: " in error.what
            assert "messages[" in error.what
            refused += 1
            continue
        said = [text[start:end] for start, end in spans]
        assert not expected_refusal(name, talk), (name, said)
        check(name, messages, said)
        marked += 1
    assert (talk, marked, refused) == (talk, *COUNTS[talk])


@pytest.mark.parametrize("name", sorted(set(format_names()) - NO_TOKEN_ENDS))
def test_marks_found_by_rendering_are_those_of_the_blocks(name: str) -> None:
    blocks = open_template(name)
    source = blocks.source.replace("generation %}", "if true %}").replace("endif true", "endif")
    assert "{%- if true %}" in source
    plain = made(source)
    for talk in ("two", "system", "in a row", "call", "calls"):
        messages = TALKS[talk]
        if not renders(blocks, messages) or (talk == "calls" and name == "mistral-v2"):
            continue
        tools = tools_of(messages)
        want_text, want = made(blocks.source).mark(messages, tools=tools)
        text, spans = plain.mark(messages, tools=tools)
        assert text == want_text
        if talk == "in a row" and name.startswith("mistral"):
            assert len(spans) == 2
        assert [text[a:b].rstrip() for a, b in spans] == [text[a:b].rstrip() for a, b in want]


OPENS = (
    "{% set last = messages | selectattr('role', 'equalto', 'user') | list | last %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and m.reasoning_content and loop.nextitem is not defined %}"
    "<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


def test_a_prompt_that_opens_a_block_of_reasoning() -> None:
    """Without reasoning in the history it is marked there, and refused in the last turn."""
    template = made(OPENS)
    talk = TALKS["thinking"]
    text, spans = template.mark(talk)
    assert [text[start:end] for start, end in spans] == [
        "Hi there.<|im_end|>",
        "Me again.\n</think>\n\nMe.<|im_end|>",
    ]
    with pytest.raises(TemplateError, match=r"opens a block of reasoning that it does not have"):
        template.mark(TALKS["two"])


@pytest.mark.parametrize("name", ["reasoning_content", "thinking", "reasoning"])
def test_reasoning_under_any_of_its_names(name: str) -> None:
    source = "{{ messages[0].reasoning_content }}{{ messages[0].thinking }}"
    talk = [assistant("x", **{name: "hm"})]
    assert made(source).render_text(talk) == "hmhm"
    both = [assistant("x", reasoning_content="a", thinking="b")]
    assert made(source).render_text(both) == "ab"
