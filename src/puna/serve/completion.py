"""Between the wire and the engine: one chat request becomes `n` requests of ids and back."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from starlette.concurrency import run_in_threadpool

from puna.engine import Completion, EngineThread, Event, Request
from puna.engine.thread import Sink
from puna.errors import PunaError
from puna.generate import LanguageModel, Options
from puna.serve.errors import ApiError, from_puna, server_error, too_long
from puna.serve.wire import ChatRequest, choice, parse, token_logprob, usage
from puna.text import TextStream, TextWatch


@dataclass(frozen=True, slots=True)
class Piece:
    """What a step did for answer `index`: its new text, and its completion if it ended."""

    index: int
    text: str
    completion: Completion | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    """One of the `n` answers in the making."""

    request: Request
    watch: TextWatch

    def sink(self, index: int, loop: asyncio.AbstractEventLoop, out: asyncio.Queue[Piece]) -> Sink:
        """Return what the engine's thread calls; the watch is asked there and nowhere else."""

        def take(event: Event) -> None:
            try:
                piece = self._piece(index, event)
            except Exception as error:  # it must not end the engine's thread
                piece = Piece(index, "", error=f"{type(error).__name__}: {error}")
            with suppress(RuntimeError):  # the loop has been closed: nobody listens
                loop.call_soon_threadsafe(out.put_nowait, piece)

        return take

    def _piece(self, index: int, event: Event) -> Piece:
        done = event.completion
        if done is None:
            return Piece(index, self.watch.take())
        if done.finish == "error":
            return Piece(index, "", error=done.error or "the request failed")
        return Piece(index, self.watch.finish(), done)


