"""Answers of a given form, and all that is said about their tokens, through the official client."""

from __future__ import annotations

import json
import re
from typing import Any

import openai
import pydantic
import pytest
from openai.types.chat import ChatCompletion

from puna.generate import LanguageModel
from puna.text import Tokenizer
from tests.serve.conftest import MODEL, Room

ASK = [{"role": "user", "content": "Who are you?"}]
PLAIN: dict[str, Any] = {"model": MODEL, "messages": ASK, "temperature": 1.0, "seed": 1}
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "age": {"type": "integer", "minimum": 0, "maximum": 30},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


def text_of(client: openai.OpenAI, **kw: Any) -> str:
    """What is answered, which is the same whole and in pieces."""
    whole: ChatCompletion = client.chat.completions.create(**(PLAIN | kw))
    said = whole.choices[0].message.content
    assert whole.choices[0].finish_reason == "stop"
    chunks = client.chat.completions.create(**(PLAIN | kw), stream=True)
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert "".join(pieces) == said
    return said or ""


@pytest.mark.parametrize(
    "how",
    [
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "person", "schema": SCHEMA, "strict": True},
            }
        },
        {"extra_body": {"guided_json": SCHEMA}},
        {"extra_body": {"guided_json": json.dumps(SCHEMA)}},
        {"extra_body": {"structured_outputs": {"json": SCHEMA}}},
    ],
    ids=["response_format", "guided_json", "as text", "structured_outputs"],
)
def test_a_schema_is_kept_to(client: openai.OpenAI, how: dict[str, Any]) -> None:
    said = json.loads(text_of(client, **how))
    assert list(said) == ["name", "age"]
    assert len(said["name"]) <= 6
    assert 0 <= said["age"] <= 30


def test_the_client_s_own_parsing_of_a_class(client: openai.OpenAI) -> None:
    class Animal(pydantic.BaseModel):
        kind: str = pydantic.Field(max_length=5)
        wild: bool

    done = client.chat.completions.parse(**PLAIN, response_format=Animal)
    assert isinstance(done.choices[0].message.parsed, Animal)


def test_any_json_object(client: openai.OpenAI) -> None:
    for how in (
        {"response_format": {"type": "json_object"}},
        {"extra_body": {"structured_outputs": {"json_object": True}}},
    ):
        # A model of random weights seldom ends an object: it is a beginning of one.
        done = client.chat.completions.create(**(PLAIN | how), max_tokens=60)
        said = done.choices[0].message.content
        assert said.startswith("{")
        if done.choices[0].finish_reason == "stop":
            assert isinstance(json.loads(said), dict)


@pytest.mark.parametrize(
    ("option", "value", "pattern"),
    [
        ("regex", r"[a-f]{3}-\d", r"[a-f]{3}-\d"),
        ("choice", ["a llama", "a fox"], r"a llama|a fox"),
        ("grammar", 'start: "x" ("y" | "z") "!"', r"x[yz]!"),
    ],
)
def test_other_forms(client: openai.OpenAI, option: str, value: Any, pattern: str) -> None:
    for extra in ({f"guided_{option}": value}, {"structured_outputs": {option: value}}):
        assert re.fullmatch(pattern, text_of(client, extra_body=extra))


def test_a_refused_keyword_is_named(client: openai.OpenAI) -> None:
    schema = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    with pytest.raises(openai.BadRequestError, match="uniqueItems") as caught:
        client.chat.completions.create(**PLAIN, response_format=form)  # type: ignore[call-overload]
    assert caught.value.param == "response_format"


def test_many_answers_each_of_the_form(client: openai.OpenAI) -> None:
    done = client.chat.completions.create(
        **(PLAIN | {"temperature": 2.0}), n=4, extra_body={"guided_regex": "[a-z]{5}"}
    )
    said = [choice.message.content for choice in done.choices]
    assert all(re.fullmatch("[a-z]{5}", text) for text in said)
    assert len(set(said)) > 1


def test_a_hostile_form_does_not_stop_the_server(room: Room, client: openai.OpenAI) -> None:
    for pattern in ("[bc]a{1000000}", "((a{0,100}){0,100}){0,100}b", "(.*a){50}.{3000}"):
        extra = {"guided_regex": pattern}
        try:
            client.chat.completions.create(**PLAIN, max_tokens=8, extra_body=extra)
        except openai.APIStatusError as error:
            assert error.status_code in (400, 500)
    assert text_of(client, extra_body={"guided_choice": ["on"]}) == "on"


# Penalties, bias and log probabilities.


@pytest.fixture(scope="module")
def vocabulary(lm: LanguageModel) -> Tokenizer:
    assert lm.tokenizer is not None
    return lm.tokenizer


def test_penalties_and_bias_are_the_sampler_s(client: openai.OpenAI, lm: LanguageModel) -> None:
    heat: dict[str, Any] = {"temperature": 0.8, "seed": 5, "max_tokens": 24}
    bent = {"frequency_penalty": 1.5, "presence_penalty": -0.5}
    done = client.chat.completions.create(
        **(PLAIN | heat), **bent, logit_bias={"70": 5.5, "71": -100}
    )
    want = lm.chat(ASK, **heat, **bent, logit_bias={70: 5.5, 71: -100})
    assert done.choices[0].message.content == want.text != lm.chat(ASK, **heat).text


def test_the_likeliest_tokens(
    client: openai.OpenAI, lm: LanguageModel, vocabulary: Tokenizer
) -> None:
    greedy = PLAIN | {"temperature": 0, "max_tokens": 12}
    want = lm.chat(ASK, max_tokens=12, logprobs=True, top_logprobs=3)
    done = client.chat.completions.create(**greedy, logprobs=True, top_logprobs=3)
    last = list(
        client.chat.completions.create(**greedy, logprobs=True, top_logprobs=3, stream=True)
    )
    for found in (done.choices[0].logprobs, last[-1].choices[0].logprobs):
        assert found is not None
        assert found.content is not None
        assert [token.logprob for token in found.content] == pytest.approx(want.logprobs)
        for token, top in zip(found.content, want.top_logprobs, strict=True):
            assert [bytes(other.bytes) for other in token.top_logprobs] == [
                vocabulary.bytes_of(id) for id, _ in top
            ]
            chances = [other.logprob for other in token.top_logprobs]
            assert chances == pytest.approx([chance for _, chance in top])
            assert token.logprob == chances[0]  # greedy says the likeliest


def test_what_was_computed_before_is_told(client: openai.OpenAI) -> None:
    talk = [{"role": "user", "content": "Tell me about the high hills, please. " * 8}]
    body = PLAIN | {"messages": talk, "max_tokens": 2}
    for _ in range(2):
        done = client.chat.completions.create(**body)
        assert done.usage is not None
        assert done.usage.prompt_tokens_details is not None
    assert 0 < done.usage.prompt_tokens_details.cached_tokens < done.usage.prompt_tokens
