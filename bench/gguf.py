"""The GGUF round trip: what llama.cpp says on files that Puna wrote, beside what Puna says on them.

    python -m bench.gguf --llama-python /path/to/python      a table
    python -m bench.gguf --llama-python /path/to/python --json
    python -m bench.gguf --llama-python /path/to/python --markdown docs/gguf_round_trip.md

The other Python needs llama-cpp-python, built by clang 16 or GCC 13 and newer (GCC 12 breaks its
AMX code). cria continues a text; a tiny random model of each family continues random ids. Puna
reads the same file in float32. llama.cpp rounds activations to the format that its products take
(bfloat16, float16, or 8 bits for the quantized ones), so logits of random models differ by a
little, and greedy ids may part where two tokens are nearly level: `level` is how far apart Puna
holds the two at the first parting.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from puna.families import name_table, read_config
from puna.loading import Parts, load_parts
from puna.model import Segments, build, initialize
from puna.package import export_gguf
from puna.weights import save_folder

TYPES = ("f32", "bf16", "f16", "q8_0", "q4_0")
PEER = Path(__file__).with_name("gguf_peer.py")
STORY = "Once upon a time"
STEPS = {"cria": 100, "tiny": 24}
_SHAPE = {
    "vocab_size": 320,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}


def _llama(**changes: Any) -> dict[str, Any]:
    return {**_SHAPE, "model_type": "llama", **changes}


def _falcon(**changes: Any) -> dict[str, Any]:
    shape = {
        k: v for k, v in _SHAPE.items() if k not in ("intermediate_size", "num_key_value_heads")
    }
    return {**shape, "model_type": "falcon", **changes}


def _neox(**changes: Any) -> dict[str, Any]:
    shape = {k: v for k, v in _SHAPE.items() if k != "num_key_value_heads"}
    return {**shape, "model_type": "gpt_neox", "rotary_pct": 0.25, **changes}


def _small(kind: str, **changes: Any) -> dict[str, Any]:
    return {**_SHAPE, "model_type": kind, "tie_word_embeddings": False, **changes}


def _gemma(kind: str, **changes: Any) -> dict[str, Any]:
    return {**_SHAPE, "model_type": kind, "head_dim": 32, **changes}


def _longrope(original: int, dims: int = 16, **changes: Any) -> dict[str, Any]:
    rule = {
        "rope_type": "longrope",
        "short_factor": [1.0 + i / 32 for i in range(dims)],
        "long_factor": [1.0 + i / 4 for i in range(dims)],
    }
    return _small("phi3", original_max_position_embeddings=original, rope_scaling=rule, **changes)


def _oss(**changes: Any) -> dict[str, Any]:
    sizes = {"intermediate_size": 96, "num_local_experts": 6, "num_experts_per_tok": 2}
    return _small("gpt_oss", sliding_window=9, **sizes, **changes)


_LATENT = {
    **{k: v for k, v in _SHAPE.items() if k != "num_key_value_heads"},
    "moe_intermediate_size": 64,
    "q_lora_rank": 64,
    "kv_lora_rank": 64,
    "qk_rope_head_dim": 32,
    "qk_nope_head_dim": 32,
    "v_head_dim": 32,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "n_shared_experts": 2,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}


def _latent(kind: str, **changes: Any) -> dict[str, Any]:
    return {**_LATENT, "model_type": kind, **changes}


def _mscale(both: float) -> dict[str, Any]:
    return {"rope_scaling": {**_YARN, "mscale": both, "mscale_all_dim": both}}


_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
MODELS: dict[str, dict[str, Any]] = {
    "llama": _llama(),
    "llama tied, biases": _llama(tie_word_embeddings=True, attention_bias=True, mlp_bias=True),
    "llama rope linear": _llama(rope_scaling={"rope_type": "linear", "factor": 4.0}),
    "llama rope yarn": _llama(rope_scaling=_YARN),
    "llama rope yarn, own factor": _llama(rope_scaling={**_YARN, "attention_factor": 1.3}),
    "llama rope llama3": _llama(rope_scaling=_LLAMA3),
    "mistral": _llama(model_type="mistral", sliding_window=None, head_dim=64),
    "mixtral": _llama(model_type="mixtral", num_local_experts=4, num_experts_per_tok=2),
    "falcon 7b": _falcon(multi_query=True),
    "falcon 40b": _falcon(new_decoder_architecture=True, num_kv_heads=2),
    "falcon 180b": _falcon(
        new_decoder_architecture=True, num_kv_heads=2, num_ln_in_parallel_attn=1
    ),
    "bloom": {"model_type": "bloom", "vocab_size": 320, "hidden_size": 128}
    | {"n_layer": 3, "n_head": 4, "seq_length": 128},
    "gpt-neox parallel": _neox(),
    "gpt-neox sequential": _neox(use_parallel_residual=False),
    "qwen2": _small("qwen2"),
    "qwen2 tied, yarn": _small("qwen2", tie_word_embeddings=True, rope_scaling=_YARN),
    "qwen3": _small("qwen3", head_dim=48),
    "qwen3-moe": _small(
        "qwen3_moe",
        head_dim=48,
        moe_intermediate_size=64,
        num_experts=8,
        num_experts_per_tok=3,
        norm_topk_prob=True,
    ),
    "gemma": _gemma("gemma", num_key_value_heads=1),
    "gemma 2": _gemma("gemma2", query_pre_attn_scalar=32, sliding_window=9),
    "gemma 2, windows listed": _gemma(
        "gemma2",
        query_pre_attn_scalar=32,
        sliding_window=9,
        layer_types=["full_attention", "sliding_attention", "sliding_attention"],
    ),
    "gemma 3": _gemma(
        "gemma3_text", query_pre_attn_scalar=32, sliding_window=9, num_hidden_layers=7
    ),
    "gemma 3, windows listed, linear": _gemma(
        "gemma3_text",
        query_pre_attn_scalar=32,
        sliding_window=9,
        layer_types=["full_attention", "sliding_attention", "full_attention"],
        rope_scaling={"rope_type": "linear", "factor": 8.0},
    ),
    "phi-3": _small("phi3"),
    # llama.cpp goes by the size of its context, 256 tokens here, and Puna by that of the text.
    "phi-3 longrope, short": _longrope(1024, max_position_embeddings=2048, sliding_window=None),
    "phi-3 longrope, long": _longrope(8),
    "phi-4-mini, partial longrope": _longrope(
        8, dims=12, partial_rotary_factor=0.75, tie_word_embeddings=True
    ),
    "olmo": _small("olmo", clip_qkv=0.9),
    "olmo 2": _small("olmo2"),
    "smollm3": _small("smollm3", num_hidden_layers=5, tie_word_embeddings=True),
    "granite": _small(
        "granite",
        embedding_multiplier=3.0,
        residual_multiplier=0.22,
        attention_multiplier=0.21,
        logits_scaling=1.7,
        attention_bias=True,
        mlp_bias=True,
    ),
    "starcoder2": _small("starcoder2", tie_word_embeddings=True),
    "gpt-2": {"model_type": "gpt2", "vocab_size": 320, "n_positions": 128, "n_embd": 128}
    | {"n_layer": 3, "n_head": 4},
    "mpt": {"model_type": "mpt", "vocab_size": 320, "d_model": 144, "n_heads": 6}
    | {"n_layers": 3, "max_seq_len": 128, "attn_config": {"clip_qkv": 0.9, "alibi_bias_max": 16}},
    "gpt-oss, plain rope": _oss(rope_parameters={"rope_type": "default", "rope_theta": 150000.0}),
    # llama.cpp rounds the ramp of YaRN to whole dims.
    "gpt-oss": _oss(head_dim=64),
    "deepseek-v2-lite, yarn": _latent("deepseek_v2", q_lora_rank=None, **_mscale(0.707)),
    "deepseek-v2": _latent("deepseek_v2", routed_scaling_factor=1.7),
    "deepseek-v3, groups, yarn": _latent(
        "deepseek_v3", n_group=4, topk_group=2, n_shared_experts=1, **_mscale(1.0)
    ),
}


@dataclass(frozen=True)
class Row:
    """One file: what it takes, how far the logits are apart, and how long the greedy ids agree."""

    model: str
    type: str
    bytes: int
    spread: float
    difference: float
    agree: int
    steps: int
    level: float | None
    ids_equal: bool
    ours: str | None
    theirs: str | None


class Peer:
    """The other process."""

    def __init__(self, python: str) -> None:
        self._process = subprocess.Popen(
            [python, str(PEER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Return its answer.

        Raises:
            RuntimeError: it died; what it said is on stderr.
        """
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"llama.cpp ended with {self._process.wait()} on {request['path']}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End it."""
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()


