"""The model that ships inside, served as it is: its answers end by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import openai
import pytest

from puna.generate import load
from tests.serve.conftest import KEY, MODEL, Room, running

ASKS = [
    [{"role": "user", "content": text}]
    for text in (
        "What is a baby llama called?",
        "What do llamas eat?",
        "What is 3 plus 4?",
        "Hello",
        "Tell me a story about a puma.",
        "Who are you?",
        "What is 2 plus 2?",
        "Where do vicuñas live?",
    )
]


@pytest.fixture(scope="module")
def cria() -> Iterator[Room]:
    with running(load("cria", dtype="float32")) as room:
        yield room


def test_sixteen_at_once_end_as_they_end_alone(cria: Room) -> None:
    async def one(client: openai.AsyncOpenAI, number: int) -> tuple[str | None, str]:
        answer = await client.chat.completions.create(
            model=MODEL, messages=ASKS[number % 8], temperature=0, max_tokens=40 + number
        )
        return answer.choices[0].message.content, answer.choices[0].finish_reason

    async def all_of_them() -> list[tuple[str | None, str]]:
        async with openai.AsyncOpenAI(base_url=f"{cria.address}/v1", api_key=KEY) as client:
            return await asyncio.gather(*(one(client, n) for n in range(16)))

    lm = load("cria", dtype="float32")
    done = [lm.chat(ASKS[n % 8], max_tokens=40 + n) for n in range(16)]
    assert {"stop", "length"} == {answer.finish for answer in done}
    assert asyncio.run(all_of_them()) == [(answer.text, answer.finish) for answer in done]


def test_the_end_of_a_turn_is_not_counted(cria: Room) -> None:
    lm = load("cria", dtype="float32")
    want = lm.chat(ASKS[0], max_tokens=60)
    answer = cria.client().chat.completions.create(
        model=MODEL, messages=ASKS[0], temperature=0, logprobs=True
    )
    assert answer.choices[0].finish_reason == want.finish == "stop"
    assert answer.choices[0].message.content == want.text
    assert answer.usage is not None
    assert answer.usage.completion_tokens == len(want.ids)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert len(logprobs.content or ()) == len(want.ids)
