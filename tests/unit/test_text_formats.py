"""Published formats by name: each against the example that its publisher gives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import puna
from puna.errors import TemplateError
from puna.text import (
    ChatTemplate,
    format_names,
    load_template,
    load_tokenizer,
    open_template,
    open_tokenizer,
    save_template,
    save_tokenizer,
)
from tests.unit.text_samples import (
    CALL,
    TOOL,
    Messages,
    assistant,
    byte_level,
    sentencepiece_bytes,
    system,
    user,
)

CHAT = [user("Hello!"), assistant("Hi!"), user("How are you?"), assistant("Good.")]
BELOW = (
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request."
)
CURIOUS = (
    "A chat between a curious {0} and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions."
)
# Name: the text of CHAT, and what of it the assistant says.
PUBLISHED: dict[str, tuple[str, list[str]]] = {
    "alpaca": (
        f"{BELOW}\n\n### Instruction:\nHello!\n\n### Response:\nHi!</s>"
        "\n\n### Instruction:\nHow are you?\n\n### Response:\nGood.</s>",
        ["Hi!</s>", "Good.</s>"],
    ),
    "chatml": (
        "<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\nHi!<|im_end|>\n"
        "<|im_start|>user\nHow are you?<|im_end|>\n<|im_start|>assistant\nGood.<|im_end|>\n",
        ["Hi!<|im_end|>", "Good.<|im_end|>"],
    ),
    "dolly": (
        f"{BELOW}\n\n### Instruction:\nHello!\n\n### Response:\nHi!\n\n### End"
        "\n\n### Instruction:\nHow are you?\n\n### Response:\nGood.\n\n### End",
        ["Hi!\n\n### End", "Good.\n\n### End"],
    ),
    "falcon-chat": (
        "User: Hello!\nFalcon: Hi!\nUser: How are you?\nFalcon: Good.",
        [" Hi!\n", " Good."],
    ),
    "falcon-instruct": (
        "\n\nUser: Hello!\n\nAssistant: Hi!\n\nUser: How are you?\n\nAssistant: Good.",
        [" Hi!", " Good."],
    ),
    "gemma": (
        "<bos><start_of_turn>user\nHello!<end_of_turn>\n<start_of_turn>model\nHi!<end_of_turn>\n"
        "<start_of_turn>user\nHow are you?<end_of_turn>\n"
        "<start_of_turn>model\nGood.<end_of_turn>\n",
        ["Hi!<end_of_turn>", "Good.<end_of_turn>"],
    ),
    "guanaco": (
        CURIOUS.format("human") + "\n### Human: Hello!\n### Assistant: Hi!"
        "\n### Human: How are you?\n### Assistant: Good.</s>",
        [" Hi!", " Good.</s>"],
    ),
    "llama-2-chat": (
        "<s>[INST] Hello! [/INST] Hi! </s><s>[INST] How are you? [/INST] Good. </s>",
        [" Hi! </s>", " Good. </s>"],
    ),
    "llama-3": (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHello!<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHi!<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHow are you?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nGood.<|eot_id|>",
        ["Hi!<|eot_id|>", "Good.<|eot_id|>"],
    ),
    "mistral-v1": (
        "<s> [INST] Hello! [/INST] Hi!</s> [INST] How are you? [/INST] Good.</s>",
        [" Hi!</s>", " Good.</s>"],
    ),
    "mistral-v2": (
        "<s>[INST] Hello![/INST] Hi!</s>[INST] How are you?[/INST] Good.</s>",
        [" Hi!</s>", " Good.</s>"],
    ),
    "mistral-v3": (
        "<s>[INST] Hello![/INST] Hi!</s>[INST] How are you?[/INST] Good.</s>",
        [" Hi!</s>", " Good.</s>"],
    ),
    "mistral-v3-tekken": (
        "<s>[INST]Hello![/INST]Hi!</s>[INST]How are you?[/INST]Good.</s>",
        ["Hi!</s>", "Good.</s>"],
    ),
    "mistral-v7": (
        "<s>[INST] Hello![/INST] Hi!</s>[INST] How are you?[/INST] Good.</s>",
        [" Hi!</s>", " Good.</s>"],
    ),
    "mistral-v7-tekken": (
        "<s>[INST]Hello![/INST]Hi!</s>[INST]How are you?[/INST]Good.</s>",
        ["Hi!</s>", "Good.</s>"],
    ),
    "openassistant": (
        "<|prompter|>Hello!<|endoftext|><|assistant|>Hi!<|endoftext|>"
        "<|prompter|>How are you?<|endoftext|><|assistant|>Good.<|endoftext|>",
        ["Hi!<|endoftext|>", "Good.<|endoftext|>"],
    ),
    "openchat": (
        "GPT4 Correct User: Hello!<|end_of_turn|>GPT4 Correct Assistant: Hi!<|end_of_turn|>"
        "GPT4 Correct User: How are you?<|end_of_turn|>"
        "GPT4 Correct Assistant: Good.<|end_of_turn|>",
        [" Hi!<|end_of_turn|>", " Good.<|end_of_turn|>"],
    ),
    "orca-hashes": (
        "### User:\nHello!\n\n### Assistant:\nHi!</s>\n\n### User:\nHow are you?\n\n"
        "### Assistant:\nGood.</s>",
        ["Hi!</s>", "Good.</s>"],
    ),
    "phi-2": (
        "Instruct: Hello!\nOutput: Hi!\nInstruct: How are you?\nOutput: Good.",
        [" Hi!\n", " Good."],
    ),
    "phi-3": (
        "<|user|>\nHello!<|end|>\n<|assistant|>\nHi!<|end|>\n"
        "<|user|>\nHow are you?<|end|>\n<|assistant|>\nGood.<|end|>\n",
        ["Hi!<|end|>", "Good.<|end|>"],
    ),
    "redpajama": (
        "<human>: Hello!\n<bot>: Hi!\n<human>: How are you?\n<bot>: Good.",
        [" Hi!\n", " Good."],
    ),
    "stablelm": (
        "<|USER|>Hello!<|ASSISTANT|>Hi!<|USER|>How are you?<|ASSISTANT|>Good.<|endoftext|>",
        ["Hi!", "Good.<|endoftext|>"],
    ),
    "starchat": (
        "<|system|>\n<|end|>\n<|user|>\nHello!<|end|>\n<|assistant|>\nHi!<|end|>\n"
        "<|user|>\nHow are you?<|end|>\n<|assistant|>\nGood.<|end|>\n",
        ["Hi!<|end|>", "Good.<|end|>"],
    ),
    "tulu": (
        "<|user|>\nHello!\n<|assistant|>\nHi!</s>\n"
        "<|user|>\nHow are you?\n<|assistant|>\nGood.</s>",
        ["Hi!</s>", "Good.</s>"],
    ),
    "vicuna": (
        CURIOUS.format("user") + " USER: Hello! ASSISTANT: Hi!</s>"
        "USER: How are you? ASSISTANT: Good.</s>",
        [" Hi!</s>", " Good.</s>"],
    ),
    "zephyr": (
        "<|user|>\nHello!</s>\n<|assistant|>\nHi!</s>\n"
        "<|user|>\nHow are you?</s>\n<|assistant|>\nGood.</s>\n",
        ["Hi!</s>", "Good.</s>"],
    ),
}
ALIASES = {"falcon": "falcon-instruct", "llama-2": "llama-2-chat", "mistral-instruct": "mistral-v1"}
# The text of a system message and a question, up to where the assistant speaks.
WITH_SYSTEM = {
    "alpaca": "Be kind.\n\n### Instruction:\nHi\n\n### Response:\n",
    "chatml": "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    "<|im_start|>assistant\n",
    "falcon-chat": "System: Be kind.\nUser: Hi\nFalcon:",
    "falcon-instruct": "Be kind.\n\nUser: Hi\n\nAssistant:",
    "guanaco": "Be kind.\n### Human: Hi\n### Assistant:",
    "llama-2-chat": "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHi [/INST]",
    "mistral-v1": "<s> [INST] Be kind.\n\nHi [/INST]",
    "mistral-v3": "<s>[INST] Be kind.\n\nHi[/INST]",
    "mistral-v7": "<s>[SYSTEM_PROMPT] Be kind.[/SYSTEM_PROMPT][INST] Hi[/INST]",
    "openassistant": "<|system|>Be kind.<|endoftext|><|prompter|>Hi<|endoftext|><|assistant|>",
    "orca-hashes": "### System:\nBe kind.\n\n### User:\nHi\n\n### Assistant:\n",
    "starchat": "<|system|>\nBe kind.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\n",
    "vicuna": "Be kind. USER: Hi ASSISTANT:",
    "zephyr": "<|system|>\nBe kind.</s>\n<|user|>\nHi</s>\n<|assistant|>\n",
}
STOPS = {
    "alpaca": ("### Instruction:",),
    "dolly": ("### End",),
    "falcon-instruct": ("\nUser:",),
    "guanaco": ("### Human:",),
    "vicuna": ("USER:",),
    "zephyr": (),
}


def test_every_format_has_its_example() -> None:
    assert set(format_names()) == {*PUBLISHED, *ALIASES}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_example(name: str) -> None:
    want, said = PUBLISHED[name]
    text, spans = open_template(name).mark(CHAT)
    assert text == want
    assert [text[start:end] for start, end in spans] == said


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_prompt_is_how_the_text_begins(name: str) -> None:
    template = open_template(name)
    text, spans = template.mark(CHAT)
    for turns, (start, _) in zip((1, 3), spans, strict=True):
        assert template.render_text(CHAT[:turns], add_generation_prompt=True) == text[:start]


@pytest.mark.parametrize("name", WITH_SYSTEM)
def test_a_system_message(name: str) -> None:
    talk = [system("Be kind."), user("Hi")]
    assert open_template(name).render_text(talk, add_generation_prompt=True) == WITH_SYSTEM[name]


@pytest.mark.parametrize("name", ALIASES)
def test_another_name_of_a_format(name: str) -> None:
    assert open_template(name).source == open_template(ALIASES[name]).source


@pytest.mark.parametrize("name", STOPS)
def test_what_ends_an_answer(name: str) -> None:
    assert open_template(name).stops == STOPS[name]


def test_tools_are_refused_where_there_is_no_place_for_them() -> None:
    call: Messages = [user("x"), assistant("", tool_calls=[CALL])]
    for name in format_names():
        template = open_template(name)
        if name in {f"mistral-{version}" for version in ("v2", "v3", "v3-tekken")} or "v7" in name:
            assert "get_weather" in template.render_text(call, tools=[TOOL])
            continue
        for messages, tools in ((call, None), ([user("x")], [TOOL])):
            with pytest.raises(TemplateError, match="no place for"):
                template.render_text(messages, tools=tools)


def test_only_by_name_never_by_guess(tmp_path: Path) -> None:
    with pytest.raises(TemplateError) as caught:
        open_template("vicunia")
    assert "vicuna" in (caught.value.remedy or "")
    assert "zephyr" in (caught.value.remedy or "")
    byte_level(tmp_path, ["<|im_start|>", "<|im_end|>"])
    assert load_template(tmp_path, load_tokenizer(tmp_path)) is None


def test_bos_comes_first_only_where_the_tokenizer_puts_it(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_bytes())
    puts = open_tokenizer(tmp_path / "tokenizer.model")
    assert puts is not None
    template = open_template("vicuna", folder=tmp_path, tokenizer=puts)
    ids = template.render_ids([user("a")], tokenizer=puts)
    assert ids[0] == puts.bos_id
    assert ids.count(puts.bos_id) == 1
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": False}))
    bare = load_tokenizer(tmp_path)
    assert bare is not None
    for name in format_names():
        template = open_template(name, folder=tmp_path, tokenizer=bare)
        ids = template.render_ids([user("a")], tokenizer=bare)
        assert bare.bos_id not in ids, name
        # What was tuned without it is served without it.
        save_tokenizer(bare, tmp_path / name)
        save_template(template, tmp_path / name)
        again = load_template(tmp_path / name, load_tokenizer(tmp_path / name))
        assert again is not None
        assert again.stops == template.stops
        assert again.render_ids([user("a")], tokenizer=bare) == ids, name


def test_what_is_saved_renders_and_stops_as_before(tmp_path: Path) -> None:
    go = ChatTemplate(
        "\n{{ .Prompt }}~{{ .Response }}",
        bos_token=None,
        eos_token=None,
        language="go",
        stops=("\n~", '"é'),
    )
    jinja = ChatTemplate("\nx{{ messages[0].content }}", bos_token=None, eos_token=None, stops="S")
    for number, template in enumerate((open_template("vicuna"), go, jinja)):
        folder = tmp_path / str(number)
        save_template(template, folder)
        again = load_template(folder, None)
        assert again is not None
        assert (again.stops, again.language) == (template.stops, template.language)
        assert again.render_text(CHAT[:1]) == template.render_text(CHAT[:1])
        save_template(again, folder / "twice")
        assert len(list((folder / "twice").iterdir())) == 1
    assert (tmp_path / "0" / "chat_template.jinja").is_file()
    assert (tmp_path / "1" / "chat_template.gotmpl").is_file()


def test_a_stop_comment_that_is_no_list(tmp_path: Path) -> None:
    (tmp_path / "x.jinja").write_text('{# stop: ["a", 3] #}x')
    with pytest.raises(TemplateError, match="JSON list of texts"):
        open_template(tmp_path / "x.jinja")


def test_a_model_speaks_a_format_by_name() -> None:
    lm = puna.load("cria", template="vicuna")
    assert lm.template is not None
    prompt = lm.tokenizer.decode(lm.render([user("Hi")]), skip_special=False)  # type: ignore[union-attr]
    assert prompt.endswith("USER: Hi ASSISTANT:")
    assert lm.turn_stops() == ("USER:",)
    with pytest.raises(TemplateError, match="no format and no file"):
        puna.load("cria", template="nothing")


def test_the_stop_text_of_a_format_ends_an_answer(tmp_path: Path) -> None:
    """A format whose stop is what the model says anyway cuts the answer there."""
    source = puna.load("cria").template
    assert source is not None
    plain = puna.load("cria").chat([user("What do llamas eat?")], max_tokens=20)
    word = plain.text.split()[2]
    (tmp_path / "own.jinja").write_text(f"{{# stop: {json.dumps([word])} #}}{source.source}")
    lm = puna.load("cria", template=tmp_path / "own.jinja")
    cut = lm.chat([user("What do llamas eat?")], max_tokens=20)
    assert cut.finish == "stop"
    assert cut.text == plain.text[: plain.text.index(word)]
    streamed = "".join(lm.chat_stream([user("What do llamas eat?")], max_tokens=20))
    assert streamed == cut.text
    # A raw prompt is nobody's turn.
    ids = lm.render([user("What do llamas eat?")])
    assert lm.generate(ids, max_tokens=20).text == plain.text