def make(folder: Path, config: dict[str, Any]) -> Parts:
    """Return a random model with weights that tell tokens apart, norms and biases among them."""
    spec = read_config(config)
    model = build(spec, device="cpu")
    initialize(model, seed=1, std=0.08)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.03)
    save_folder(model, name_table(spec), folder, config=config)
    return load_parts(folder, device="cpu")


@torch.no_grad()
def continued(parts: Parts, ids: list[int], steps: int, stop: frozenset[int]) -> Any:
    """Return the logits of each step, one row each, and the greedy ids."""
    rows, said = [], []
    for _ in range(steps):
        ctx = Segments([len(ids) + len(said)])
        hidden = parts.model(torch.tensor([*ids, *said]), ctx.positions, ctx)
        rows.append(parts.model.head(hidden[-1:], ctx.rows)[0])
        token = int(rows[-1].argmax())
        if token in stop:
            break
        said.append(token)
    return rows, said


def compare(name: str, kind: str, parts: Parts, path: Path, peer: Peer) -> Row:
    """Write one file, let both read it, and hold the two against each other."""
    size = export_gguf(parts, path, kind).bytes
    ours = load_parts(path, device="cpu", dtype="float32")
    tokenizer = parts.text.tokenizer
    stop = parts.text.specials.eos
    steps = STEPS["cria" if tokenizer else "tiny"]
    request: dict[str, Any] = {"path": str(path), "steps": steps, "context": 128, "stop": [*stop]}
    if tokenizer:
        ids = tokenizer.encode(STORY)
        answer = peer.ask(text=STORY, **request)
    else:
        generator = torch.Generator().manual_seed(3)
        ids = torch.randint(parts.spec.vocab, (12,), generator=generator).tolist()
        answer = peer.ask(ids=ids, **request)
    rows, said = continued(ours, ids, steps, stop)
    theirs = answer["said"]
    pairs = enumerate(zip(said, theirs, strict=False))
    agree = next((n for n, (a, b) in pairs if a != b), min(len(said), len(theirs)))
    parted = agree < max(len(said), len(theirs)) and agree < min(len(said), len(theirs))
    level = float(rows[agree].max() - rows[agree][theirs[agree]]) if parted else None
    return Row(
        model=name,
        type=kind,
        bytes=size,
        spread=float(rows[0].std()),
        difference=float((rows[0] - torch.tensor(answer["logits"])).abs().max()),
        agree=agree,
        steps=len(said),
        level=level,
        ids_equal=answer["ids"] == ids,
        ours=tokenizer.decode([*ids, *said])[len(tokenizer.decode(ids)) :] if tokenizer else None,
        theirs=answer["text"],
    )


