"""The cases of bench/engine.py: what each tool is asked to do, and what of it is the figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from bench.engine_lab import ROOM, Entry, Lab, Reading, cache_bytes, weight_bytes
from bench.engine_models import EDITS, MODELS, Cycles, cycles, drawn, edited, shared_text, walk
from bench.engine_peers import MissingError, Server, Worker, serve_puna
from puna.reading import text_of

CONTEXTS = (128, 512, 2048, 4096, 8192)
PROMPT, SHORT, SAID = 512, 16, 128
SEQUENCES, BATCH_PROMPT, BATCH_SAID = 16, 64, 32
PREFIX = 1000
STORY = "Once upon a time"


def after_first(stamps: Sequence[tuple[float, Sequence[int]]]) -> tuple[float, int, int]:
    """Return seconds, ids and steps from when every prompt had its first id until the last id.

    Raises:
        MissingError: some prompt never got one, or nothing came after.
    """
    waiting = set(range(len(stamps[0][1]))) if stamps else {0}
    for place, (_, counts) in enumerate(stamps):
        waiting -= {number for number, count in enumerate(counts) if count}
        if not waiting:
            rest = stamps[place + 1 :]
            if not rest:
                break
            ids = sum(sum(counts) for _, counts in rest)
            return rest[-1][0] - stamps[place][0], ids, len(rest)
    raise MissingError("no id came after the first ones")


def matching(said: Sequence[Sequence[int]], known: Sequence[Sequence[int]]) -> float:
    """Return the share of ids that are the known ones."""
    right = sum(
        a == b for x, y in zip(said, known, strict=True) for a, b in zip(x, y, strict=False)
    )
    return right / max(1, sum(map(len, known)))


def decoded(worker: Worker, prompts: list[list[int]], known: list[list[int]], n: int) -> Reading:
    """Return ids a second after the first ones, over all prompts."""
    found = worker.ask("run", prompts=prompts, tokens=n)
    seconds, ids, steps = after_first(found["stamps"])
    facts = {"ids per step": ids / steps / len(prompts)}
    if any(known):
        facts["as known"] = matching(found["said"], known)
    return Reading(ids / seconds, facts)


@cache
def _cycles(vocab: int) -> Cycles:
    return cycles(vocab)


def _along(lab: Lab, repeat: int, prompt: int, n: int) -> tuple[list[int], list[int]]:
    """Return a prompt of which nothing repeats, and what follows on it where that is known."""
    if lab.model.config is None:  # not made here, so what it says is its own
        tokenizer = text_of(lab.folder).tokenizer
        if tokenizer is not None and prompt == SHORT:
            return tokenizer.encode(STORY), []
        return drawn(lab.model.vocab, prompt, repeat), []
    cycle, start = _cycles(lab.model.vocab).long, 1000 + 300 * repeat
    return walk(cycle, start, prompt), walk(cycle, start + prompt, n)


def prefill(lab: Lab) -> list[Entry]:
    """One prompt of 512 random ids, other ones each time, until its first token."""
    length = min(PROMPT, lab.model.context // 2)

    def worker(tool: str, format: str, repeat: int) -> Reading:
        prompt = drawn(lab.model.vocab, length, seed=repeat)
        found = lab.worker(tool, format).ask("run", prompts=[prompt], tokens=1)
        return Reading(length / found["stamps"][-1][0], {})

    def llama(kind: str, _: int) -> Reading:
        said = lab.llama.bench(lab.file(kind), "-p", str(length), "-n", "0")
        return Reading(said["avg_ts"], {})

    return _lines(lab, f"{length} tokens", worker, llama)


def decode(lab: Lab) -> list[Entry]:
    """128 tokens after a prompt of 16."""

    def worker(tool: str, format: str, repeat: int) -> Reading:
        prompt, known = _along(lab, repeat, SHORT, SAID)
        return decoded(lab.worker(tool, format), [prompt], [known], SAID)

    def llama(kind: str, _: int) -> Reading:
        said = lab.llama.bench(lab.file(kind), "-p", "0", "-n", str(SAID), "-d", str(SHORT))
        return Reading(said["avg_ts"], {})

    return _lines(lab, "one stream", worker, llama)


def cria(lab: Lab) -> list[Entry]:
    """`decode` on the model that ships with Puna."""
    inside = replace(lab, model=MODELS["cria"])
    return [e for e in decode(inside) if e.tool in ("puna", "llama.cpp", "transformers")]


def _lines(
    lab: Lab,
    what: str,
    worker: Callable[[str, str, int], Reading],
    llama: Callable[[str, int], Reading],
) -> list[Entry]:
    found = []
    for tool, format in lab.pairs("puna", "llama.cpp", "transformers", "openvino"):
        theirs = tool == "llama.cpp"
        measure = partial(llama, format) if theirs else partial(worker, tool, format)
        found.append(Entry(what, tool, format, measure, warm=not theirs))  # it warms itself up
    return found


def _completion(server: Server, prompt: list[int], n: int) -> dict[str, Any]:
    body = {"prompt": prompt, "n_predict": n, "temperature": 0, "ignore_eos": True}
    return server.ask("POST", "/completion", {**body, "return_tokens": True, "cache_prompt": True})


def repeat(lab: Lab) -> list[Entry]:
    """256 tokens that repeat the prompt of 256 but for its edits."""

    def text(number: int) -> tuple[list[int], list[int]]:
        if lab.model.config is None:
            raise MissingError(f"{lab.model.name} does not repeat its prompt reliably")
        found, start = _cycles(lab.model.vocab), 7 * number
        return edited(found, start, number), list(walk(found.short, start, len(found.short)))

    def worker(tool: str, format: str, number: int) -> Reading:
        prompt, known = text(number)
        return decoded(lab.worker(tool, format), [prompt], [known], len(known))

    def llama(kind: str, number: int) -> Reading:
        prompt, known = text(number)
        server = _llama_server(lab, kind, 1, ROOM)
        said = _completion(server, prompt, len(known))
        share = matching([said["tokens"]], [known])
        return Reading(said["timings"]["predicted_per_second"], {"as known": share})

    lines = _lines(lab, f"one id in {EDITS} edited", worker, llama)
    return [replace(e, warm=True) for e in lines if e.tool in ("puna", "llama.cpp")]


def _llama_server(lab: Lab, kind: str, sequences: int, context: int) -> Server:
    path = lab.file(kind)
    found: Server = lab.pool.get(
        (path, sequences), lambda: lab.llama.serve(path, sequences, context)
    )
    return found


def batch(lab: Lab) -> list[Entry]:
    """16 sequences at once: prompts of 64, then 32 tokens each."""

    def worker(tool: str, format: str, number: int) -> Reading:
        pairs = [
            _along(lab, SEQUENCES * number + n, BATCH_PROMPT, BATCH_SAID) for n in range(SEQUENCES)
        ]
        open_ = lab.worker(tool, format, batch=SEQUENCES)
        return decoded(open_, [p for p, _ in pairs], [k for _, k in pairs], BATCH_SAID)

    def llama(kind: str, _: int) -> Reading:
        said = lab.llama.batched(lab.file(kind), BATCH_PROMPT, BATCH_SAID, SEQUENCES)
        return Reading(said["speed_tg"], {})

    lines = _lines(lab, f"{SEQUENCES} sequences", worker, llama)
    return [e for e in lines if e.tool != "openvino"]


def talks(repeat: int, words: int) -> list[list[dict[str, str]]]:
    """Return 16 conversations with one long system message, another one for every repeat."""
    system = {"role": "system", "content": shared_text(words, repeat)}
    questions = (f"{shared_text(6, 100 * repeat + n)}?" for n in range(SEQUENCES))
    return [[system, {"role": "user", "content": question}] for question in questions]


def prefix(lab: Lab) -> list[Entry]:
    """16 requests over HTTP that share 1,000 tokens, until the last has its one token."""
    lab_text = text_of(lab.folder)
    tokenizer, template = lab_text.tokenizer, lab_text.template
    room = PREFIX + 200

    def bodies(number: int) -> tuple[list[list[dict[str, str]]], list[list[int]]]:
        lab.need(room)
        if tokenizer is None or template is None:
            raise MissingError("the model has no chat template")
        words = PREFIX * 1000 // len(tokenizer.encode(shared_text(1000, number)))
        found = talks(number, words)
        ids = [
            list(template.render_ids(talk, tools=None, options={}, tokenizer=tokenizer))
            for talk in found
        ]
        return found, ids

    def puna(format: str, number: int) -> Reading:
        found, ids = bodies(number)
        path = lab.opened(format)
        server: Server = lab.pool.get(
            ("serve", path), lambda: serve_puna(path, SEQUENCES, room, lab.work, lab.threads)
        )
        ask = {"model": path.name, "max_tokens": 1, "temperature": 0}
        seconds = server.ask_all(
            "/v1/chat/completions", [{**ask, "messages": talk} for talk in found]
        )
        return Reading(seconds, {"ids each": len(ids[0])})

    def llama(kind: str, number: int) -> Reading:
        _, ids = bodies(number)
        server = _llama_server(lab, kind, SEQUENCES, room)
        ask = {"n_predict": 1, "temperature": 0, "cache_prompt": True}
        seconds = server.ask_all("/completion", [{**ask, "prompt": one} for one in ids])
        return Reading(seconds, {"ids each": len(ids[0])})

    what = f"{SEQUENCES} requests, {PREFIX} tokens shared"
    # In one format: a peer that computes the prefix for every request takes minutes.
    pairs = [p for p in lab.pairs("puna", "llama.cpp") if p[1] in ("int8", "Q8_0")]
    return [
        Entry(what, tool, format, partial(puna, format), warm=True)
        if tool == "puna"
        else Entry(what, tool, format, partial(llama, format), warm=False)
        for tool, format in pairs
    ]


def memory(lab: Lab) -> list[Entry]:
    """A fresh process that answers one request; its peak of resident memory in MB."""
    length = min(PROMPT, lab.model.context // 2)

    def reading(format: str, peak: int) -> Reading:
        held = {"weights": weight_bytes(lab, format) / 1e6}
        held["cache"] = cache_bytes(lab, length + SAID) / 1e6
        return Reading(peak / 1e6, held)

    def worker(tool: str, format: str, number: int) -> Reading:
        open_ = lab.start(lab.job(tool, format, ROOM))
        try:
            prompt = drawn(lab.model.vocab, length, number)
            open_.ask("run", prompts=[prompt], tokens=SAID)
            return reading(format, open_.ask("peak")["peak"])
        finally:
            open_.close()

    def llama(kind: str, number: int) -> Reading:
        server = lab.llama.serve(lab.file(kind), 1, min(ROOM, lab.model.context))
        try:
            _completion(server, drawn(lab.model.vocab, length, number), SAID)
            return reading(kind, server.peak())
        finally:
            server.close()

    lines = _lines(lab, f"{length} + {SAID} tokens", worker, llama)
    return [replace(line, warm=False) for line in lines]


def load(lab: Lab) -> list[Entry]:
    """A fresh process until its first token, weights in the page cache."""

    def worker(tool: str, format: str, number: int) -> Reading:
        open_ = lab.start(lab.job(tool, format, ROOM))
        try:
            prompt, _ = _along(lab, number, SHORT, 1)
            first = open_.ask("run", prompts=[prompt], tokens=1)["seconds"]
            steps = {name: open_.ready[name] for name in ("imports", "load")} | {"first": first}
            return Reading(open_.age(), steps)
        finally:
            open_.close()

    def llama(kind: str, _: int) -> Reading:
        room = min(ROOM, lab.model.context)
        return Reading(lab.llama.first_token(lab.file(kind), room), {})

    lines = _lines(lab, "start to first token", worker, llama)
    return [replace(line, warm=True) for line in lines]  # which brings the files into memory


def context(lab: Lab) -> list[Entry]:
    """Milliseconds of a token at growing contexts, and what of keys and values it reads."""
    room = max(CONTEXTS) + 256
    reads = {c: cache_bytes(lab, c) / 1e6 for c in CONTEXTS}

    def reading(format: str, held: int, ms: float, more: Mapping[str, float]) -> Reading:
        read = {"weights": weight_bytes(lab, format) / 1e6, "cache": reads[held]}
        return Reading(ms, {**more, **read, "GB/s": sum(read.values()) / ms})

    def worker(format: str, held: int, number: int) -> Reading:
        lab.need(held + BATCH_SAID)
        prompt, known = _along(lab, number, held, BATCH_SAID)
        open_ = lab.worker("puna", format, context=room)
        found = decoded(open_, [prompt], [known], BATCH_SAID)
        return reading(format, held, 1000 / found.value, found.facts)

    def llama(kind: str, held: int, _: int) -> Reading:
        lab.need(held + BATCH_SAID)
        words = ("-p", "0", "-n", str(BATCH_SAID), "-d", str(held))
        said = lab.llama.bench(lab.file(kind), *words)
        return reading(kind, held, 1000 / said["avg_ts"], {})

    return [
        Entry(
            f"after {held} tokens",
            tool,
            format,
            partial(llama if tool == "llama.cpp" else worker, format, held),
            warm=tool == "puna" and held == CONTEXTS[0],
        )
        for tool, format in lab.pairs("puna", "llama.cpp")
        if format != "Q4_K_M"
        for held in CONTEXTS
    ]


@dataclass(frozen=True, slots=True)
class Case:
    """A case: its heading, the unit of its figures, and whether more is better."""

    title: str
    unit: str
    more: bool
    entries: Callable[[Lab], list[Entry]]


CASES = {
    "prefill": Case("Prefill of one prompt", "tok/s", True, prefill),
    "decode": Case("Decode, one stream", "tok/s", True, decode),
    "repeat": Case("Decode of text that repeats its prompt", "tok/s", True, repeat),
    "batch": Case("Decode, 16 sequences, in total", "tok/s", True, batch),
    "prefix": Case("A shared prefix, time to all first tokens", "s", False, prefix),
    "cria": Case("cria, one stream", "tok/s", True, cria),
    "memory": Case("Peak of resident memory", "MB", False, memory),
    "load": Case("Load to first token", "s", False, load),
    "context": Case("Cost with context", "ms/token", False, context),
}
