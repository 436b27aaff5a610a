"""Between the wire and the engine: one HTTP request becomes requests of ids, and back."""

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
from puna.errors import PunaError, UsageError
from puna.generate import LanguageModel
from puna.generate.options import seed_of
from puna.serve.errors import ApiError, from_puna, server_error, too_long
from puna.serve.shapes import ChatShape, Said, Shape, TextShape, said_of, usage_of
from puna.serve.wire import Call, parse_chat, parse_text
from puna.text import TextWatch


@dataclass(frozen=True, slots=True)
class Piece:
    """What a step did for answer `index`: its new text, and its completion if it ended."""

    index: int
    text: str
    completion: Completion | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    """One of the answers in the making."""

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


class Exchange:
    """One HTTP request for answers, from its submission to its last piece.

    Args:
        desk: where it is handed in.
        call: what was asked.
        shape: what the answers look like.
        answers: `call.asking.n` for each prompt, prompt by prompt.
    """

    def __init__(self, desk: Desk, call: Call, shape: Shape, answers: Sequence[_Answer]) -> None:
        self.asking = call.asking
        self._desk = desk
        self._shape = shape
        self._answers = answers
        self._pieces: asyncio.Queue[Piece] = asyncio.Queue()
        self._done: dict[int, Completion] = {}
        self._head = {
            "id": f"{shape.prefix}{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": call.asking.model,
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
        async for piece in self._until_done():
            index = piece.index
            texts[index] += piece.text
            if (done := piece.completion) is not None:
                said = await self._said(index, done)
                choices[index] = self._shape.answer(index, texts[index], done.finish, said)
        return {
            **self._head,
            "object": self._shape.whole,
            "choices": choices,
            "usage": self._usage(),
        }

    async def chunks(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the objects of a stream. Log probabilities come with an answer's last chunk.

        Raises:
            ApiError: the engine failed.
        """
        for index in range(len(self._answers)):
            if (opening := self._shape.opening(index)) is not None:
                yield self._chunk([opening])
        async for piece in self._until_done():
            if piece.text:
                yield self._chunk([self._shape.piece(piece.index, piece.text, None, None)])
            if (done := piece.completion) is not None:
                said = await self._said(piece.index, done)
                yield self._chunk([self._shape.piece(piece.index, "", done.finish, said)])
        if self.asking.wants_usage:
            yield {**self._chunk([]), "usage": self._usage()}

    async def _until_done(self) -> AsyncIterator[Piece]:
        while len(self._done) < len(self._answers):
            piece = await self._pieces.get()
            if piece.error is not None:
                raise self._desk.failure(piece.error)
            if piece.completion is not None:
                self._done[piece.index] = piece.completion
            yield piece

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        chunk = {**self._head, "object": self._shape.chunk, "choices": choices}
        return {**chunk, "usage": None} if self.asking.wants_usage else chunk

    def _usage(self) -> dict[str, Any]:
        n = self.asking.n
        done = [self._done[index] for index in range(len(self._answers))]
        return usage_of(done[first : first + n] for first in range(0, len(done), n))

    async def _said(self, index: int, done: Completion) -> list[Said] | None:
        request = self._answers[index].request
        if not request.logprobs:
            return None
        return await run_in_threadpool(self._desk.said, request.prompt_ids, done)


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

    def chat(self, body: bytes) -> Exchange:
        """Read a body of chat completions and render its messages; may take a while.

        Raises:
            ApiError: what the client must change.
        """
        call, chat = parse_chat(body)
        self._check_model(call)
        stops = (*call.options.stops(), *self._lm.turn_stops())
        call = replace(call, options=replace(call.options, stop=stops))
        try:
            prompt = self._lm.render([message.plain() for message in chat.messages])
        except PunaError as error:
            raise from_puna(error, "messages") from None
        return Exchange(self, call, ChatShape(), self._answers(call, prompt, "messages"))

    def text(self, body: bytes) -> Exchange:
        """Read a body of completions and encode its prompts; may take a while.

        Raises:
            ApiError: what the client must change.
        """
        call, text = parse_text(body)
        self._check_model(call)
        try:
            prompts = [self._lm.encode(prompt) for prompt in text.prompts()]
        except PunaError as error:
            raise from_puna(error, "prompt") from None
        answers = [a for prompt in prompts for a in self._answers(call, prompt, "prompt")]
        return Exchange(self, call, TextShape(), answers)

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

    def said(self, prompt: Sequence[int], done: Completion) -> list[Said]:
        """Return the tokens of an answer with their log probabilities. See `said_of`."""
        tokenizer = self._lm.tokenizer
        assert tokenizer is not None  # or there would be no watch
        return said_of(tokenizer, prompt, done)

    def _check_model(self, call: Call) -> None:
        if call.asking.model != self.model_id:
            raise self.no_model(call.asking.model)

    def _answers(self, call: Call, prompt: Sequence[int], param: str) -> list[_Answer]:
        """Return what the engine is to be asked for one prompt."""
        context = self._lm.spec.context
        if len(prompt) >= context:
            raise too_long(len(prompt), context, param)
        limit = call.limit or context - len(prompt)
        seeds = [seed_of(call.options.seed, index) for index in range(call.asking.n)]
        try:
            return [_Answer(*self._request(call, prompt, limit=limit, seed=seed)) for seed in seeds]
        except UsageError as error:
            if call.form is not None and (error.where or "").startswith(call.form.option):
                raise call.form.refusal(error.what) from None
            raise from_puna(error, param) from None
        except PunaError as error:
            raise from_puna(error, param) from None

    def _request(
        self, call: Call, prompt: Sequence[int], *, limit: int, seed: int | None
    ) -> tuple[Request, TextWatch]:
        options = replace(call.options, max_tokens=limit, seed=seed)
        request, watch = self._lm.request(prompt, options)
        if watch is None:
            raise UsageError("this model has no tokenizer, and the wire carries text")
        return request, watch
