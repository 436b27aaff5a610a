"""How much memory a load takes, as a ratio of the weights' bytes; Puna and transformers in one run.

    python bench/load_memory.py [--gigabytes 1.05] [--cases llama,falcon,llama-bin] [--json]

Each case is a random bfloat16 checkpoint in a temporary folder. Each load runs in a process of its
own, which reads its peak of resident memory (VmHWM, reset after the imports) before the load and
again once every weight was touched. Linux only.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import reduce
from operator import xor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from puna.families import name_table, read_config
from puna.model import build
from puna.source import read_json
from puna.weights import load_into, open_checkpoint, save_tensors

LIBRARIES = ("puna", "transformers")
WIDTH = 2048


@dataclass(frozen=True)
class Case:
    """A checkpoint to load: family, kind of file, and the dtype to load it in."""

    family: str
    form: str
    dtype: torch.dtype = torch.bfloat16


CASES = {
    "llama": Case("llama", "safetensors"),
    "llama-shards": Case("llama", "shards"),
    "llama-bin": Case("llama", "bin"),
    "llama-bin-old": Case("llama", "bin-legacy"),
    "llama-as-float16": Case("llama", "safetensors", torch.float16),
    "falcon": Case("falcon", "safetensors"),
    "falcon-bin": Case("falcon", "bin"),
}


@dataclass(frozen=True)
class Measurement:
    """One load: bytes of the weights, growth of the peak of resident memory, seconds."""

    case: str
    library: str
    weights: int
    grown: int
    seconds: float

    @property
    def ratio(self) -> float:
        """Growth per byte of weights; 1.0 is what the weights themselves need."""
        return self.grown / self.weights


def config_of(family: str, gigabytes: float) -> dict[str, Any]:
    """Return a config with as many layers as reach `gigabytes` (10⁹ bytes) in bfloat16."""
    shape = {
        "vocab_size": 4096,
        "hidden_size": WIDTH,
        "num_attention_heads": 16,
        "max_position_embeddings": 2048,
        "dtype": "bfloat16",
        "tie_word_embeddings": False,
    }
    if family == "llama":
        shape |= {"model_type": "llama", "intermediate_size": 5632, "num_key_value_heads": 8}
    else:
        # Grouped key/value heads, so that the fused rows are out of our order.
        shape |= {"model_type": "falcon", "new_decoder_architecture": True, "num_kv_heads": 8}
    for layers in range(1, 10_000):
        config = {**shape, "num_hidden_layers": layers}
        if weight_bytes(config) >= gigabytes * 1e9:
            return config
    raise ValueError(f"{gigabytes} GB are too many")


def weight_bytes(config: dict[str, Any]) -> int:
    """Return the bytes of a config's weights in bfloat16."""
    return sum(2 * p.numel() for p in build(read_config(config)).parameters())


def make(folder: Path, case: Case, gigabytes: float) -> None:
    """Write the checkpoint of a case: random numbers near 0.02, made a tensor at a time."""
    config = config_of(case.family, gigabytes)
    spec = read_config(config)
    table = name_table(spec)
    module = build(spec)
    shapes = {
        table.by_ours(name).theirs: (torch.bfloat16, tuple(p.shape))
        for name, p in module.named_parameters()
    }
    (folder / "config.json").write_text(json.dumps(config))
    if case.form == "safetensors":
        save_tensors(folder / "model.safetensors", shapes, draw(shapes))
    elif case.form == "shards":
        write_shards(folder, shapes)
    else:
        torch.save(
            dict(draw(shapes)),
            folder / "pytorch_model.bin",
            _use_new_zipfile_serialization=case.form == "bin",
        )


Shapes = dict[str, tuple[torch.dtype, tuple[int, ...]]]


