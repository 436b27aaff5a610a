"""Chat completions through the official client, against the same model asked directly."""

from __future__ import annotations

import asyncio

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from puna.generate import LanguageModel
from tests.serve.conftest import KEY, MODEL, Room

ASK = [{"role": "user", "content": "What is a baby llama called?"}]
ASKS = [[{"role": "user", "content": f"What is {n} plus {n + 3}?"}] for n in range(16)]


def test_debug(client, lm):
    for a in ASKS[:5]:
        print(lm.chat(a, max_tokens=20))
    print(
        client.chat.completions.create(
            model=MODEL, messages=ASK, temperature=0, max_tokens=20, logprobs=True
        )
    )
    for c in client.chat.completions.create(
        model=MODEL,
        messages=ASK,
        temperature=0,
        max_tokens=20,
        stream=True,
        stream_options={"include_usage": True},
    ):
        print(c)