class Chat:
    """One request for a chat completion, from its submission to its last piece."""

    def __init__(
        self, desk: Desk, wire: ChatRequest, answers: Sequence[_Answer], prompt: Sequence[int]
    ) -> None:
        self.wire = wire
        self._desk = desk
        self._answers = answers
        self._prompt = prompt
        self._pieces: asyncio.Queue[Piece] = asyncio.Queue()
        self._head = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": wire.model,
        }

    def submit(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hand all answers to the engine; waits for the step that is running.

        Raises:
            ApiError: the engine refused one; none is left running.
        """
        for index, answer in enumerate(self._answers):
            try:
                self._desk.submit(answer.request, answer.sink(index, loop, self._pieces))
            except BaseException:
                self.cancel()
                raise

    def cancel(self) -> None:
        """Forget what has not ended; returns at once."""
        for answer in self._answers:
            self._desk.cancel(answer.request.id)

    async def whole(self) -> dict[str, Any]:
        """Return the response object when every answer has ended.

        Raises:
            ApiError: the engine failed.
        """
        texts = ["" for _ in self._answers]
        choices: list[dict[str, Any]] = [{} for _ in self._answers]
        said = 0
        async for piece in self._until_done():
            texts[piece.index] += piece.text
            if piece.completion is not None:
                said += piece.completion.usage.completion_tokens
                choices[piece.index] = choice(
                    piece.index,
                    {"role": "assistant", "content": texts[piece.index], "refusal": None},
                    piece.completion.finish,
                    await self._logprobs(piece.completion),
                    field="message",
                )
        return {
            **self._head,
            "object": "chat.completion",
            "choices": choices,
            "usage": usage(len(self._prompt), said),
        }

    async def chunks(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the objects of a stream. Log probabilities come with an answer's last chunk.

        Raises:
            ApiError: the engine failed.
        """
        said = 0
        for index in range(len(self._answers)):
            yield self._chunk(index, {"role": "assistant", "content": ""})
        async for piece in self._until_done():
            if piece.text:
                yield self._chunk(piece.index, {"content": piece.text})
            if piece.completion is not None:
                said += piece.completion.usage.completion_tokens
                logprobs = await self._logprobs(piece.completion)
                yield self._chunk(piece.index, {}, piece.completion.finish, logprobs)
        if self.wire.wants_usage:
            yield {**self._chunk(0, {}), "choices": [], "usage": usage(len(self._prompt), said)}

    async def _until_done(self) -> AsyncIterator[Piece]:
        left = len(self._answers)
        while left:
            piece = await self._pieces.get()
            if piece.error is not None:
                raise self._desk.failure(piece.error)
            left -= piece.completion is not None
            yield piece

    def _chunk(
        self,
        index: int,
        delta: dict[str, Any],
        finish: str | None = None,
        logprobs: list[dict[str, Any]] | None = None,
    ) -> dict[str, Any]:
        chunk = {
            **self._head,
            "object": "chat.completion.chunk",
            "choices": [choice(index, delta, finish, logprobs, field="delta")],
        }
        return {**chunk, "usage": None} if self.wire.wants_usage else chunk

    async def _logprobs(self, done: Completion) -> list[dict[str, Any]] | None:
        if not self.wire.logprobs:
            return None
        return await run_in_threadpool(self._desk.logprobs, self._prompt, done)


class Desk:
    """Takes bodies of HTTP, asks the engine. Methods but `start` and `stop` suit any thread."""

    def __init__(self, lm: LanguageModel, model_id: str) -> None:
        self.model_id = model_id
        self._lm = lm
        self._engine: EngineThread | None = None
        self._closing = False

    def start(self) -> None:
        """Start the engine's thread."""
        self._closing = False
        self._engine = EngineThread(self._lm.engine)

    def stop(self) -> None:
        """Stop it; requests that have not ended end with an error. Waits for the running step."""
        self._closing = True
        if self._engine is not None:
            self._engine.close()

    def prepare(self, body: bytes) -> Chat:
        """Read a body and render its messages; may take a while for large ones.

        Raises:
            ApiError: what the client must change.
        """
        wire = parse(body)
        if wire.model != self.model_id:
            raise self.no_model(wire.model)
        try:
            prompt = self._lm.render([message.plain() for message in wire.messages])
            context = self._lm.spec.context
            if len(prompt) >= context:
                raise too_long(len(prompt), context)
            room = context - len(prompt)
            answers = [self._answer(wire, prompt, room, index) for index in range(wire.n)]
        except PunaError as error:
            raise from_puna(error) from None
        return Chat(self, wire, answers, prompt)

    def no_model(self, name: str) -> ApiError:
        """Return the answer to a request for a model that is not here."""
        return ApiError(
            404,
            f"the model {name:.100} does not exist; this server has {self.model_id}",
            param="model",
            code="model_not_found",
        )

    def submit(self, request: Request, sink: Sink) -> None:
        """See `EngineThread.submit`; errors are ApiError."""
        if self._closing or self._engine is None:
            raise server_error("the server is shutting down", 503)
        try:
            self._engine.submit(request, sink)
        except PunaError as error:
            if self._closing:
                raise server_error("the server is shutting down", 503) from None
            raise from_puna(error) from None

    def cancel(self, request_id: str) -> None:
        """Forget a request; one that ended already is no error."""
        if self._engine is not None:
            self._engine.cancel(request_id)

    def failure(self, error: str) -> ApiError:
        """Return the answer to a request that the engine could not finish."""
        if self._closing:
            return server_error("the server is shutting down", 503)
        return server_error(f"the engine failed: {error:.200}")

    def logprobs(self, prompt: Sequence[int], done: Completion) -> list[dict[str, Any]]:
        """Return the log probabilities of an answer's tokens.

        The texts of the tokens, joined, are the text of the answer; a token that is only a part
        of a character has none, and the one that completes it has all of it.
        """
        tokenizer = self._lm.tokenizer
        assert tokenizer is not None  # or the messages could not have been rendered
        stream = TextStream(tokenizer, prompt)
        texts = [stream.push(token) for token in done.token_ids]
        if texts:
            texts[-1] += stream.finish()
        return [token_logprob(t, p) for t, p in zip(texts, done.logprobs, strict=True)]

    def _answer(self, wire: ChatRequest, prompt: Sequence[int], room: int, index: int) -> _Answer:
        options = Options(
            max_tokens=wire.limit or room,
            temperature=wire.temperature,
            top_p=wire.top_p,
            top_k=max(0, wire.top_k),
            min_p=wire.min_p,
            repetition_penalty=wire.repetition_penalty,
            stop=(*wire.stops, *self._lm.turn_stops()),
            seed=None if wire.seed is None else wire.seed + index,
        )
        request, watch = self._lm.request(prompt, options)
        assert watch is not None  # a model that renders messages has a tokenizer
        return _Answer(replace(request, logprobs=wire.logprobs), watch)
