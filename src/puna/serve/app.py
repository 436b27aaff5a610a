"""The routes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from puna.generate import LanguageModel
from puna.serve.completion import Desk, Exchange
from puna.serve.errors import ApiError
from puna.serve.gate import Gate, check_key, no_route
from puna.serve.shapes import model_card

MAX_OPEN = 256
T = TypeVar("T")


def create_app(lm: LanguageModel, *, api_key: str, model_id: str) -> FastAPI:
    """Return the server's application; its lifespan starts and stops the engine's thread.

    Args:
        lm: what answers; nothing else may use it meanwhile.
        api_key: clients send it as `Authorization: Bearer KEY`.
        model_id: what clients call the model.

    Raises:
        UsageError: a key that no client could send.
    """
    return app_of(Desk(lm, model_id), api_key=api_key)


def app_of(desk: Desk, *, api_key: str, max_open: int = MAX_OPEN) -> FastAPI:
    """Return the application around a desk. See `create_app`, and `Gate` for `max_open`."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        desk.start()
        try:
            yield
        finally:
            await run_in_threadpool(desk.stop)

    check_key(api_key)
    app = FastAPI(
        title="Puna",
        lifespan=lifespan,
        openapi_url=None,
        redirect_slashes=False,
        # FastAPI's own would go by the environment, and to other machines.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        exception_handlers={ApiError: _api_error, HTTPException: _http_error},
    )
    app.add_middleware(Gate, api_key=api_key, max_open=max_open)
    _add_routes(app, desk)
    return app


def _add_routes(app: FastAPI, desk: Desk) -> None:
    card = model_card(desk.model_id, int(time.time()))

    @app.get("/health")
    async def health() -> Response:
        return JSONResponse({"status": "ok"})

    @app.get("/v1/models")
    async def models() -> Response:
        return JSONResponse({"object": "list", "data": [card]})

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> Response:
        if name != desk.model_id:
            raise desk.no_model(name)
        return JSONResponse(card)

    @app.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Response:
        return await _answer(request, desk.chat)

    @app.post("/v1/completions")
    async def completions(request: Request) -> Response:
        return await _answer(request, desk.text)


async def _answer(request: Request, read: Callable[[bytes], Exchange]) -> Response:
    """Read a body, hand it in, and answer whole or in pieces."""
    exchange = await run_in_threadpool(read, await request.body())
    await run_in_threadpool(exchange.submit, asyncio.get_running_loop())
    if exchange.asking.stream:
        return _Stream(exchange)
    try:
        whole = await _unless_left(request.receive, exchange.whole())
    finally:
        exchange.cancel()
    return Response(status_code=499) if whole is None else JSONResponse(whole)


class _Stream(StreamingResponse):
    """Server-sent events; a client that leaves ends its request."""

    media_type = "text/event-stream"

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(_events(exchange), headers={"cache-control": "no-cache"})
        self._exchange = exchange

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._exchange.cancel()


async def _events(exchange: Exchange) -> AsyncIterator[str]:
    try:
        async for chunk in exchange.chunks():
            yield _event(chunk)
    except ApiError as error:
        yield _event(error.body())
    else:
        yield "data: [DONE]\n\n"


def _event(value: Any) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}\n\n"


async def _unless_left(receive: Receive, work: Awaitable[T]) -> T | None:
    """Await `work`, or return None as soon as the client has left."""

    async def left() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    doing, leaving = asyncio.ensure_future(work), asyncio.ensure_future(left())
    try:
        await asyncio.wait((doing, leaving), return_when=asyncio.FIRST_COMPLETED)
        return doing.result() if doing.done() else None
    finally:
        doing.cancel()
        leaving.cancel()


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def _http_error(request: Request, error: Exception) -> Response:
    """Answer what the router refuses: paths that lead nowhere and wrong methods."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return no_route(request.method, request.url.path).response()
    answer = ApiError(error.status_code, str(error.detail), headers=error.headers)
    if error.status_code == 405:
        answer.message, answer.code = f"{request.method:.20} is not allowed here", "wrong_method"
    return answer.response()
