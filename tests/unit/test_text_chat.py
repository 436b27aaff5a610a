"""Chat templates: found where they are published, and rendered as their references do."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from puna.errors import TemplateError, UsageError
from puna.text import load_template, open_template, open_tokenizer, save_template
from tests.unit.text_samples import (
    CHATML,
    ONE,
    SAME,
    SYSTEM,
    THINK,
    TOOL,
    TOOLS,
    TWO,
    Messages,
    assistant,
    byte_level,
    loaded,
    made,
    published_templates,
    user,
)

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2024, 7, 26, 12, 30)


# Conversation, tools, whether the assistant is asked to speak.
CASES: list[tuple[Messages, list[dict[str, Any]] | None, bool]] = [
    (ONE, None, True),
    (ONE, [TOOL], False),
    (TWO, None, False),
    (SYSTEM, None, True),
    (TOOLS, [TOOL], False),
    (TOOLS[:3], None, True),
    (THINK, None, True),
    (SAME, None, False),
    ([], None, False),
]


@pytest.fixture(scope="module")
def published(shared: Path) -> dict[str, str]:
    return published_templates(shared)


def test_published_templates_render_as_transformers_does(published: dict[str, str]) -> None:
    reference = pytest.importorskip("transformers.utils.chat_template_utils")
    rendered = 0
    for name, source in published.items():
        template = made(source, name=name)
        for messages, tools, ask in CASES:
            try:
                [want], _ = reference.render_jinja_template(
                    [messages],
                    tools=tools,
                    documents=None,
                    chat_template=source,
                    add_generation_prompt=ask,
                    bos_token="<s>",
                    eos_token="</s>",
                )
            except Exception:
                with pytest.raises(TemplateError) as caught:
                    template.render_text(messages, tools=tools, add_generation_prompt=ask)
                assert name in (caught.value.where or "")
                continue
            text = template.render_text(messages, tools=tools, add_generation_prompt=ask)
            # Mistral's `tojson | safe` escapes the text before it as HTML; that is no reference.
            assert (name, text) == (name, want.replace("&#34;", '"'))
            rendered += 1
    assert rendered > 300


MISTRAL = {
    1: "tokenizer.model.v1",
    2: "mistral_instruct_tokenizer_240216.model.v2",
    3: "mistral_instruct_tokenizer_240323.model.v3",
}
SAMPLES = [
    *((sample, version) for sample in ("no_tools",) for version in (1, 2, 3)),
    *((sample, version) for sample in ("several_calls", "parallel_calls") for version in (2, 3)),
    *(
        (f"get_weather_{sample}", version)
        for sample in ("full", "no_history", "no_system_prompt")
        for version in (2, 3)
    ),
]
# Results of tools that are JSON, or several in a row, are beyond the published Jinja templates;
# the formats by name have them.
BEYOND_JINJA = {("parallel_calls", 2), *((s, v) for s, v in SAMPLES if "weather" in s)}


@pytest.mark.parametrize(("sample", "version"), SAMPLES)
def test_mistral_s_published_ids(sample: str, version: int, shared: Path) -> None:
    folder = shared / "data" / "chat_templates" / "mistral-common"
    tokenizer = open_tokenizer(shared / "data" / "tokenizers" / "mistral" / MISTRAL[version])
    assert tokenizer is not None
    talk = json.loads((folder / "samples" / sample / "sample.json").read_text("utf-8"))
    case = folder / "samples" / sample
    want = json.loads((case / f"tokens_v{version}.json").read_text("utf-8"))["tokens"]
    text = (case / f"text_v{version}.txt").read_text("utf-8")
    published: list[str | Path] = [f"mistral-v{version}"]
    if (sample, version) not in BEYOND_JINJA:
        published.append(folder / "chat_templates" / f"v{version}_spm.jinja")
    for name in published:
        template = open_template(name, tokenizer=tokenizer)
        tools = talk["tools"] or None
        ids = template.render_ids(
            talk["messages"], tools=tools, add_generation_prompt=False, tokenizer=tokenizer
        )
        assert (str(name), ids) == (str(name), want)
        shown = template.render_text(talk["messages"], tools=tools)
        assert shown == text.replace("▁", " ").replace("<0x0A>", "\n")


def test_content_in_parts() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    talk = [user(parts), assistant([{"type": "text", "text": "three"}])]
    assert made(CHATML).render_text(talk).startswith("<|im_start|>user\none\ntwo<|im_end|>")
    looping = (
        "{% for m in messages %}{% for p in m.content %}({{ p.text }}){% endfor %}{% endfor %}"
    )
    assert made(looping).render_text(talk) == "(one)(two)(three)"


def test_what_a_template_may_use() -> None:
    def render(source: str, **more: Any) -> str:
        return made(source, clock=lambda: NOW).render_text([user("a<think>x</think>b")], **more)

    assert render("{{ strftime_now('%d %b %Y') }}") == "26 Jul 2024"
    assert render("{{ messages[0].content.split('</think>')[-1] }}") == "b"
    assert render("{{ 'a b\nc'.split() }}{{ 'a\nb'.splitlines() }}") == "['a', 'b', 'c']['a', 'b']"
    assert render("{{ tools | tojson }}", tools=[{"a": "<é>"}]) == '[{"a": "<é>"}]'
    assert render("{{ {'a': [1]} | tojson(indent=2) }}") == '{\n  "a": [\n    1\n  ]\n}'
    assert render("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}")
    assert render("  {% if true %}\nx\n  {% endif %}\ny") == "x\ny"
    assert render("{{ 'abc' | list | join('-') }}{{ 'hello you' | title }}") == "a-b-cHello You"
    assert render("{% macro m() %}{{ varargs }}{% endmacro %}{{ m(*'ab') }}") == "('a', 'b')"
    assert render("{{ bos_token }}{{ eos_token }}{{ unk_token is defined }}") == "<s></s>False"


def write(folder: Path, name: str, value: Any) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))


def test_where_a_template_is_found(tmp_path: Path) -> None:
    def shown(**more: Any) -> str:
        template = load_template(tmp_path, None)
        assert template is not None
        return template.render_text([user("hi")], **more)

    named = [
        {"name": "default", "template": "d{{ bos_token }}"},
        {"name": "tool_use", "template": "t"},
    ]
    config = {"chat_template": named, "bos_token": {"content": "<b>"}, "unk_token": "<u>"}
    write(tmp_path, "tokenizer_config.json", config)
    assert (shown(), shown(tools=[TOOL]), shown(tools=[])) == ("d<b>", "t", "d<b>")
    write(tmp_path, "chat_template.json", {"chat_template": "json{{ unk_token }}"})
    assert (shown(), shown(tools=[TOOL])) == ("json<u>", "json<u>")
    write(tmp_path, "chat_template.jinja", "jinja{{ eos_token is defined }}")
    assert shown() == "jinjaFalse"
    write(tmp_path, "additional_chat_templates/tool_use.jinja", "more")
    assert (shown(), shown(tools=[TOOL])) == ("jinjaFalse", "more")
    template = load_template(tmp_path, None)
    assert template is not None
    copies = save_template(template, tmp_path / "copy")
    assert [copy.read_text() for copy in copies] == ["jinja{{ eos_token is defined }}", "more"]
    again = load_template(tmp_path / "copy", None)
    assert again is not None
    assert again.render_text([user("hi")], tools=[TOOL]) == "more"


def test_special_tokens_come_from_the_tokenizer_where_no_file_names_them(
    tmp_path: Path,
) -> None:
    byte_level(tmp_path, ["<s>", "</s>"])
    write(tmp_path, "tokenizer_config.json", {"bos_token": "<s>", "eos_token": None})
    write(tmp_path, "chat_template.jinja", "{{ bos_token }}{{ eos_token is defined }}")
    template = load_template(tmp_path, loaded(tmp_path))
    assert template is not None
    assert template.render_text([user("x")]) == "<s>False"


@pytest.mark.parametrize(
    ("messages", "where"),
    [
        ("hello", None),
        ([user("x"), "y"], "messages[1]"),
        ([{"content": "x"}], "messages[0]"),
        ([{"role": "user"}], "messages[0]"),
        ([user(3)], "messages[0]"),
        ([user([{"type": "image_url"}])], "messages[0].content[0]"),
        ([user([{"type": "text"}])], "messages[0].content[0]"),
        ([user("x") | {"extra": object()}], "messages[0].extra"),
        ([user("x") | {"extra": {1: 2}}], "messages[0].extra"),
    ],
)
def test_messages_that_are_none(messages: Any, where: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        made(CHATML).render_text(messages)
    assert caught.value.where == where
