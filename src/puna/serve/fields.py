"""Parameters that both ways to ask have, and how a body is read into records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError
from pydantic_core import from_json

from puna.generate import Options
from puna.serve.errors import ApiError, from_validation

R = TypeVar("R", bound="Record")


class Record(BaseModel):
    """What a client sends, or a part of it: nothing unknown, nothing converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def form(value: Any) -> str:
    """Tell one from many, so that an error names the place within the right one."""
    return "<many>" if isinstance(value, list) else "<one>"


StopText = Annotated[str, Field(min_length=1, max_length=1000)]
Stop = Annotated[
    Annotated[StopText, Tag("<one>")]
    | Annotated[list[StopText], Tag("<many>"), Field(max_length=4)],
    Discriminator(form),
]
_PRIORITIES = {"priority": 1, "flex": -1}
Share = Annotated[float, Field(gt=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]


class StreamOptions(Record):
    """Of a stream: whether its last chunk counts tokens. Chunks are never padded."""

    include_usage: bool = False
    include_obfuscation: Literal[False] = False


class Asking(Record):
    """How to answer.

    `temperature` is 1 where it is absent, as in OpenAI's API; 0 is greedy. `top_k`, `min_p`,
    `typical_p` and `repetition_penalty` are extras that other servers of open models have too.
    A `service_tier` of `priority` is computed first where several wait, and `flex` last.
    Parameters in the last block are accepted and have no effect.
    """

    model: str
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Share = 1.0
    top_k: Annotated[int, Field(ge=-1)] = 0
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    typical_p: Share = 1.0
    repetition_penalty: Annotated[float, Field(gt=0)] = 1.0
    frequency_penalty: Penalty = 0.0
    presence_penalty: Penalty = 0.0
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] = Field(default_factory=dict)
    stop: Stop | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    n: Annotated[int, Field(ge=1, le=8)] = 1
    stream: bool = False
    stream_options: StreamOptions | None = None
    service_tier: Literal["auto", "default", "flex", "priority", "scale"] | None = None

    metadata: dict[str, str] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    store: bool | None = None
    user: str | None = None

    @property
    def wants_usage(self) -> bool:
        """True where a stream ends with the counts of tokens."""
        return self.stream_options is not None and self.stream_options.include_usage

    def options(self) -> Options:
        """Return the same for the model.

        Raises:
            ApiError: 400, with the parameter at fault.
        """
        stops = () if self.stop is None else self.stop
        return Options(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=max(0, self.top_k),
            min_p=self.min_p,
            typical_p=self.typical_p,
            repetition_penalty=self.repetition_penalty,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            logit_bias={_id(id): bias for id, bias in self.logit_bias.items()},
            stop=(stops,) if isinstance(stops, str) else tuple(stops),
            seed=self.seed,
            priority=_PRIORITIES.get(self.service_tier or "auto", 0),
        )


def read_object(body: bytes) -> dict[str, Any]:
    """Read a body.

    Raises:
        ApiError: 400, it is no JSON object.
    """
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON: {error}", code="invalid_json") from None
    if not isinstance(value, dict):
        raise ApiError(400, "the body must be a JSON object", code="invalid_json")
    return value


def take(kind: type[R], body: dict[str, Any]) -> R:
    """Take the parameters of one record out of a body.

    Raises:
        ApiError: 400, with the parameter at fault.
    """
    return whole(kind, {name: body.pop(name) for name in kind.model_fields if name in body})


def whole(kind: type[R], body: Mapping[str, Any]) -> R:
    """Read what is left of a body; a parameter that the record does not have is at fault.

    Raises:
        ApiError: 400, with the parameter at fault.
    """
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        raise from_validation(error) from None


def take_asking(body: dict[str, Any]) -> Asking:
    """Take what both ways to ask have out of a body.

    Raises:
        ApiError: 400, with the parameter at fault.
    """
    asking = take(Asking, body)
    if asking.stream_options is not None and not asking.stream:
        raise invalid("stream_options", "stream_options needs stream to be true")
    return asking


def without_neutral(
    record: Mapping[str, Any], later: Mapping[str, tuple[Any, ...]], prefix: str = ""
) -> dict[str, Any]:
    """Drop what asks for nothing, null included; refuse what is not supported yet.

    Args:
        record: what was sent.
        later: by parameter, the values of it that ask for nothing.
        prefix: where the record stands in the body.

    Raises:
        ApiError: 400, with the parameter at fault.
    """
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


def invalid(param: str, message: str) -> ApiError:
    """Return the answer to a value that cannot be meant."""
    return ApiError(400, message, param=param, code="invalid_value")


def _id(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise invalid("logit_bias", f"logit_bias: {text:.40} is no id of a token")
    return int(text)
