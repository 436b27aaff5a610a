"""llama.cpp in a process of its own: one JSON request a line, one JSON answer a line.

Run by `bench/gguf.py` with a Python that has llama-cpp-python, and nothing of Puna.
A request has `path`, `ids` or `text`, and `steps`; an answer has the prompt's `ids`, the `logits`
of its last position, the greedy `said`, and their `text` where the file has a vocabulary.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from llama_cpp import Llama


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Open the file, read the prompt, continue greedily."""
    llama = Llama(
        request["path"],
        n_ctx=request["context"],
        n_threads=1,
        n_batch=512,
        type_k=0,  # keys and values in float32, so that only the weights' format tells
        type_v=0,
        logits_all=True,
        verbose=False,
    )
    text = request.get("text")
    ids = request.get("ids") or llama.tokenize(text.encode(), add_bos=True, special=True)
    llama.eval(ids)
    logits = np.array(llama.scores[len(ids) - 1])
    said: list[int] = []
    for _ in range(request["steps"]):
        token = int(np.argmax(llama.scores[llama.n_tokens - 1]))
        if token in request["stop"]:
            break
        said.append(token)
        llama.eval([token])
    words = llama.detokenize(said, prev_tokens=ids).decode(errors="replace") if text else None
    return {"ids": ids, "logits": logits.tolist(), "said": said, "text": words}


def main() -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
