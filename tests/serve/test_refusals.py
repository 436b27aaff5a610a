"""What is refused, with which status, code and parameter."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import openai
import pytest

from puna.errors import UsageError
from puna.generate import LanguageModel
from puna.serve import create_app
from tests.serve.conftest import KEY, MODEL, Room

ASK = [{"role": "user", "content": "Hello"}]


def said(value: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": value}]


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"nonsense": 1}, "nonsense", "unknown_parameter"),
        ({"temperature": "hot"}, "temperature", "invalid_type"),
        ({"temperature": True}, "temperature", "invalid_type"),
        ({"temperature": -0.1}, "temperature", "invalid_value"),
        ({"temperature": 2.1}, "temperature", "invalid_value"),
        ({"top_p": 0}, "top_p", "invalid_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"max_tokens": 1.5}, "max_tokens", "invalid_type"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens", "invalid_value"),
        ({"n": 0}, "n", "invalid_value"),
        ({"n": 9}, "n", "invalid_value"),
        ({"seed": 2**63}, "seed", "invalid_value"),
        ({"stop": ""}, "stop", "invalid_value"),
        ({"stop": ["a", ""]}, "stop[1]", "invalid_value"),
        ({"stop": list("abcde")}, "stop", "invalid_value"),
        ({"stop": 3}, "stop", "invalid_type"),
        ({"stream": "yes"}, "stream", "invalid_type"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
        ({"stream": True, "stream_options": {"x": 1}}, "stream_options.x", "unknown_parameter"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": None}, "messages", "missing_required_parameter"),
        ({"messages": "Hello"}, "messages", "invalid_type"),
        ({"messages": ["Hello"]}, "messages[0]", "invalid_type"),
        ({"messages": [{"content": "x"}]}, "messages[0].role", "missing_required_parameter"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
        ({"messages": said(None)}, "messages[0].content", "missing_required_parameter"),
        ({"messages": said(3)}, "messages[0].content", "invalid_type"),
        ({"messages": said([])}, "messages[0].content", "invalid_value"),
        (
            {"messages": said([{"type": "image_url", "image_url": {"url": "x"}}])},
            "messages[0].content[0].type",
            "invalid_value",
        ),
        ({"messages": [{"role": "boss", "content": "x"}]}, "messages[0].role", "invalid_value"),
        (
            {"messages": [{**ASK[0], "tool_calls": [{"id": "1"}]}]},
            "messages[0].tool_calls",
            "unsupported_parameter",
        ),
        ({"tools": [{"type": "function"}]}, "tools", "unsupported_parameter"),
        ({"tool_choice": "required"}, "tool_choice", "unsupported_parameter"),
        ({"response_format": {"type": "yaml"}}, "response_format", "invalid_value"),
        ({"response_format": "json"}, "response_format", "invalid_value"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
            "response_format.json_schema.name",
            "missing_required_parameter",
        ),
        ({"logit_bias": {"five": 1}}, "logit_bias", "invalid_value"),
        ({"logit_bias": {"999999": 1}}, "logit_bias", "invalid_value"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5", "invalid_value"),
        ({"functions": [{}]}, "functions", "unsupported_parameter"),
        ({"audio": {}}, "audio", "unsupported_parameter"),
        ({"top_logprobs": 3}, "top_logprobs", "invalid_value"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs", "invalid_value"),
        ({"frequency_penalty": 2.5}, "frequency_penalty", "invalid_value"),
        ({"presence_penalty": -3}, "presence_penalty", "invalid_value"),
        ({"typical_p": 0}, "typical_p", "invalid_value"),
        ({"guided_regex": "("}, "guided_regex", "invalid_value"),
        ({"guided_choice": []}, "guided_choice", "invalid_value"),
        ({"guided_json": "{"}, "guided_json", "invalid_value"),
        ({"guided_json": {"type": "array", "uniqueItems": True}}, "guided_json", "invalid_value"),
        ({"guided_grammar": "start: start"}, "guided_grammar", "invalid_value"),
        (
            {"structured_outputs": {"regex": "a", "choice": ["b"]}},
            "structured_outputs.choice",
            "invalid_value",
        ),
        (
            {"structured_outputs": {"json": {"not": {}}}},
            "structured_outputs.json",
            "invalid_value",
        ),
        (
            {"response_format": {"type": "json_object"}, "guided_regex": "a"},
            "guided_regex",
            "invalid_value",
        ),
        # What the model's own template does not take.
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages", "invalid_value"),
    ],
)
def test_a_parameter_at_fault_is_named(
    client: openai.OpenAI, change: dict[str, Any], param: str, code: str
) -> None:
    body = {"model": MODEL, "messages": ASK, "max_tokens": 1} | change
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/chat/completions", body=body, cast_to=object)
    assert (caught.value.param, caught.value.code) == (param, code)
    assert caught.value.type == "invalid_request_error"
    assert param.rsplit(".")[-1].split("[")[0] in caught.value.message or code == "invalid_value"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"3", b'{"a": NaN}', b"\xff\xfe", b'{"a": "\\ud800"}', b"[" * 100_000],
)
def test_a_body_that_is_not_a_json_object(room: Room, body: bytes) -> None:
    with room.http() as http:
        answer = http.post("/v1/chat/completions", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_json"
    assert answer.json()["error"]["param"] is None


def test_an_unknown_model(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-9", messages=ASK)  # type: ignore[arg-type]
    assert caught.value.code == "model_not_found"
    assert "gpt-9" in caught.value.message
    assert MODEL in caught.value.message


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", f"Basic {KEY}", KEY, f"Bearer {KEY}x", f"Bearer {KEY[:-1]}"],
)
def test_without_the_key(room: Room, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header}
    with room.http() as http:
        del http.headers["authorization"]
        for method, path in (
            ("GET", "/v1/models"),
            ("GET", f"/v1/models/{MODEL}"),
            ("POST", "/v1/chat/completions"),
            ("GET", "/v1/nothing"),
            ("GET", "/v1"),
        ):
            answer = http.request(method, path, headers=headers)
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "invalid_api_key"
            assert answer.headers["www-authenticate"] == "Bearer"
            assert KEY not in answer.text


def test_two_keys_are_none(room: Room) -> None:
    with room.http() as http:
        del http.headers["authorization"]
        keys = [("authorization", f"Bearer {KEY}"), ("authorization", f"Bearer {KEY}")]
        assert http.get("/v1/models", headers=keys).status_code == 401


def test_the_key_by_the_client(room: Room) -> None:
    with pytest.raises(openai.AuthenticationError):
        room.client(api_key="wrong").models.list()


@pytest.mark.parametrize("key", ["", "two words", "ключ", "line\nbreak", " key"])
def test_a_key_that_no_client_could_send(lm: LanguageModel, key: str) -> None:
    with pytest.raises(UsageError, match="API key"):
        create_app(lm, api_key=key, model_id=MODEL)


def test_health_is_open(room: Room) -> None:
    with room.http() as http:
        del http.headers["authorization"]
        answer = http.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert "server" not in answer.headers
    assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "unknown_url"),
        ("GET", "/docs", 404, "unknown_url"),
        ("GET", "/openapi.json", 404, "unknown_url"),
        ("GET", "/health/", 404, "unknown_url"),
        ("GET", "/v1/models/", 404, "model_not_found"),
        ("GET", "/v1/files", 404, "unknown_url"),
        ("GET", "//v1/models", 404, "unknown_url"),
        ("GET", "/v1/chat/completions", 405, "wrong_method"),
        ("DELETE", f"/v1/models/{MODEL}", 405, "wrong_method"),
        ("POST", "/health", 405, "wrong_method"),
    ],
)
def test_routes_that_are_not_there(
    room: Room, method: str, path: str, status: int, code: str
) -> None:
    with room.http() as http:
        answer = http.request(method, f"{room.address}{path}")
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert answer.headers["x-request-id"]


def test_requests_have_names_of_their_own(room: Room) -> None:
    with room.http() as http:
        names = {http.get("/v1/models").headers["x-request-id"] for _ in range(3)}
    assert len(names) == 3


def test_a_long_name_is_not_echoed_whole(room: Room) -> None:
    body = {"model": MODEL, "messages": ASK, "x" * 100_000: 1}
    with room.http() as http:
        answer = http.post("/v1/chat/completions", content=json.dumps(body))
    assert answer.status_code == 400
    assert len(answer.content) < 2000


def test_an_unexpected_error_keeps_its_secrets(
    lm: LanguageModel, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(lm, api_key=KEY, model_id=MODEL)

    @app.get("/v1/broken")
    async def broken() -> None:
        raise ZeroDivisionError("a secret of the client")

    async def ask() -> httpx2.Response:
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://x") as http:
            return await http.get("/v1/broken", headers={"authorization": f"Bearer {KEY}"})

    answer = asyncio.run(ask())
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("server_error", "server_error")
    name = answer.headers["x-request-id"]
    assert name in error["message"]
    assert [record.getMessage() for record in caplog.records] == [
        f"{name} failed: ZeroDivisionError"
    ]
    assert caplog.records[0].exc_info is None
