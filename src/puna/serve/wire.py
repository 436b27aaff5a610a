"""What clients send and what they get: OpenAI's chat completions, as small records.

Every parameter that OpenAI documents is honored, accepted where it cannot change the answer, or
refused by name; none is dropped in silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError
from pydantic_core import from_json

from puna.serve.errors import ApiError, from_validation

# Parameters of OpenAI's that are not supported yet, and values of theirs that ask for nothing.
_LATER: Mapping[str, tuple[Any, ...]] = {
    "audio": (),
    "frequency_penalty": (0,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "moderation": (),
    "parallel_tool_calls": (True, False),
    "prediction": (),
    "presence_penalty": (0,),
    "reasoning_effort": (),
    "response_format": ({"type": "text"},),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
    "verbosity": (),
    "web_search_options": (),
}
# The same within a message; a client sends back what it was given, its empty fields included.
_LATER_IN_MESSAGE: Mapping[str, tuple[Any, ...]] = {
    "annotations": ([],),
    "audio": (),
    "function_call": (),
    "refusal": (),
    "tool_calls": ([],),
}


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class TextPart(_Record):
    """A part of a message's content."""

    type: Literal["text"]
    text: str


def _form(value: Any) -> str:
    return "<many>" if isinstance(value, list) else "<one>"


Content = Annotated[
    Annotated[str, Tag("<one>")] | Annotated[list[TextPart], Tag("<many>"), Field(min_length=1)],
    Discriminator(_form),
]
StopText = Annotated[str, Field(min_length=1, max_length=1000)]
Stop = Annotated[
    Annotated[StopText, Tag("<one>")]
    | Annotated[list[StopText], Tag("<many>"), Field(max_length=4)],
    Discriminator(_form),
]


class ChatMessage(_Record):
    """One turn; which roles a model takes is its chat template's say."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content
    name: str | None = None
    tool_call_id: str | None = None

    def plain(self) -> dict[str, Any]:
        """Return what the chat template is given."""
        return self.model_dump(exclude_none=True)


class StreamOptions(_Record):
    """Of a stream: whether its last chunk counts tokens. Chunks are never padded."""

    include_usage: bool = False
    include_obfuscation: Literal[False] = False


class ChatRequest(_Record):
    """The body of POST /v1/chat/completions.

    `temperature` is 1 where it is absent, as in OpenAI's API; 0 is greedy. `top_k`, `min_p` and
    `repetition_penalty` are extras that other servers of open models have too. Parameters in the
    last block are accepted and have no effect.
    """

    model: str
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=-1)] = 0
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    repetition_penalty: Annotated[float, Field(gt=0)] = 1.0
    stop: Stop | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    n: Annotated[int, Field(ge=1, le=8)] = 1
    logprobs: bool = False
    stream: bool = False
    stream_options: StreamOptions | None = None

    metadata: dict[str, str] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    user: str | None = None

    @property
    def limit(self) -> int | None:
        """The most tokens to say, or None for what the context leaves."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def wants_usage(self) -> bool:
        """True where a stream ends with the counts of tokens."""
        return self.stream_options is not None and self.stream_options.include_usage


def parse(body: bytes) -> ChatRequest:
    """Read a request.

    Raises:
        ApiError: 400, with the parameter at fault.
    """
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON: {error}", code="invalid_json") from None
    if not isinstance(value, dict):
        raise ApiError(400, "the body must be a JSON object", code="invalid_json")
    try:
        request = ChatRequest.model_validate(_supported(value))
    except ValidationError as error:
        raise from_validation(error) from None
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise _invalid("max_tokens", "give max_tokens or max_completion_tokens, not both")
    if request.stream_options is not None and not request.stream:
        raise _invalid("stream_options", "stream_options needs stream to be true")
    return request


def _supported(body: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what asks for nothing, null included; refuse what is not supported yet."""
    kept = _without_neutral(body, _LATER, "")
    messages = kept.get("messages")
    if isinstance(messages, list):
        kept["messages"] = [
            _without_neutral(message, _LATER_IN_MESSAGE, f"messages[{index}].")
            if isinstance(message, dict)
            else message
            for index, message in enumerate(messages)
        ]
    return kept


def _without_neutral(
    record: Mapping[str, Any], later: Mapping[str, tuple[Any, ...]], prefix: str
) -> dict[str, Any]:
    kept = {}
    for name, value in record.items():
        if value is None:
            continue
        if name not in later:
            kept[name] = value
        elif value not in later[name]:
            raise ApiError(
                400,
                f"{prefix}{name} is not supported yet",
                param=f"{prefix}{name}",
                code="unsupported_parameter",
            )
    return kept


def _invalid(param: str, message: str) -> ApiError:
    return ApiError(400, message, param=param, code="invalid_value")


def model_card(model_id: str, created: int) -> dict[str, Any]:
    """Return one entry of the list of models; `created` is in seconds of Unix time."""
    return {"id": model_id, "object": "model", "created": created, "owned_by": "puna"}


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """Return the counts of tokens; a prompt that has several answers counts once."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def choice(
    index: int,
    content: Mapping[str, Any],
    finish: str | None,
    logprobs: Sequence[Mapping[str, Any]] | None,
    *,
    field: Literal["message", "delta"],
) -> dict[str, Any]:
    """Return an answer, or what is new of it."""
    return {
        "index": index,
        field: content,
        "logprobs": None if logprobs is None else {"content": logprobs, "refusal": None},
        "finish_reason": finish,
    }


def token_logprob(text: str, logprob: float) -> dict[str, Any]:
    """Return the log probability of one token."""
    return {
        "token": text,
        "logprob": logprob,
        "bytes": list(text.encode()),
        "top_logprobs": [],
    }
