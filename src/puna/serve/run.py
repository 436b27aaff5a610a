"""From a host and a port to a running server."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import h11
import uvicorn
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from uvicorn.protocols.http.h11_impl import H11Protocol

from puna.errors import ServeError
from puna.generate import LanguageModel
from puna.seal import verify
from puna.serve.app import app_of
from puna.serve.completion import Desk
from puna.serve.errors import ApiError
from puna.text import format_names

# Seconds that clients have, when the server stops, to take the end of their answers.
_LAST_WORDS = 3


def serve(
    lm: LanguageModel,
    *,
    host: str,
    port: int,
    api_key: str,
    model_id: str,
    on_ready: Callable[[str], None],
    on_remark: Callable[[str], None] | None = None,
    insist: bool = True,
) -> None:
    """Serve a model until Ctrl-C; requests that are open then end with an error.

    The golden prompts of a sealed model run first.

    Args:
        lm: what answers; nothing else may use it meanwhile.
        host: the address to bind.
        port: where to listen; 0 takes a free one.
        api_key: clients send it as `Authorization: Bearer KEY`.
        model_id: what clients call the model.
        on_ready: called once the server accepts, with an address that reaches it from here, such
            as `http://127.0.0.1:8000`.
        on_remark: called with what drifts from the seal, in words.
        insist: whether to refuse a model that differs from its seal; without it, that is a remark.

    Raises:
        SealError: the model is not what was sealed.
        ServeError: the address cannot be bound, or the model has no chat template.
        UsageError: a key that no client could send.
    """
    desk = Desk(lm, model_id)
    with listen(host, port) as listener:
        if lm.template is None or lm.tokenizer is None:
            missing = "chat template" if lm.template is None else "tokenizer"
            raise ServeError(
                f"{model_id} cannot be served: it has no {missing}",
                where=str(lm.parts.source.path),
                remedy="put its tokenizer and chat_template.jinja in the folder, or choose its "
                f"published format with --template: {', '.join(format_names())}",
            )
        _check_seal(lm, model_id, insist, on_remark)
        app = app_of(desk, api_key=api_key)
        server = make_server(app, desk, listener, on_ready)
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


def _check_seal(
    lm: LanguageModel, model_id: str, insist: bool, on_remark: Callable[[str], None] | None
) -> None:
    found = verify(lm.parts, lm.parts.seals, name=model_id)
    if insist:
        found.insist()
    for check in found.remarks:
        if on_remark is not None:
            on_remark(f"{check.name}: {check.said}")


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; nobody else can take its port from here on.

    Raises:
        ServeError: a port or host that cannot be meant, or a port in use.
    """
    if not 0 <= port <= 65535:
        raise ServeError(
            f"there is no port {port}", remedy="choose one up to 65535; 0 takes a free one"
        )
    try:
        if not host:
            raise OSError("an empty name")
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        raise ServeError(
            f"no address is known for the host {host!r:.120}: {_reason(error)}",
            remedy="use --host 127.0.0.1 to be reached from this machine only",
        ) from error
    family, kind, protocol, _, address = found[0]
    try:
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot_bind(host, port, error) from error
    try:
        if os.name == "posix":  # elsewhere it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise _cannot_bind(host, port, error) from error
    return listener


def make_server(
    app: FastAPI, desk: Desk, listener: socket.socket, on_ready: Callable[[str], None]
) -> uvicorn.Server:
    """Return the server of an app around a desk; `run(sockets=[listener])` runs it."""
    config = uvicorn.Config(
        app,
        http=_Http,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )
    return _Server(config, desk, lambda: on_ready(address_of(listener)))


def address_of(listener: socket.socket) -> str:
    """Return the URL by which a client on this machine reaches a listener."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _cannot_bind(host: str, port: int, error: OSError) -> ServeError:
    return ServeError(
        f"cannot listen at {host:.120}, port {port}: {_reason(error)}",
        remedy="choose another with --port, or 0 for a free one",
    )


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


class _Server(uvicorn.Server):
    """Tells when it accepts, and leaves nobody waiting when it stops."""

    def __init__(self, config: uvicorn.Config, desk: Desk, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._desk = desk
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        try:
            self._on_ready()
        except BaseException:
            await self.shutdown(sockets)
            raise

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what the engine does, let clients hear of it, drop those that do not listen."""
        for server in self.servers:
            server.close()
        await run_in_threadpool(self._desk.stop)
        state = self.server_state
        last = time.monotonic() + _LAST_WORDS
        while state.tasks and time.monotonic() < last and not self.force_exit:
            await asyncio.sleep(0.05)
        if state.tasks:
            for connection in list(state.connections):
                connection.transport.abort()
        self.force_exit = False  # nothing is left to wait for, and the lifespan is to end well
        await super().shutdown(sockets)


class _Http(H11Protocol):
    """Answers what is not HTTP in the envelope, and never within another answer."""

    def send_400_response(self, msg: str) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = ApiError(400, "this is not HTTP/1.1", code="invalid_http").response().body
            head = (
                "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + bytes(body))
        self.transport.close()
