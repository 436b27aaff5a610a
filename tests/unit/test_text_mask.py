"""The loss mask: exactly what the assistant says, or an error that tells the way out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from puna.errors import TemplateError
from puna.text import Rendered, Tokenizer
from tests.unit.text_samples import (
    CHATML,
    SPECIALS,
    SYSTEM,
    THINK,
    TOOLS,
    TWO,
    Messages,
    assistant,
    byte_level,
    made,
    published_templates,
    system,
    user,
)

NOW = datetime(2024, 7, 26, 12, 30)
ROOT = Path(__file__).resolve().parents[2]
MARKED = (
    "{% for message in messages %}{% if message.role == 'assistant' %}"
    "<|im_start|>assistant\n{% generation %}{{ message.content | trim }}<|im_end|>"
    "{% endgeneration %}\n{% else %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def published(shared: Path) -> dict[str, str]:
    return published_templates(shared)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return byte_level(tmp_path_factory.mktemp("chat"), SPECIALS)


def said(rendered: Rendered, tokenizer: Tokenizer) -> list[str]:
    """The marked runs of a conversation, as text."""
    runs: list[list[int]] = []
    last = False
    for token, mark in zip(rendered.ids, rendered.loss_mask, strict=True):
        if mark and not last:
            runs.append([])
        if mark:
            runs[-1].append(token)
        last = mark
    return [tokenizer.decode(run, skip_special=False) for run in runs]


def marks(source: str, messages: Messages, tokenizer: Tokenizer, *, tools: Any = None) -> list[str]:
    return said(made(source).render(messages, tools=tools, tokenizer=tokenizer), tokenizer)


# What the model must learn to say, for conversation TWO and then for SYSTEM (None: refused).
ANSWERS: Mapping[str, tuple[list[str] | None, list[str] | None]] = {
    "Qwen-Qwen2.5-7B-Instruct": (
        ['Hey & "you"<|im_end|>', "bye<|im_end|>"],
        ["Hey<|im_end|>", "bye <|im_end|>"],
    ),
    "Qwen-Qwen3-0.6B": (
        ['Hey & "you"<|im_end|>', "<think>\n\n</think>\n\nbye<|im_end|>"],
        ["Hey<|im_end|>", "<think>\n\n</think>\n\nbye <|im_end|>"],
    ),
    "HuggingFaceTB-SmolLM3-3B": (
        ['Hey & "you"<|im_end|>', "bye<|im_end|>"],
        ["Hey<|im_end|>", "bye <|im_end|>"],
    ),
    "google-gemma-2-2b-it": (['Hey & "you"<end_of_turn>', "bye<end_of_turn>"], None),
    "meta-llama-Llama-3.1-8B-Instruct": (
        ['Hey & "you"<|eot_id|>', "bye<|eot_id|>"],
        ["Hey<|eot_id|>", "bye<|eot_id|>"],
    ),
    "microsoft-Phi-3.5-mini-instruct": (
        ['Hey & "you"<|end|>', "bye<|end|>"],
        ["Hey<|end|>", "bye <|end|>"],
    ),
    "v1": (['Hey & "you"</s>', "bye</s>"], ["Hey</s>", "bye </s>"]),
    # The system text stands before the last user message, so no earlier turn has its prefix.
    "v3": (['Hey & "you"</s>', "bye</s>"], ["Hey</s>", "bye </s>"]),
    "v3_spm": ([' Hey & "you"</s>', " bye</s>"], [" Hey</s>", " bye </s>"]),
    "v15": (['Hey & "you"</s>', "bye</s>"], ["Hey</s>", "bye </s>"]),
    # The model opens a channel itself, and a turn ends in another token once others follow.
    "openai-gpt-oss-120b": (
        [
            '<|channel|>final<|message|>Hey & "you"<|end|>',
            "<|channel|>final<|message|>bye<|return|>",
        ],
        [
            "<|channel|>final<|message|>Hey<|end|>",
            "<|channel|>final<|message|>bye <|return|>",
        ],
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_mask_by_comparing_prefixes(
    name: str, published: dict[str, str], tokenizer: Tokenizer
) -> None:
    for messages, want in zip((TWO, SYSTEM), ANSWERS[name], strict=True):
        if want is None:
            with pytest.raises(TemplateError):
                marks(published[name], messages, tokenizer)
        else:
            assert marks(published[name], messages, tokenizer) == want


def test_published_templates_never_mark_what_others_say(
    published: dict[str, str], tokenizer: Tokenizer
) -> None:
    """Whatever the template: the assistant's words are marked, the user's are not."""
    talk = [user("QUESTION"), assistant("ANSWER"), user("SECOND"), assistant("REPLY")]
    marked = 0
    for name, source in published.items():
        try:
            runs = marks(source, talk, tokenizer)
        except TemplateError:
            continue
        marked += 1
        assert [("ANSWER" in run, "REPLY" in run) for run in runs] == [(True, False), (False, True)]
        assert not any("QUESTION" in run or "SECOND" in run for run in runs), name
    assert marked > 40


def test_prompt_plus_marked_is_the_whole(published: dict[str, str], tokenizer: Tokenizer) -> None:
    """What is trained after a prompt is what follows the very prompt that serving renders."""
    for name in ("Qwen-Qwen2.5-7B-Instruct", "meta-llama-Llama-3.1-8B-Instruct", "v3"):
        template = made(published[name])
        prompt = template.render_ids(TWO[:3], tokenizer=tokenizer)
        whole = template.render(TWO, tokenizer=tokenizer)
        assert list(whole.ids[: len(prompt)]) == prompt
        assert whole.loss_mask[len(prompt)]
        assert not whole.loss_mask[len(prompt) - 1]


def test_tool_calls_are_marked(published: dict[str, str], tokenizer: Tokenizer) -> None:
    want = {
        "Qwen-Qwen2.5-7B-Instruct": '<tool_call>\n{"name": "get_weather", "arguments": '
        '{"city": "a"}}\n</tool_call><|im_end|>',
        "meta-llama-Llama-3.1-8B-Instruct": '{"name": "get_weather", "parameters": {"city": "a"}}'
        "<|eot_id|>",
        "mistralai-Mistral-Nemo-Instruct-2407": '[TOOL_CALLS][{"name": "get_weather", "arguments": '
        '{"city": "a"}, "id": "abcdefghi"}]</s>',
        "v15": '[TOOL_CALLS]get_weather[ARGS]{"city": "a"}</s>',
    }
    for name, call in want.items():
        runs = marks(published[name], TOOLS, tokenizer)
        assert runs[0] == call
        assert runs[1].startswith("3 degrees<") or runs[1] == "3 degrees</s>"


def test_tool_calls_that_a_template_drops_are_no_example(tokenizer: Tokenizer) -> None:
    with pytest.raises(TemplateError, match=r"tool calls of messages\[1\] are not found"):
        marks(CHATML, TOOLS, tokenizer)


def test_mask_of_generation_blocks(tokenizer: Tokenizer) -> None:
    reference = pytest.importorskip("transformers.utils.chat_template_utils")
    for messages in (TWO, SYSTEM, THINK, [user("x"), assistant("  \n")]):
        rendered = made(MARKED).render(messages, tokenizer=tokenizer)
        [text], [places] = reference.render_jinja_template(
            [messages], chat_template=MARKED, return_assistant_tokens_mask=True
        )
        assert rendered.text == text
        want = [text[start:end] for start, end in places]
        assert said(rendered, tokenizer) == want
    assert marks(MARKED, TWO, tokenizer) == ['Hey & "you"<|im_end|>', "bye<|im_end|>"]


def test_cria_s_own_template(tmp_path: Path) -> None:
    tokenizer = byte_level(tmp_path, SPECIALS)
    source = (ROOT / "recipes" / "cria" / "chat_template.jinja").read_text("utf-8")
    rendered = made(source).render(TWO, tokenizer=tokenizer)
    assert rendered.text == (
        '<s><|user|>Hi <b><|assistant|>Hey & "you"</s><|user|>what\'s up?<|assistant|>bye</s>'
    )
    assert said(rendered, tokenizer) == ['Hey & "you"</s>', "bye</s>"]
    prompt = made(source).render_text(TWO[:1], add_generation_prompt=True)
    assert prompt == "<s><|user|>Hi <b><|assistant|>"
    with pytest.raises(TemplateError, match="cria takes one system message"):
        made(source).render_text([user("x"), system("late")])


def test_mask_covers_whole_tokens_and_special_text_in_content(tokenizer: Tokenizer) -> None:
    talk = [user("Hi"), assistant("a</s>b<|im_end|>c"), user("x"), assistant("é😀")]
    assert marks(CHATML, talk, tokenizer) == ["a</s>b<|im_end|>c<|im_end|>", "é😀<|im_end|>"]
    rendered = made(CHATML).render(talk, tokenizer=tokenizer)
    assert len(rendered.ids) == len(rendered.loss_mask)
    assert list(rendered.ids) == tokenizer.encode(rendered.text, add_special=False)
    assert sum(rendered.loss_mask) == len("abc") + 3 + len("é😀".encode()) + 1


def test_a_turn_without_words(tokenizer: Tokenizer) -> None:
    talk = [user("Hi"), assistant(""), user("x"), assistant("ok")]
    assert marks(CHATML, talk, tokenizer) == ["<|im_end|>", "ok<|im_end|>"]
    # A header of its own is no end: the turn goes on after its first special token.
    headed = CHATML.replace("{{ message.content }}", "<|channel|>final{{ message.content }}")
    assert marks(headed, talk[:2], tokenizer) == ["<|channel|>final<|im_end|>"]


def test_content_in_parts_is_marked(tokenizer: Tokenizer) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert marks(CHATML, [user("x"), assistant(parts)], tokenizer) == ["one\ntwo<|im_end|>"]


def test_nobody_speaks_nothing_is_marked(tokenizer: Tokenizer) -> None:
    rendered = made("{{ messages[0].content }}").render([user("abc")], tokenizer=tokenizer)
    assert rendered == Rendered("abc", tuple(tokenizer.encode("abc")), (False,) * 3, ())


UNMARKABLE = {
    "before it is rewritten": (
        "{% for m in messages %}{{ m.role[0] }}{{ messages | length }}:{{ m.content }}</s>"
        "{% endfor %}",
        r"what comes before messages\[1\] is written in another way",
    ),
    "content is changed": (
        "{% for m in messages %}{{ m.content | upper }}</s>{% endfor %}",
        r"the content of messages\[1\] is not found",
    ),
    "content is dropped": (
        "{% for m in messages if m.role == 'user' %}{{ m.content }}</s>{% endfor %}",
        r"the content of messages\[1\] is not found",
    ),
    "end depends on what follows": (
        "{% for m in messages %}{{ m.content }}"
        "{{ '.' if loop.last and m.role == 'assistant' else '!' }}{% endfor %}",
        r"the end of messages\[1\] is written in another way",
    ),
    "a part does not render": (
        "{% if messages | length < 4 %}{{ raise_exception('four!') }}{% endif %}{{ messages }}",
        "a part of the conversation does not render",
    ),
    "block in a macro": (
        "{% macro say(m) %}{% generation %}{{ m.content }}{% endgeneration %}{% endmacro %}"
        "{% for m in messages %}{{ say(m) }}{% endfor %}",
        "inside a macro",
    ),
    "block in captured text": (
        "{% for m in messages %}{% set x %}{% generation %}{{ m.content }}{% endgeneration %}"
        "{% endset %}{{ x }}{% endfor %}",
        "inside a macro or captured text",
    ),
    "one block around everything": (
        "{% generation %}{% for m in messages %}{{ m.content }}{% endfor %}{% endgeneration %}",
        "a generation block holds what a user says",
    ),
    "blocks around all but the first": (
        "{% for m in messages %}{% if loop.first %}{{ m.content }}{% else %}"
        "{% generation %}{{ m.content }}{% endgeneration %}{% endif %}{% endfor %}",
        "a generation block holds what a user says",
    ),
    "blocks of another role": (
        "{% for m in messages %}{{ m.content }}{% if m.role == 'model' %}"
        "{% generation %}{{ m.content }}{% endgeneration %}{% endif %}{% endfor %}",
        "no generation block holds anything",
    ),
}


@pytest.mark.parametrize("name", UNMARKABLE)
def test_a_template_that_cannot_mark_is_refused(name: str, tokenizer: Tokenizer) -> None:
    source, reason = UNMARKABLE[name]
    talk = [user("one"), assistant("two"), user("three"), assistant("four")]
    template = made(source)
    with pytest.raises(TemplateError, match=reason) as caught:
        template.render(talk, tokenizer=tokenizer)
    assert caught.value.what.startswith("the assistant's tokens cannot be marked")
    assert "{% generation %}" in (caught.value.remedy or "")
    # It can still chat.
    assert template.render_ids(talk, tokenizer=tokenizer)


def test_one_moment_for_a_rendering_and_its_mask(tokenizer: Tokenizer) -> None:
    def clock() -> datetime:
        return next(moments)

    moments: Iterator[datetime] = iter([NOW, datetime(2030, 1, 1)])
    source = "{{ strftime_now('%Y') }}</s>" + CHATML
    rendered = made(source, clock=clock).render(TWO, tokenizer=tokenizer)
    assert rendered.text.startswith("2024")
    assert said(rendered, tokenizer) == ['Hey & "you"<|im_end|>', "bye<|im_end|>"]
