"""The random checkpoints of bench/engine.py, and what they say.

Weights are normal with a standard deviation of 0.02, as training starts from, but for the ends:
embeddings have 1, and the head's row of the token that follows t is t's embedding times 0.02. So
the likeliest next token is known in every number format, whatever stands before, while
each tool does all of the work. That serves three ends. Every tool's greedy output is known, so it
is checked. Along the long cycle nothing repeats, so a guesser of tokens has nothing to find. Along
the short one the output repeats its prompt, but for the edits made to the prompt.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Specials of the tokenizer come first and follow nothing.
_FIRST = 6
# Tokens of the short cycle, and how far apart the edits of its text are.
LOOP, EDITS = 256, 16
_SCALE = 0.02


@dataclass(frozen=True, slots=True)
class Model:
    """A model to measure: its name, its config where it is made here, its longest sequence."""

    name: str
    context: int
    config: Mapping[str, Any] | None = None

    @property
    def vocab(self) -> int:
        """Ids that can be fed."""
        return 2048 if self.config is None else int(self.config["vocab_size"])


def _llama(**sizes: Any) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "dtype": "bfloat16",
        "max_position_embeddings": 16384,
        **sizes,
    }


MODELS = {
    "1b": Model(
        "1b",
        16384,
        _llama(
            vocab_size=32000,
            hidden_size=2048,
            intermediate_size=5632,
            num_hidden_layers=22,
            num_attention_heads=32,
            num_key_value_heads=4,
        ),
    ),
    "small": Model(
        "small",
        16384,
        _llama(
            vocab_size=16384,
            hidden_size=512,
            intermediate_size=1024,
            num_hidden_layers=4,
            num_attention_heads=8,
            num_key_value_heads=2,
        ),
    ),
    "cria": Model("cria", 512),
}


@dataclass(frozen=True, slots=True)
class Cycles:
    """Which id follows each: ids of a cycle follow one another in its order, and then anew."""

    short: tuple[int, ...]
    long: tuple[int, ...]

    def successors(self) -> list[int]:
        """Return the id that follows each id of the vocabulary; specials follow themselves."""
        after = list(range(_FIRST + len(self.short) + len(self.long)))
        for cycle in (self.short, self.long):
            for here, there in zip(cycle, (*cycle[1:], cycle[0]), strict=True):
                after[here] = there
        return after


def cycles(vocab: int, loop: int = LOOP, seed: int = 0) -> Cycles:
    """Return a cycle of `loop` ids, and one of all others that are not special.

    Raises:
        ValueError: the vocabulary is too small for both.
    """
    if vocab < _FIRST + 2 * loop:
        raise ValueError(f"a vocabulary of {vocab} has no room for a cycle of {loop}")
    order = list(range(_FIRST, vocab))
    random.Random(seed).shuffle(order)
    return Cycles(tuple(order[:loop]), tuple(order[loop:]))


def walk(cycle: Sequence[int], start: int, count: int) -> list[int]:
    """Return `count` ids of a cycle from place `start` on, round and round."""
    return [cycle[(start + step) % len(cycle)] for step in range(count)]


def edited(found: Cycles, start: int, seed: int, every: int = EDITS) -> list[int]:
    """Return the short cycle from place `start` on, one id in each `every` exchanged for another.

    What the model says next is the cycle without the edits, from `start` on again.
    """
    ids, draw = walk(found.short, start, len(found.short)), random.Random(seed)
    for begin in range(0, len(ids) - every, every):  # the end stays: the output follows on it
        ids[begin + draw.randrange(every)] = draw.choice(found.long)
    return ids


def drawn(vocab: int, count: int, seed: int) -> list[int]:
    """Return random ids, other ones for every seed, none of them special."""
    draw = random.Random(seed)
    return [draw.randrange(_FIRST, vocab) for _ in range(count)]


def tokenizer_of(cria: Mapping[str, Any], vocab: int) -> dict[str, Any]:
    """Return cria's tokenizer.json filled up to `vocab` ids with tokens that no text has."""
    words = dict(cria["model"]["vocab"])
    words |= {f"w{number}": number for number in range(len(words), vocab)}
    return {**cria, "model": {**cria["model"], "vocab": words}}


def made(model: Model, work: Path) -> Path:
    """Return the folder of a model under `work`, written now or kept from an earlier run."""
    from puna.source import resolve

    cria = resolve("cria").path
    if model.config is None:
        return cria
    folder = work / model.name
    if (folder / "tokenizer.json").is_file():
        return folder
    _write_weights(model.config, folder)
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        shutil.copyfile(cria / name, folder / name)
    found = json.loads((cria / "tokenizer.json").read_text(encoding="utf-8"))
    text = json.dumps(tokenizer_of(found, model.vocab))
    # Last, so that a folder which has it is whole.
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    return folder


def _write_weights(config: Mapping[str, Any], folder: Path) -> None:
    import torch

    from puna.families import name_table, read_config
    from puna.model import build, initialize
    from puna.weights import save_folder

    spec = read_config(config)
    model = build(spec, device="cpu", dtype=torch.bfloat16)
    initialize(model, seed=0, std=_SCALE)
    tokens, head = model.embed.tokens, model.output.weight
    if not isinstance(tokens, torch.Tensor) or not isinstance(head, torch.Tensor):
        raise TypeError("only a plain head of its own can name a successor")
    with torch.no_grad():
        tokens.mul_(1 / _SCALE)
        head[torch.tensor(cycles(spec.vocab).successors())] = tokens * _SCALE
    folder.mkdir(parents=True, exist_ok=True)
    save_folder(model, name_table(spec), folder, config=config)


def gguf(folder: Path, work: Path, kind: str) -> Path:
    """Return a GGUF file of a folder, written by Puna's own export or kept from before.

    Args:
        folder: of the model.
        work: where the file lies.
        kind: as llama.cpp writes it, `Q8_0`.
    """
    path = work / f"{folder.name}.{kind}.gguf"
    if path.is_file():
        return path
    from puna.loading import load_parts
    from puna.package import export_gguf

    parts = load_parts(folder, device="cpu", ignore_keys=("memory",))
    export_gguf(parts, path, kind.lower(), insist=False)
    return path


def packed(folder: Path, work: Path, format: str) -> Path:
    """Return the folder that `puna quantize` makes of another, now or on an earlier run."""
    from puna.jobs import quantize_model

    out = work / f"{folder.name}.{format}"
    if not (out / "README.md").is_file():  # which is written last
        quantize_model(folder, out, format, ignore_keys=("memory", "seal"))
    return out


# In words the tokenizer of cria knows, so that a thousand tokens are a thousand words or so.
_WORDS = (
    *("the", "a", "llama", "fox", "stone", "hut", "morning", "sun", "river", "grass", "wind"),
    *("cold", "high", "rain", "hill", "road", "bread", "wool", "rabbit", "bird", "friend"),
    *("old", "young", "small", "brown", "white", "quiet", "walked", "saw", "found", "said"),
)


def shared_text(words: int, seed: int) -> str:
    """Return so many words, other ones for every seed."""
    draw = random.Random(seed)
    return " ".join(draw.choice(_WORDS) for _ in range(words))