def draw(shapes: Shapes) -> Iterator[tuple[str, Tensor]]:
    """Yield random tensors: bfloat16 of either sign between 2⁻⁶ and 2⁻⁵."""
    generator = torch.Generator().manual_seed(1)
    for name, (_, shape) in shapes.items():
        drawn = torch.empty(math.prod(shape) // 4, dtype=torch.int64)
        bits = drawn.random_(-(1 << 63), None, generator=generator).view(torch.int16).view(shape)
        # Sign and mantissa are random, the exponent is not.
        yield name, bits.bitwise_and_(0x807F - (1 << 16)).bitwise_or_(0x3C80).view(torch.bfloat16)


def write_shards(folder: Path, shapes: Shapes, count: int = 4) -> None:
    """Write `count` shards of equally many tensors, and their index."""
    names, index = list(shapes), {}
    for number in range(count):
        part = {name: shapes[name] for name in names[number::count]}
        file = f"model-{number + 1:05d}-of-{count:05d}.safetensors"
        save_tensors(folder / file, part, draw(part))
        index.update(dict.fromkeys(part, file))
    total = sum(2 * math.prod(shape) for _, shape in shapes.values())
    body = {"metadata": {"total_size": total}, "weight_map": index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(body))


def load_puna(folder: Path, dtype: torch.dtype) -> torch.nn.Module:
    """Load as `puna.load` does, without text."""
    spec = read_config(read_json(folder / "config.json", what="model config"))
    module = build(spec, dtype=dtype)
    load_into(module, open_checkpoint(folder), name_table(spec), device="cpu")
    return module


def load_transformers(folder: Path, dtype: torch.dtype) -> torch.nn.Module:
    """Load by the reference library, as its documentation says."""
    from transformers import AutoModelForCausalLM

    module: torch.nn.Module = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    return module


def peak() -> int:
    """Return the peak of this process's resident memory in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def touch(module: torch.nn.Module) -> int:
    """Read every weight; return what tells two loads apart, whatever the order of rows."""
    bits = (p.detach().view(torch.int16).numpy().reshape(-1) for p in module.parameters())
    return reduce(xor, (int(np.bitwise_xor.reduce(words.view(np.int64))) for words in bits))


def child(library: str, folder: Path, dtype: str) -> None:
    """Load in this process and print what it took, as JSON."""
    if library == "transformers":
        import transformers.models.falcon.modeling_falcon
        import transformers.models.llama.modeling_llama  # noqa: F401
    torch.zeros(1).sum()  # starts torch's threads
    Path("/proc/self/clear_refs").write_text("5")  # the peak of the imports does not count
    before, start = peak(), time.perf_counter()
    load = load_puna if library == "puna" else load_transformers
    module = load(folder, getattr(torch, dtype))
    loaded = time.perf_counter() - start
    weights = sum(p.nbytes for p in module.parameters())
    checksum = touch(module)
    print(json.dumps([weights, peak() - before, loaded, checksum]))


def measure(name: str, library: str, folder: Path, dtype: torch.dtype) -> tuple[Measurement, int]:
    """Load `folder` in a fresh process; return what it took, and a checksum of all weights."""
    words = ["--child", library, str(folder), str(dtype).removeprefix("torch.")]
    done = subprocess.run(
        [sys.executable, __file__, *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    weights, grown, seconds, checksum = json.loads(done.stdout.splitlines()[-1])
    return Measurement(name, library, weights, grown, seconds), checksum


def run(
    name: str,
    gigabytes: float,
    libraries: tuple[str, ...] = LIBRARIES,
    parent: Path | None = None,
) -> list[Measurement]:
    """Make a case's checkpoint under `parent`, load it by each library, and remove it."""
    case, rows, sums = CASES[name], [], set()
    folder = Path(tempfile.mkdtemp(prefix="puna-load-", dir=parent))
    try:
        make(folder, case, gigabytes)
        for library in libraries:
            row, checksum = measure(name, library, folder, case.dtype)
            rows.append(row)
            sums.add(checksum)
    finally:
        shutil.rmtree(folder)
    if len(sums) > 1:
        raise RuntimeError(f"{name}: the libraries did not load the same weights: {sums}")
    return rows


def show(rows: list[Measurement]) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table("case", "library", title="Peak of resident memory per byte of weights")
    for column in ("weights, MB", "grown, MB", "ratio", "seconds"):
        table.add_column(column, justify="right")
    for row in rows:
        figures = f"{row.weights / 1e6:.0f}", f"{row.grown / 1e6:.0f}", f"{row.ratio:.3f}"
        table.add_row(row.case, row.library, *figures, f"{row.seconds:.2f}")
    Console().print(table)


def main() -> None:
    """Run the cases asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.05, help="10⁹ bytes of weights")
    parser.add_argument("--cases", default=",".join(CASES), help="default: all of them")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.child:
        child(words.child[0], Path(words.child[1]), words.child[2])
        return
    cases = words.cases.split(",")
    if unknown := set(cases) - set(CASES):
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    rows = [row for name in cases for row in run(name, words.gigabytes)]
    if words.json:
        print(json.dumps([{**asdict(row), "ratio": row.ratio} for row in rows], indent=2))
    else:
        show(rows)


if __name__ == "__main__":
    main()
