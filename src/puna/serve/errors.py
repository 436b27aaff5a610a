"""Errors on the wire: the one envelope that OpenAI's clients read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from starlette.responses import JSONResponse

from puna.errors import ContextError, PunaError, UsageError

_CODES = {
    "missing": "missing_required_parameter",
    "extra_forbidden": "unknown_parameter",
    "literal_error": "invalid_value",
}


class ApiError(Exception):
    """An answer that is an error.

    Args:
        status: of HTTP.
        message: one sentence for the client's user.
        param: the parameter at fault, such as `messages[0].role`.
        code: for programs.
        kind: OpenAI's `type`.
        headers: more of them.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str = "invalid_request_error",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = _short(message, 500)
        self.param = None if param is None else _short(param, 100)
        self.code = code
        self.kind = kind
        self.headers = headers

    def body(self) -> dict[str, Any]:
        """Return the envelope."""
        inner = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        return {"error": inner}

    def response(self) -> JSONResponse:
        """Return the answer of HTTP."""
        return JSONResponse(self.body(), self.status, self.headers)


def server_error(message: str, status: int = 500) -> ApiError:
    """Return an error that is not the client's."""
    return ApiError(status, message, kind="server_error", code="server_error")


def too_many(limit: int) -> ApiError:
    """Return the answer to a request beyond the limit of open ones."""
    return ApiError(
        429,
        f"{limit} requests are open already; try again in a moment",
        kind="rate_limit_error",
        code="rate_limit_exceeded",
        headers={"retry-after": "1"},
    )


def too_large(limit: int) -> ApiError:
    """Return the answer to a body beyond the limit of bytes."""
    return ApiError(413, f"the body is larger than {limit:,} bytes", code="request_too_large")


def too_long(prompt_tokens: int, context: int, param: str = "messages") -> ApiError:
    """Return the answer to a prompt that leaves no room to answer."""
    return ApiError(
        400,
        f"this model's context is {context} tokens, but {param} comes to {prompt_tokens}; "
        "shorten it: nothing is cut in silence",
        param=param,
        code="context_length_exceeded",
    )


def from_puna(error: PunaError, param: str = "messages") -> ApiError:
    """Translate an error of ours about a request; paths of this machine stay here.

    Args:
        error: what went wrong.
        param: the parameter at fault, where the error does not say.
    """
    if isinstance(error, ContextError):
        return too_long(error.prompt_tokens, error.context, param)
    where = error.where if isinstance(error, UsageError) else None
    message = f"{error.what}; {error.remedy}" if error.remedy else error.what
    return ApiError(400, message, param=where or param, code="invalid_value")


def from_validation(error: ValidationError) -> ApiError:
    """Translate the first thing that pydantic has to say, with the parameter's name."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    param = parameter(first["loc"])
    kind = first["type"]
    if kind == "missing":
        message = f"{param} is required"
    elif kind == "extra_forbidden":
        message = f"there is no parameter {_short(param, 100)!r}"
    else:
        message = f"{_short(param, 100)}: {first['msg'].removeprefix('Input ')}"
    code = _CODES.get(kind, "invalid_type" if kind.endswith("_type") else "invalid_value")
    return ApiError(400, message, param=param or None, code=code)


def parameter(location: tuple[int | str, ...]) -> str:
    """Write a place as clients would, `messages[0].content`; tags of unions are left out."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not part.startswith("<"):
            path += f".{part}" if path else part
    return path


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
