"""Hostile Go templates and conversations meet the real renderer; each ends in a clean refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from puna.errors import PunaError, TemplateError, UsageError
from puna.text import ChatTemplate, Limits, format_names, load_template, open_template
from tests.attacks.checks import check_message

FOLDER = Path(__file__).parent / "gotmpl"
MESSAGES = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
TIGHT = Limits(steps=50_000)

TEMPLATES = {
    "steps: an endless loop?": "doubling_calls huge_range huge_range_printing nested_ranges",
    "it nests or calls itself more than 100 deep": "endless_calls endless_calls_of_itself",
    "it writes more than 16,000,000 characters": "huge_output",
    "it makes a value of more than 16,000,000 characters": """
        json_nested json_of_json text_doubling text_doubling_print""",
    "it makes more than 512,000,000 characters of values": "text_remade",
    "it nests more than 50 deep": "deep_blocks deep_blocks_10000 deep_brackets deep_else",
    "printf pads": "printf_precision printf_star printf_width printf_width_over",
    "is not known in chat templates": "call_function unknown_function",
    "there is no field": "python_attribute python_attribute_of_text",
    "only a function takes arguments": "method_of_message unknown_method",
    "is not defined": "undefined_template",
    "is not declared": "undefined_variable",
    "is not closed": "deep_brackets_10000 open_action",
    "does not end": "open_comment open_text",
    "has no {{end}}": "open_block",
    "without a block": "stray_end",
    "outside of {{range}}": "break_in_define break_outside",
    "must stand at the top": "define_inside",
    "cannot be compared": "compare_kinds",
    "is out of range": "index_negative index_out slice_out",
    "does not fit 64 bits": "huge_number",
    "is no character": "lone_surrogate",
    "range cannot walk a text": "range_text",
    "another number of arguments": "many_arguments",
}
REASON = {name: reason for reason, names in TEMPLATES.items() for name in names.split()}


def render(path: Path, limits: Limits | None = None) -> str:
    template = open_template(path, limits=limits)
    return template.render_text(MESSAGES, add_generation_prompt=True)


@pytest.mark.parametrize("name", sorted(REASON))
def test_hostile_template(name: str) -> None:
    path = FOLDER / f"{name}.gotmpl"
    tight = TIGHT if "steps" in REASON[name] else None
    with pytest.raises(TemplateError) as caught:
        render(path, tight)
    check_message(caught.value, REASON[name])
    assert str(path) in (caught.value.where or "")


def test_every_hostile_file_is_tried() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(REASON)


def made(source: str, **limits: Any) -> ChatTemplate:
    return ChatTemplate(
        source, bos_token=None, eos_token=None, language="go", limits=Limits(**limits)
    )


LOOP = "{{ range .Messages }}{{ .Content }}{{ end }}"


@pytest.mark.parametrize(
    ("limits", "source", "reason"),
    [
        ({"steps": 40}, LOOP + "{{ range 40 }}{{ end }}", "it takes more than 40 steps"),
        ({"output": 10}, LOOP + "{{ range 9 }}ab{{ end }}", "it writes more than 10 characters"),
        ({"size": 9}, LOOP + '{{ print "12345" "67890" }}', "a value of more than 9 characters"),
        (
            {"memory": 30},
            LOOP + '{{ range 4 }}{{ $x := print "12345" "67890" }}{{ end }}',
            "it makes more than 30 characters of values",
        ),
        ({"seconds": 0.0}, LOOP + "{{ range 99 }}{{ end }}", "it takes longer than 0 seconds"),
    ],
)
def test_each_limit(limits: dict[str, Any], source: str, reason: str) -> None:
    with pytest.raises(TemplateError, match="was stopped") as caught:
        made(source, **limits).render_text(MESSAGES, add_generation_prompt=True)
    check_message(caught.value, reason)
    assert (
        made(LOOP, **{**limits, "seconds": 9.0}).render_text(MESSAGES, add_generation_prompt=True)
        == "HelloHi"
    )


def test_a_template_that_is_too_long_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="longer than 100,000 characters"):
        made("x" * 100_001)
    (tmp_path / "chat_template.gotmpl").write_bytes(b"\xff\xfe{{ .Prompt }}")
    with pytest.raises(TemplateError, match="is not UTF-8"):
        load_template(tmp_path, None)


def deep(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


CALLS: list[Any] = ["x", {}, [3], [None], [{}], [{"function": 3}], [{"function": {"name": 3}}]]
WRONG: list[Any] = [
    "text",
    3,
    None,
    {"role": "user"},
    [3],
    [None],
    [{"content": "x"}],
    [{"role": 3, "content": "x"}],
    [{"role": "user"}],
    [{"role": "user", "content": 3}],
    [{"role": "user", "content": [{"type": "image"}]}],
    [{"role": "user", "content": ["x"]}],
    [{"role": "user", "content": "x", "more": deep(100)}],
    [{"role": "user", "content": "x", 3: "y"}],
    [{"role": "user", "content": "x", "more": object()}],
    *([{"role": "assistant", "content": "x", "tool_calls": calls}] for calls in CALLS),
]
SHOWN = {
    "go": made("{{ range .Messages }}{{ .Content }}{{ range .ToolCalls }}x{{ end }}{{ end }}"),
    "older": made("{{ .System }}{{ .Prompt }}{{ .Response }}"),
    "jinja": open_template("chatml"),
}


@pytest.mark.parametrize("kind", SHOWN)
@pytest.mark.parametrize("number", range(len(WRONG)))
def test_messages_of_the_wrong_shape(kind: str, number: int) -> None:
    with pytest.raises(UsageError) as caught:
        SHOWN[kind].mark(WRONG[number])
    check_message(caught.value, "")


@pytest.mark.parametrize("kind", SHOWN)
def test_tools_and_options_of_the_wrong_shape(kind: str) -> None:
    template = SHOWN[kind]
    for tools in ("x", {"type": "function"}, [3], [deep(100)]):
        with pytest.raises(UsageError):
            template.render_text(MESSAGES, tools=tools)  # type: ignore[arg-type]
    for options in ({"messages": []}, {"a b": 1}, {"_x": 1}, {"x": object()}, {"tools": []}):
        with pytest.raises(UsageError):
            template.render_text(MESSAGES, options=options)


@pytest.mark.parametrize("name", format_names())
def test_formats_refuse_what_they_have_no_place_for(name: str) -> None:
    """A wrong conversation ends in the tree of errors, whatever the format."""
    template = open_template(name)
    for messages in (
        [],
        [{"role": "assistant", "content": "x"}],
        [{"role": "user", "content": None}, {"role": "user", "content": ""}],
        [{"role": "tool", "content": "x"}],
        [{"role": "nobody", "content": "x"}],
        [{"role": "user", "content": "x"}, {"role": "system", "content": "x"}],
    ):
        try:
            template.mark(messages)
        except PunaError as error:
            check_message(error, "")
    with pytest.raises(TemplateError, match="no place for the role"):
        template.render_text([{"role": "nobody", "content": "x"}])