def rows(python: str, models: Iterable[str]) -> Iterator[Row]:
    """Yield these models in every type."""
    peer = Peer(python)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for number, name in enumerate(
            track(list(models), "comparing", console=Console(stderr=True), transient=True)
        ):
            made = place / str(number)
            parts = load_parts("cria", device="cpu") if name == "cria" else make(made, MODELS[name])
            for kind in TYPES:
                yield compare(name, kind, parts, place / "model.gguf", peer)
    peer.close()


def main() -> int:
    """Run the command line; 1 where prompts differ, or ids part at tokens that are not level."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--llama-python", default=sys.executable, help="has llama-cpp-python")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", type=Path, help="write the page here")
    parser.add_argument("--models", default="", help="only those whose names have this in them")
    given = parser.parse_args()
    names = [name for name in ("cria", *MODELS) if given.models in name]
    found = list(rows(given.llama_python, names))
    if given.markdown:
        given.markdown.write_text(markdown(found), encoding="utf-8")
    if given.json:
        print(json.dumps([asdict(row) for row in found], indent=2))
    else:
        show(found)
    bad = [r for r in found if not r.ids_equal or (r.level or 0) > 0.1 * r.spread]
    return int(bool(bad))


def markdown(found: list[Row]) -> str:
    """Return the page: one line a model, one column a type."""
    cells = {(row.model, row.type): row for row in found}

    def cell(row: Row) -> str:
        level = "" if row.level is None else f" (level {row.level:.2g})"
        return f"{row.agree}/{row.steps}{level}, {row.difference:.1e}"

    texts = [row for row in found if row.ours is not None]
    lines = [
        "# The GGUF round trip",
        "",
        "Puna writes each model in each type; llama.cpp and Puna (in float32) continue the same",
        "prompt on that file. A cell says how many greedy ids agree before the first parting, and",
        "the largest difference of the logits behind the prompt. `level`: how far apart Puna holds",
        "the two tokens where they part. llama.cpp rounds activations to bfloat16, float16 or",
        "8 bits, as the type asks, so random models part where two tokens are level;",
        "in f32 nothing is rounded but gelu, which it looks up in a table of float16.",
        "gpt-oss differs by the ramp of YaRN, which llama.cpp rounds to whole dims.",
        "",
        "| Model | " + " | ".join(TYPES) + " |",
        "|---|" + "---|" * len(TYPES),
        *(
            f"| {name} | " + " | ".join(cell(cells[name, kind]) for kind in TYPES) + " |"
            for name in dict.fromkeys(row.model for row in found)
        ),
        "",
        "The other models are random and narrow. cria's texts, of both alike:"
        if all(row.ours == row.theirs for row in texts)
        else "The other models are random and narrow. cria's texts, which are NOT all alike "
        "(llama.cpp's first):",
        "",
        *((f"- {r.type}: {STORY}{(r.theirs or '').strip(chr(10))}") for r in texts),
        "",
        "Made by `python -m bench.gguf --llama-python … --markdown docs/gguf_round_trip.md`.",
        "",
    ]
    return "\n".join(lines)


def show(found: list[Row]) -> None:
    """Print a table, and cria's texts."""
    table = Table("model", "type", title="llama.cpp on files that Puna wrote")
    for column in ("bytes", "|Δ logits|", "of spread", "greedy ids", "level"):
        table.add_column(column, justify="right")
    for row in found:
        level = "" if row.level is None else f"{row.level:.2g}"
        share = f"{row.difference / row.spread:.1%}"
        agree = f"{row.agree} of {row.steps}"
        table.add_row(
            row.model, row.type, f"{row.bytes:,}", f"{row.difference:.1e}", share, agree, level
        )
    console = Console() if sys.stdout.isatty() else Console(width=110)
    console.print(table)
    for row in found:
        if row.ours is not None:
            same = "the same text" if row.ours == row.theirs else f"theirs: {row.theirs}"
            console.print(f"{row.model} {row.type}: {STORY}{row.ours}\n  {same}", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
