"""Clients that leave, too many of them, and an engine that fails."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import openai
import pytest
import torch

from puna.engine.sequence import Sequence
from puna.generate import LanguageModel, load
from tests.serve.conftest import KEY, MODEL, Room, running

ASK = [{"role": "user", "content": "Tell me everything"}]
BODY: dict[str, Any] = {"model": MODEL, "messages": ASK, "temperature": 0}


def wait_for(met: Callable[[], object]) -> None:
    while not met():
        time.sleep(0.005)


def at_work(lm: LanguageModel) -> list[Sequence]:
    """What the engine has now; kept by the test, it tells later how far it came."""
    return list(lm.engine._sequences.values())


@contextmanager
def cut_short(lm: LanguageModel, count: int = 1) -> Iterator[None]:
    """Within, `count` requests run; afterwards the engine drops them before their end."""
    wait_for(lambda: len(at_work(lm)) == count and all(s.said for s in at_work(lm)))
    sequences = at_work(lm)
    yield
    wait_for(lambda: lm.engine.idle)
    for sequence in sequences:
        assert 0 < sequence.said < sequence.span - len(sequence.request.prompt_ids)


def raw(room: Room, body: dict[str, Any]) -> socket.socket:
    """A connection on which a request has been sent."""
    host, port = room.address.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    content = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {KEY}\r\n"
        f"content-length: {len(content)}\r\n\r\n"
    )
    connection.sendall(head.encode() + content)
    return connection


@pytest.mark.parametrize("n", [1, 4])
def test_who_leaves_a_stream_frees_the_engine(room: Room, n: int) -> None:
    chunks = room.client().chat.completions.create(stream=True, n=n, **BODY)
    next(iter(chunks))
    with cut_short(room.lm, n):
        chunks.close()


@pytest.mark.parametrize("more", [{}, {"n": 3}, {"stream": True}])
def test_a_dropped_connection_frees_the_engine(room: Room, more: dict[str, Any]) -> None:
    connection = raw(room, BODY | more)
    with cut_short(room.lm, more.get("n", 1)):
        connection.close()


def test_a_cancelled_task_frees_the_engine(room: Room) -> None:
    async def leave() -> None:
        async with openai.AsyncOpenAI(base_url=f"{room.address}/v1", api_key=KEY) as client:
            task = asyncio.create_task(client.chat.completions.create(**BODY))
            while not at_work(room.lm):
                await asyncio.sleep(0.005)
            with cut_short(room.lm):
                task.cancel()
                await asyncio.wait((task,))
                assert task.cancelled()

    asyncio.run(leave())


def test_who_never_sent_the_whole_body_is_let_go(room: Room) -> None:
    host, port = room.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
            "content-length: 100\r\n\r\n{".encode()
        )
    assert room.client().models.list().data[0].id == MODEL
    assert room.lm.engine.idle


def test_beyond_the_limit_of_open_requests(folder: str) -> None:
    with running(load(folder), max_open=2) as room, ExitStack() as stack:
        client = room.client()
        streams = []
        for _ in range(2):
            stream = client.chat.completions.create(stream=True, **BODY)
            stack.callback(stream.close)
            next(iter(stream))
            streams.append(stream)
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(max_tokens=1, **BODY)
        assert caught.value.code == "rate_limit_exceeded"
        assert caught.value.response.headers["retry-after"] == "1"
        with room.http() as http:
            assert http.get("/health").status_code == 200
        with pytest.raises(openai.AuthenticationError):
            room.client(api_key="wrong").models.list()
        streams[0].close()
        wait_for(lambda: len(at_work(room.lm)) == 1)
        patient = room.client(max_retries=2)  # the place is free a moment after the engine is
        assert patient.chat.completions.create(max_tokens=1, **BODY).usage.completion_tokens == 1


def test_an_engine_that_fails_says_so_and_lives_on(folder: str) -> None:
    lm = load(folder)
    want = lm.chat(ASK, max_tokens=5).text
    with running(lm) as room:
        client = room.client()
        norm = lm.parts.model.get_parameter("norm.weight")
        whole = norm.detach().clone()
        stream = client.chat.completions.create(stream=True, **BODY)
        next(iter(stream))
        with torch.inference_mode():
            norm.fill_(torch.nan)
        with pytest.raises(openai.APIError, match="not finite") as caught:
            list(stream)
        assert caught.value.type == "server_error"
        with pytest.raises(openai.InternalServerError, match="not finite") as refused:
            client.chat.completions.create(max_tokens=5, **BODY)
        assert refused.value.code == "server_error"
        with torch.inference_mode():
            norm.copy_(whole)
        answer = client.chat.completions.create(max_tokens=5, **BODY)
        assert answer.choices[0].message.content == want


def test_a_server_that_stops_ends_open_requests_with_an_error(folder: str) -> None:
    lm = load(folder)
    with running(lm) as room:
        stream = room.client().chat.completions.create(stream=True, **BODY)
        next(iter(stream))
        connection = raw(room, BODY)
        wait_for(lambda: len(at_work(lm)) == 2)
        sequences = at_work(lm)
    with pytest.raises(openai.APIError, match="shutting down"):
        list(stream)
    with connection, connection.makefile("rb") as answer:
        assert answer.readline() == b"HTTP/1.1 503 Service Unavailable\r\n"
        assert b"shutting down" in answer.read()
    assert all(sequence.said < 3000 for sequence in sequences)
    assert lm.engine.idle
