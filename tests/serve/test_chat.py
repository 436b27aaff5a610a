"""Chat completions through the official client, against the same model asked directly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from puna.generate import Generation, LanguageModel
from puna.serve.fields import take_asking
from tests.serve.conftest import KEY, MODEL, Room

ASK = [{"role": "user", "content": "What is a baby llama called?"}]
ASKS = [[{"role": "user", "content": f"What is {n} plus {n + 3}?"}] for n in range(16)]
TALK = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "Hello there"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Tell me a story"},
]
PLAIN = {"model": MODEL, "temperature": 0, "max_tokens": 24}


def ask(client: openai.OpenAI, messages: Any = ASK, **kw: Any) -> ChatCompletion:
    answer: ChatCompletion = client.chat.completions.create(messages=messages, **(PLAIN | kw))
    return answer


def stream(client: openai.OpenAI, messages: Any = ASK, **kw: Any) -> list[ChatCompletionChunk]:
    return list(client.chat.completions.create(messages=messages, stream=True, **(PLAIN | kw)))


def texts(chunks: Sequence[ChatCompletionChunk], n: int = 1) -> list[str]:
    said = [""] * n
    for chunk in chunks:
        for choice in chunk.choices:
            said[choice.index] += choice.delta.content or ""
    return said


@pytest.fixture(scope="module")
def want(lm: LanguageModel) -> Generation:
    return lm.chat(ASK, max_tokens=24)


def test_the_answer_is_the_model_s_own(
    client: openai.OpenAI, lm: LanguageModel, want: Generation
) -> None:
    answer = ask(client)
    assert answer.choices[0].message.content == want.text
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == want.finish == "length"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(lm.render(ASK))
    assert answer.usage.completion_tokens == 24
    assert answer.usage.total_tokens == len(lm.render(ASK)) + 24
    assert answer.model == MODEL
    assert answer.id.startswith("chatcmpl-")


def test_a_stream_is_the_answer_in_pieces(client: openai.OpenAI, want: Generation) -> None:
    chunks = stream(client, stream_options={"include_usage": True})
    assert texts(chunks) == [want.text]
    assert len(chunks) > 10
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks[:-2]] == [None] * (len(chunks) - 2)
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 24
    assert len({c.id for c in chunks}) == 1


def test_a_stream_on_the_wire(room: Room) -> None:
    with room.http() as http:
        answer = http.post(
            "/v1/chat/completions", json=PLAIN | {"messages": ASK, "stream": True, "max_tokens": 2}
        )
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = answer.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    first = json.loads(events[0].removeprefix("data: "))
    assert first["object"] == "chat.completion.chunk"
    assert first["choices"][0] == {
        "index": 0,
        "delta": {"role": "assistant", "content": ""},
        "logprobs": None,
        "finish_reason": None,
    }
    assert "usage" not in first


def test_sixteen_at_once_say_what_they_say_alone(room: Room, lm: LanguageModel) -> None:
    async def one(client: openai.AsyncOpenAI, number: int) -> str:
        if number % 2:
            answer = await client.chat.completions.create(messages=ASKS[number], **PLAIN)
            return answer.choices[0].message.content
        chunks = await client.chat.completions.create(messages=ASKS[number], stream=True, **PLAIN)
        return texts([chunk async for chunk in chunks])[0]

    async def all_of_them() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{room.address}/v1", api_key=KEY) as client:
            return await asyncio.gather(*(one(client, n) for n in range(16)))

    alone = [lm.chat(messages, max_tokens=24).text for messages in ASKS]
    assert len(set(alone)) > 8  # or equality would say little
    assert asyncio.run(all_of_them()) == alone


def test_a_conversation_and_text_parts(client: openai.OpenAI, lm: LanguageModel) -> None:
    want = lm.chat(TALK, max_tokens=12).text
    assert ask(client, TALK, max_tokens=12).choices[0].message.content == want
    parts = [
        {**message, "content": [{"type": "text", "text": message["content"]}]} for message in TALK
    ]
    assert ask(client, parts, max_tokens=12).choices[0].message.content == want


def test_an_answer_may_be_sent_back_as_it_came(client: openai.OpenAI, lm: LanguageModel) -> None:
    said = ask(client).choices[0].message
    again = [{"role": "user", "content": "And then?"}]
    answer = ask(client, [*ASK, said.model_dump(), *again])
    back = [*ASK, {"role": "assistant", "content": said.content}, *again]
    assert answer.choices[0].message.content == lm.chat(back, max_tokens=24).text


def test_a_stop_string_ends_the_answer_and_is_not_in_it(
    client: openai.OpenAI, want: Generation
) -> None:
    cut = want.text[30:34]
    before = want.text[: want.text.index(cut)]
    for stop in (cut, ["never this", cut]):
        answer = ask(client, stop=stop)
        assert answer.choices[0].message.content == before
        assert answer.choices[0].finish_reason == "stop"
        assert texts(stream(client, stop=stop)) == [before]


def test_n_answers_have_seeds_of_their_own(client: openai.OpenAI, lm: LanguageModel) -> None:
    heat: dict[str, Any] = {"temperature": 0.9, "top_p": 0.95, "max_tokens": 10}
    want = [done.text for done in lm.chat_samples(ASK, 3, **heat, seed=7)]
    assert len(set(want)) == 3
    assert want[0] == lm.chat(ASK, **heat, seed=7).text
    answer = ask(client, **heat, seed=7, n=3)
    assert [choice.message.content for choice in answer.choices] == want
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 30
    chunks = stream(client, **heat, seed=7, n=3)
    assert texts(chunks, 3) == want
    assert sum(c.choices[0].finish_reason == "length" for c in chunks) == 3


def test_the_wire_s_own_temperature_is_one(client: openai.OpenAI, lm: LanguageModel) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=ASK, seed=3, max_tokens=16)
    want = lm.chat(ASK, temperature=1.0, seed=3, max_tokens=16).text
    assert answer.choices[0].message.content == want != lm.chat(ASK, max_tokens=16).text


def test_extras_of_open_models(client: openai.OpenAI, lm: LanguageModel) -> None:
    extras = {"top_k": 9, "min_p": 0.01, "typical_p": 0.9, "repetition_penalty": 1.3}
    heat: dict[str, Any] = {"temperature": 1.2, "seed": 5, "max_tokens": 16}
    answer = ask(client, **heat, extra_body=extras)
    assert answer.choices[0].message.content == lm.chat(ASK, **heat, **extras).text
    off = ask(client, **heat, extra_body={"top_k": -1})
    assert off.choices[0].message.content == lm.chat(ASK, **heat).text


def test_logprobs_are_the_model_s(
    client: openai.OpenAI, lm: LanguageModel, want: Generation
) -> None:
    score = lm.score(lm.render(ASK), want.ids)
    content = ask(client, logprobs=True, top_logprobs=0).choices[0].logprobs.content
    assert [token.logprob for token in content] == pytest.approx(score.tokens, abs=1e-4)
    assert "".join(token.token for token in content) == want.text
    assert b"".join(bytes(token.bytes) for token in content).decode() == want.text
    last = stream(client, logprobs=True)[-1].choices[0].logprobs.content
    assert [token.logprob for token in last] == [token.logprob for token in content]
    assert ask(client).choices[0].logprobs is None


def test_what_asks_for_nothing_is_accepted(client: openai.OpenAI, want: Generation) -> None:
    answer = ask(
        client,
        tools=[],
        tool_choice="none",
        response_format={"type": "text"},
        logit_bias={},
        frequency_penalty=0,
        presence_penalty=0.0,
        modalities=["text"],
        user="somebody",
        metadata={"a": "b"},
        store=False,
        service_tier="auto",
        stop=None,
        extra_body={"audio": None},
    )
    assert answer.choices[0].message.content == want.text


@pytest.mark.parametrize(
    ("tier", "priority"), [("priority", 1), ("flex", -1), ("default", 0), ("auto", 0), (None, 0)]
)
def test_a_tier_is_a_priority(tier: str | None, priority: int) -> None:
    asked = take_asking({"model": MODEL, "service_tier": tier})
    assert asked.options().priority == priority


def test_an_unknown_tier_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="service_tier"):
        ask(client, service_tier="gold")


def near_the_end(lm: LanguageModel, room: int) -> list[dict[str, str]]:
    """A prompt that leaves room for so many tokens; a digit is a token of its own."""
    frame = len(lm.render([{"role": "user", "content": ""}]))
    messages = [{"role": "user", "content": "7" * (lm.spec.context - room - frame)}]
    assert len(lm.render(messages)) == lm.spec.context - room
    return messages


def test_an_answer_ends_at_the_context(client: openai.OpenAI, lm: LanguageModel) -> None:
    messages = near_the_end(lm, 5)
    for limit in ({"max_tokens": 10**12}, {"max_tokens": None, "max_completion_tokens": None}):
        answer = ask(client, messages, **limit)
        assert answer.choices[0].finish_reason == "length"
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 5
        assert answer.usage.total_tokens == lm.spec.context
    short = ask(client, messages, max_tokens=None, max_completion_tokens=3)
    assert short.usage is not None
    assert short.usage.completion_tokens == 3


def test_a_prompt_beyond_the_context(client: openai.OpenAI, lm: LanguageModel) -> None:
    messages = near_the_end(lm, 0)
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, messages, max_tokens=1)
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "messages"
    assert caught.value.message.count(str(lm.spec.context)) == 2


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).object == "model"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("meta/llama")
    assert caught.value.code == "model_not_found"
