"""One library in a process of its own: one JSON request a line, one JSON answer a line.

Run by bench/engine_peers.py with `{"tool": …, "model": …, "format": …, "threads": …, "context": …,
"batch": …}` as its one argument, in an environment that has the library and perhaps nothing of
Puna. It loads once, says so, and then answers:

    {"op": "run", "prompts": [[id, …], …], "tokens": n}   continue each greedily by n tokens
    {"op": "peak"}                                        the most memory this process had so far

`run` answers with `said`, the ids; `stamps`, for each step that said something the seconds since
the start, and how many ids each prompt got; and `seconds`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

Ids = list[int]


class Tool(Protocol):
    """A library with a model in it; `imported` is when the library was there."""

    imported: float

    def run(self, prompts: list[Ids], tokens: int) -> dict[str, Any]:
        """Continue each prompt greedily by `tokens`."""


class Watch:
    """What was said, and when."""

    def __init__(self, prompts: int) -> None:
        self.said: list[Ids] = [[] for _ in range(prompts)]
        self.stamps: list[tuple[float, list[int]]] = []
        self._began = time.perf_counter()

    def add(self, new: list[Ids]) -> None:
        """Take what one step said."""
        self.stamps.append((time.perf_counter() - self._began, [len(ids) for ids in new]))
        for said, ids in zip(self.said, new, strict=True):
            said.extend(ids)

    def answer(self) -> dict[str, Any]:
        """Return all of it."""
        seconds = time.perf_counter() - self._began
        return {"said": self.said, "stamps": self.stamps, "seconds": seconds}


class Puna:
    """Puna, by `puna.load` and its engine."""

    def __init__(self, words: dict[str, Any]) -> None:
        import torch

        import puna

        torch.set_num_threads(words["threads"])
        self.imported = time.perf_counter()
        self._model = puna.load(words["model"], context=words["context"], batch=words["batch"])
        self._engine = self._model.engine
        self._count = 0

    def run(self, prompts: list[Ids], tokens: int) -> dict[str, Any]:
        """Submit all at once, and step until they ended."""
        from puna.engine import Request

        watch = Watch(len(prompts))
        numbers = {}
        for number, ids in enumerate(prompts):
            self._count += 1
            numbers[str(self._count)] = number
            self._engine.submit(
                Request(id=str(self._count), prompt_ids=tuple(ids), max_tokens=tokens)
            )
        failed = None
        while not self._engine.idle:
            new: list[Ids] = [[] for _ in prompts]
            for event in self._engine.step():
                new[numbers[event.id]].extend(event.token_ids)
                if event.completion is not None:
                    failed = failed or event.completion.error
            if any(new):
                watch.add(new)
        if failed:
            raise RuntimeError(failed)
        return watch.answer()


class Transformers:
    """transformers, in bfloat16 with torch's attention, by its own `generate`."""

    def __init__(self, words: dict[str, Any]) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(words["threads"])
        self.imported = time.perf_counter()
        self._torch = torch
        self._model: Any = AutoModelForCausalLM.from_pretrained(
            words["model"], dtype=torch.bfloat16, attn_implementation="sdpa"
        )

    def run(self, prompts: list[Ids], tokens: int) -> dict[str, Any]:
        """One forward for one token, else `generate`; prompts are equally long."""
        torch = self._torch
        ids = torch.tensor(prompts)
        watch = Watch(len(prompts))
        with torch.inference_mode():
            if tokens == 1:
                logits = self._model(ids, use_cache=True, logits_to_keep=1).logits
                watch.add(logits[:, -1].argmax(-1)[:, None].tolist())
                return watch.answer()

            def step(ids: Any, scores: Any, **_: Any) -> Any:
                watch.add(ids[:, -1:].tolist())
                return torch.zeros(len(ids), dtype=torch.bool)

            self._model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=tokens,
                eos_token_id=None,
                pad_token_id=0,
                stopping_criteria=[step],
            )
        return watch.answer()


class OpenVino:
    """OpenVINO GenAI, on a GGUF file as it reads it."""

    def __init__(self, words: dict[str, Any]) -> None:
        import numpy as np
        import openvino as ov  # type: ignore[import-not-found]
        import openvino_genai as genai  # type: ignore[import-not-found]

        self.imported = time.perf_counter()
        self._ov, self._genai, self._np = ov, genai, np
        self._pipe = genai.LLMPipeline(
            words["model"], "CPU", INFERENCE_NUM_THREADS=words["threads"]
        )

    def run(self, prompts: list[Ids], tokens: int) -> dict[str, Any]:
        """Continue one prompt."""
        (prompt,) = prompts
        watch, genai = Watch(1), self._genai

        class Streamer(genai.StreamerBase):  # type: ignore[misc, name-defined]
            def write(self, token: Any) -> Any:
                watch.add([[token] if isinstance(token, int) else list(token)])
                return genai.StreamingStatus.RUNNING

            def end(self) -> None:
                pass

        config = genai.GenerationConfig()
        config.max_new_tokens = tokens
        config.ignore_eos = True
        config.do_sample = False
        ids = self._ov.Tensor(self._np.array([prompt], dtype=self._np.int64))
        self._pipe.generate(ids, config, Streamer())
        return watch.answer()


TOOLS: dict[str, tuple[Callable[[dict[str, Any]], Tool], tuple[str, ...]]] = {
    "puna": (Puna, ("torch",)),
    "transformers": (Transformers, ("transformers", "torch")),
    "openvino": (OpenVino, ("openvino-genai",)),
}


def peak() -> int:
    """Return the most resident memory this process had, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def answer(tool: Tool, request: dict[str, Any]) -> dict[str, Any]:
    """Do what is asked; what goes wrong is an answer too."""
    if request["op"] == "peak":
        return {"peak": peak()}
    try:
        return tool.run(request["prompts"], request["tokens"])
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Load, then answer until the input ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not come between answers
    began = time.perf_counter()

    def say(what: dict[str, Any]) -> None:
        out.write(json.dumps(what) + "\n")
        out.flush()

    words = json.loads(sys.argv[1])
    kind, packages = TOOLS[words["tool"]]
    try:
        tool = kind(words)
    except Exception as error:
        say({"error": f"{type(error).__name__}: {error}"})
        return
    loaded = time.perf_counter()
    say(
        {
            "imports": tool.imported - began,
            "load": loaded - tool.imported,
            "versions": {name: version(name) for name in packages},
        }
    )
    for line in sys.stdin:
        say(answer(tool, json.loads(line)))


if __name__ == "__main__":
    main()
