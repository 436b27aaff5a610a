"""What every request passes: name, key, limits, and the last net under unexpected errors."""

from __future__ import annotations

import hmac
import logging
import uuid

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from puna.errors import UsageError
from puna.serve.errors import ApiError, server_error, too_large, too_many

MAX_BODY = 8 << 20
_OPEN = "/health"
_log = logging.getLogger("puna.serve")


class Gate:
    """ASGI middleware; nothing behind it runs without the key, except the health check.

    Args:
        app: what is behind it.
        api_key: what `Authorization: Bearer` must carry.
        max_open: requests that may be open at once; more are answered with 429.
    """

    def __init__(self, app: ASGIApp, *, api_key: str, max_open: int) -> None:
        self._app = app
        self._key = api_key.encode()
        self._max_open = max_open
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = f"req_{uuid.uuid4().hex}"
        started = False

        async def named(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], (b"x-request-id", name.encode())]
            await send(message)

        try:
            await self._admit(scope, receive, named)
        except ClientDisconnect:
            pass  # there is nobody to tell
        except Exception as error:
            # What was asked may be private: the log gets the kind of error and where to look.
            _log.error("%s failed: %s", name, type(error).__name__)
            _log.debug("%s", name, exc_info=error)
            if not started:
                answer = server_error(f"an unexpected error; the server's log has it as {name}")
                await answer.response()(scope, receive, named)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path == _OPEN:
            await self._app(scope, receive, send)
        elif (refusal := self._refusal(scope, path)) is not None:
            await refusal.response()(scope, receive, send)
        else:
            self._open += 1
            try:
                await self._app(scope, _limited(receive), send)
            finally:
                self._open -= 1

    def _refusal(self, scope: Scope, path: str) -> ApiError | None:
        headers = scope["headers"]
        if not self._knows([value for key, value in headers if key == b"authorization"]):
            if not path.startswith("/v1"):
                return no_route(scope["method"], path)
            return ApiError(
                401,
                "wrong or missing API key; send it as 'Authorization: Bearer KEY'",
                code="invalid_api_key",
                headers={"www-authenticate": "Bearer"},
            )
        if self._open >= self._max_open:
            return too_many(self._max_open)
        lengths = [value for key, value in headers if key == b"content-length"]
        if any(int(value) > MAX_BODY for value in lengths):
            return too_large(MAX_BODY)
        return None

    def _knows(self, given: list[bytes]) -> bool:
        scheme, _, key = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
        return hmac.compare_digest(key.strip(), self._key) and scheme.lower() == b"bearer"


def check_key(api_key: str) -> None:
    """Raise UsageError for a key that no client could send."""
    if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise UsageError(
            "an API key must be visible ASCII characters without spaces",
            remedy="leave it out to have one made",
        )


def no_route(method: str, path: str) -> ApiError:
    """Return the answer to a path that leads nowhere."""
    return ApiError(404, f"there is no {method:.20} {path:.200}", code="unknown_url")


def _limited(receive: Receive) -> Receive:
    """Count the bytes of a body that does not say its length, or lies about it."""
    taken = 0

    async def limited() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > MAX_BODY:
            raise too_large(MAX_BODY)
        return message

    return limited
