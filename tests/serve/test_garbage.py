"""Whatever arrives, the server answers in 4xx, in the envelope, and goes on."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from puna.serve.fields import Asking
from puna.serve.forms import Forms
from puna.serve.wire import _LATER, ChatRequest, TextRequest
from tests.serve.conftest import KEY, MODEL, Room

PATH = "/v1/chat/completions"
MIB = 1 << 20
WITH_KEY = f"authorization: Bearer {KEY}\r\n".encode()
POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
property_of_the_room = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def http(room: Room) -> Iterator[httpx2.Client]:
    with room.http() as http:
        yield http


@pytest.fixture(autouse=True)
def no_traceback(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing that a client sends may be an unexpected error to us."""
    yield
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def refused(answer: httpx2.Response) -> None:
    assert 400 <= answer.status_code < 500, answer.text
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@given(body=st.binary(max_size=300))
@property_of_the_room
def test_random_bytes(http: httpx2.Client, body: bytes) -> None:
    refused(http.post(PATH, content=body))


SHARED = {*Asking.model_fields, *Forms.model_fields}
LIMITS = {"max_tokens", "max_completion_tokens"}
KNOWN = sorted({*ChatRequest.model_fields, *SHARED, *_LATER} - LIMITS)
KNOWN_OF_TEXT = sorted({*TextRequest.model_fields, *SHARED, "best_of", "echo"} - LIMITS)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["user", "assistant", "text", MODEL]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "include_usage", "x", "json", "5"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(changes=st.dictionaries(st.sampled_from(KNOWN) | st.text(max_size=5), JSON, max_size=3))
@property_of_the_room
def test_random_values_of_parameters(http: httpx2.Client, changes: dict[str, Any]) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
    answer = http.post(PATH, content=json.dumps(body | changes | {"max_tokens": 1}))
    if answer.status_code != 200:
        refused(answer)


@given(changes=st.dictionaries(st.sampled_from(KNOWN_OF_TEXT), JSON, max_size=3))
@property_of_the_room
def test_random_values_of_parameters_of_completions(
    http: httpx2.Client, changes: dict[str, Any]
) -> None:
    body = {"model": MODEL, "prompt": "x"} | changes | {"max_tokens": 1}
    answer = http.post("/v1/completions", content=json.dumps(body))
    if answer.status_code != 200:
        refused(answer)


@given(messages=st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": JSON})))
@property_of_the_room
def test_random_messages(http: httpx2.Client, messages: list[Any]) -> None:
    body = {"model": MODEL, "messages": messages, "max_tokens": 1}
    answer = http.post(PATH, content=json.dumps(body))
    if answer.status_code != 200:
        refused(answer)


def test_a_large_body_is_refused_by_its_length(http: httpx2.Client) -> None:
    answer = http.post(PATH, content=b" " * (8 * MIB + 1))
    refused(answer)
    assert answer.status_code == 413
    assert "8,388,608" in answer.json()["error"]["message"]


def test_a_large_body_is_refused_without_a_length(http: httpx2.Client) -> None:
    answer = http.post(PATH, content=(b" " * MIB for _ in range(9)))
    refused(answer)
    assert answer.status_code == 413


def test_a_large_body_without_the_key_is_not_read(http: httpx2.Client) -> None:
    answer = http.post(
        PATH, content=(b" " * MIB for _ in range(9)), headers={"authorization": "Bearer x"}
    )
    assert answer.status_code == 401


def test_a_large_body_within_the_limit_is_counted_in_tokens(http: httpx2.Client) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "llama " * 200_000}]}
    answer = http.post(PATH, json=body)
    refused(answer)
    assert answer.json()["error"]["code"] == "context_length_exceeded"


def exchange(room: Room, data: bytes) -> bytes:
    """What the server says to these bytes before it, or the end of them, closes."""
    host, port = room.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        said = b""
        try:
            connection.sendall(data)
            while part := connection.recv(65536):
                said += part
        except ConnectionError:
            pass  # it closed on what it had not read
        return said


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\nnonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
        b"GET / HTTP/9.9\r\nconnection: close\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /health HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 50_000 + b"\r\n",
        POST + WITH_KEY + b"content-length: -1\r\n\r\n",
        POST + WITH_KEY + b"content-length: " + b"9" * 5000 + b"\r\n\r\n",
        POST + WITH_KEY + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        POST + WITH_KEY + b"transfer-encoding: chunked\r\n\r\nZZ\r\n",
        POST + b"transfer-encoding: chunked\r\n\r\nZZ\r\nhello\r\n",
        POST + WITH_KEY + b"content-length: 99999999\r\nconnection: close\r\n\r\n",
        POST + b"authorization: Bearer \r\nconnection: close\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        b"authorization: Bearer \xff\xfe\r\n\r\n",
        b"GET /%ff%00%0d%0a HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        b"GET http://elsewhere/v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        b"HEAD /v1/models HTTP/1.0\r\nhost: x\r\n\r\n",
    ],
)
def test_raw_bytes(room: Room, http: httpx2.Client, data: bytes) -> None:
    said = exchange(room, data)
    assert said == b"" or said.startswith(b"HTTP/1.1 4"), said
    assert said.count(b"HTTP/1.1 ") <= 1
    body = said.partition(b"\r\n\r\n")[2]
    assert body == b"" or set(json.loads(body)) == {"error"}
    assert http.get("/health").status_code == 200


def test_garbage_after_the_answer(room: Room, http: httpx2.Client) -> None:
    """The body goes on after it was refused, and turns out to be no HTTP."""
    host, port = room.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(POST + b"transfer-encoding: chunked\r\n\r\n5\r\nhe")
        said = connection.recv(65536)
        connection.sendall(b"lloZZ\r\n\r\n")
        while part := connection.recv(65536):
            said += part
    assert said.startswith(b"HTTP/1.1 401 ")
    assert said.count(b"HTTP/1.1 ") == 1
    assert http.get("/health").status_code == 200
