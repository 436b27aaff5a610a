"""The plan's prediction against measured peak memory, over families, formats, serve and tune.

    python -m bench.plan                                a table
    python -m bench.plan --cases "llama, tuned" --json  some cases, for machines
    python -m bench.plan --markdown docs/plan_error.md

Each case is a random checkpoint in a temporary folder. It is planned from its headers; then a
process of its own opens it, fills the cache to the end of the context or takes two optimizer steps,
and reads its peak of resident memory (VmHWM, reset after the imports). Linux only.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from bench.load_memory import peak
from bench.plan_cases import CASES, FITTED, SMALL, Case, config_of
from puna.families import gguf_names, name_table, read_config
from puna.model import Decoder, build
from puna.plan import Device, Plan, Serve, Tune, make_plan
from puna.plan.allocator import map_blocks
from puna.plan.sketch import sketch
from puna.spec import ModelSpec, MoE
from puna.weights import gather, plan_gguf, save_folder, save_gguf

# The answers of a served sequence; the rest of its context is prompt.
_ANSWER = 8
_ROUNDS = 12


@dataclass(frozen=True)
class Row:
    """One case: predicted and measured bytes, in growth after the imports and in all."""

    case: str
    predicted: int
    measured: int
    predicted_total: int
    measured_total: int
    parts: dict[str, int]

    @property
    def error(self) -> float:
        """The prediction of the growth, as a share of what was measured, less one."""
        return self.predicted / self.measured - 1

    @property
    def error_total(self) -> float:
        """The same of the whole process."""
        return self.predicted_total / self.measured_total - 1


def make(folder: Path, case: Case) -> Path:
    """Write the checkpoint of a case; return what is to be opened."""
    config = config_of(case.family, case.gigabytes)
    config["dtype"] = case.stored
    spec = read_config(config)
    model = build(spec, device="cpu", dtype=getattr(torch, case.stored))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.03, 0.03, generator=generator)
    if case.form in ("safetensors", "bin", "bin-legacy"):
        _write_folder(folder, case, model, spec, config)
        return folder
    path = folder / "model.gguf"
    _write_gguf(path, case, model, spec)
    return path


def _write_folder(
    folder: Path, case: Case, model: Decoder, spec: ModelSpec, config: dict[str, Any]
) -> None:
    if case.form == "safetensors":
        save_folder(model, name_table(spec), folder, config=config)
        return
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(
        dict(gather(model, name_table(spec))),
        folder / "pytorch_model.bin",
        _use_new_zipfile_serialization=case.form == "bin",
    )


def _write_gguf(path: Path, case: Case, model: Decoder, spec: ModelSpec) -> None:
    from puna.package import GGUF_TYPES, describe_gguf

    plan = plan_gguf(model, gguf_names(spec), GGUF_TYPES[case.form][0])
    metadata = describe_gguf(spec, {name: planned.shape for name, planned in plan.items()})
    save_gguf(path, model, plan, metadata)


def predict(path: Path, case: Case) -> Plan:
    """Plan the case from its headers, on a device that is large enough."""
    return make_plan(sketch(path), case.use, dtype=case.dtype, device=Device("any", 1 << 50))


def measure(path: Path, name: str, how: str) -> tuple[int, int]:
    """Run the case in a fresh process; return growth and total of its peak.

    Blocks of memory are `mapped` one by one, as where memory is short, or left to the `heap`.
    """
    done = subprocess.run(
        [sys.executable, "-m", "bench.plan", "--child", name, str(path), how],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    grown, total = json.loads(done.stdout.splitlines()[-1])
    return grown, total


def child(name: str, path: Path, how: str) -> None:
    """Do what a case says in this process and print its growth and its peak, as JSON."""
    from puna.loading import load_parts

    case = (CASES | SMALL)[name]
    if how == "mapped":
        map_blocks()
    torch.zeros(1).sum()  # starts torch's threads
    Path("/proc/self/clear_refs").write_text("5")  # the peak of the imports does not count
    before = peak()
    parts = load_parts(path, dtype=case.dtype, device="cpu")
    hold(parts.model)
    if isinstance(case.use, Serve):
        serve(parts.model, parts.spec, case.use)
    else:
        tune(parts.model, parts.spec, case.use)
    print(json.dumps([peak() - before, peak()]))


def hold(model: Decoder) -> None:
    """Keep the weights in memory: a kernel that takes cold pages away would flatter the peak."""
    library = ctypes.CDLL(None)
    for parameter in model.parameters():
        address, size = ctypes.c_void_p(parameter.data_ptr()), ctypes.c_size_t(parameter.nbytes)
        if library.mlock(address, size):
            raise RuntimeError("weights cannot be locked in memory; raise ulimit -l")


def serve(model: Decoder, spec: ModelSpec, use: Serve) -> None:
    """Run so many sequences to the very end of their context."""
    from puna.engine import Engine, Request, cache_dtype

    engine = Engine(
        model,
        spec,
        max_sequences=use.batch,
        max_batch_tokens=use.chunk,
        cache_tokens=use.batch * use.context,
        cache_dtype=cache_dtype(use.cache, model.dtype),
    )
    # A mixture splits every prompt in another way, and each number of rows is a kernel to keep.
    mixture = any(isinstance(layer.ffn, MoE) for layer in spec.layers)
    drawn = random.Random(1)
    for _ in range(_ROUNDS if mixture else 1):
        prompts = [
            drawn.choices(range(spec.vocab), k=use.context - _ANSWER) for _ in range(use.batch)
        ]
        asked = [Request(str(n), tuple(ids), _ANSWER) for n, ids in enumerate(prompts)]
        done = engine.run(asked)
        assert all(one.finish == "length" for one in done), done


def tune(model: Decoder, spec: ModelSpec, use: Tune) -> None:
    """Take two steps of two micro-batches each."""
    from puna.adapter import attach
    from puna.data import Encoded
    from puna.model import Rows
    from puna.tune import Settings, train

    slot = attach(model, name_table(spec), rank=use.rank, alpha=16.0, targets=use.targets)
    count = max(1, use.batch_tokens // use.context)
    ids = torch.arange(use.context) % spec.vocab
    rows = [Encoded(ids, torch.ones(use.context, dtype=torch.bool)) for _ in range(4 * count)]
    settings = Settings(epochs=1, batch_size=2 * count, micro_tokens=use.batch_tokens)
    model.train()
    train(model, rows, settings, rows=Rows(slot))


def run(names: Iterable[str], parent: Path | None = None, how: str = "mapped") -> list[Row]:
    """Plan and measure the cases, and remove their checkpoints."""
    rows = []
    for name in names:
        case = (CASES | SMALL)[name]
        folder = Path(tempfile.mkdtemp(prefix="puna-plan-", dir=parent))
        try:
            path = make(folder, case)
            plan = predict(path, case)
            grown, total = measure(path, name, how)
        finally:
            shutil.rmtree(folder)
        parts = {line.name: line.bytes for line in plan.lines}
        growth = plan.total - parts["runtime"]
        rows.append(Row(name, growth, grown, plan.total, total, parts))
        show(rows[-1:])
    return rows


def show(rows: list[Row]) -> None:
    """Print rows as they come."""
    for row in rows:
        parts = ", ".join(f"{name} {size / 1e6:.0f}" for name, size in row.parts.items())
        print(
            f"{row.case:34} {row.predicted / 1e6:6.0f} {row.measured / 1e6:6.0f} "
            f"{row.error:+6.1%} total {row.error_total:+6.1%}  {parts}",
            file=sys.stderr,
            flush=True,
        )


def merged(rows: list[Row], earlier: list[dict[str, Any]]) -> list[Row]:
    """Return rows in the order of the cases, those of an earlier run where none is newer."""
    found = {row["case"]: Row(**{k: row[k] for k in Row.__dataclass_fields__}) for row in earlier}
    found |= {row.case: row for row in rows}
    return [found[name] for name in CASES if name in found]


def markdown(rows: list[Row]) -> str:
    """Return the page."""
    worst = max(rows, key=lambda row: abs(row.error))
    mean = sum(abs(row.error) for row in rows) / len(rows)
    others = [abs(row.error) for row in rows if row.case not in FITTED]
    lines = [
        "# The plan's error",
        "",
        "Each case is a random checkpoint, planned from its headers alone; then a process of its",
        "own opened it and filled the cache to the end of the context, or took two optimizer",
        "steps. Figures are MB (10⁶ bytes) of resident memory: predicted and measured growth",
        "after the imports, the error of that, and the error of the whole process. Blocks of a",
        "MiB or more are mapped one by one, as Puna has it where memory is short; the weights are",
        "locked in memory, since a kernel that takes cold pages away would flatter the peak.",
        "",
        f"Mean error {mean:.1%}, largest {worst.error:+.1%} ({worst.case}); over the cases that no",
        f"figure was chosen by (all without a star) {sum(others) / max(1, len(others)):.1%} in the",
        f"mean and {max(others, default=0):.1%} at most.",
        "",
        f"Served mixtures answer {_ROUNDS} rounds of prompts. In torch (`PUNA_KERNELS=off`, or",
        "bfloat16 on a processor with tiles) each number of tokens that an expert gets is a",
        "product of its own shape, whose kernel is kept, and the plan is rougher: docs/plan.md.",
        "",
        "| Case | predicted | measured | error | of the whole process |",
        "|---|--:|--:|--:|--:|",
        *(_line(row) for row in rows),
        "",
        "Made by `python -m bench.plan --markdown docs/plan_error.md` (cases measured earlier go",
        f"in by `--add`) with torch {torch.__version__} and {torch.get_num_threads()} threads.",
        "",
    ]
    return "\n".join(lines)


def _line(row: Row) -> str:
    star = " \\*" if row.case in FITTED else ""
    figures = f"{row.predicted / 1e6:.0f} | {row.measured / 1e6:.0f} | {row.error:+.1%}"
    return f"| {row.case}{star} | {figures} | {row.error_total:+.1%} |"


def main() -> None:
    """Run the cases asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", nargs="*", default=list(CASES), help="default: all of them")
    parser.add_argument("--blocks", choices=("mapped", "heap"), default="mapped")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--markdown", type=Path, help="write the page")
    parser.add_argument("--add", type=Path, help="JSON of an earlier run, for the cases not run")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.child[0], Path(asked.child[1]), asked.child[2])
        return
    rows = run(asked.cases, how=asked.blocks)
    if asked.add:
        rows = merged(rows, json.loads(asked.add.read_text()))
    if asked.markdown:
        asked.markdown.write_text(markdown(rows), encoding="utf-8")
    if asked.json:
        print(json.dumps([{**asdict(row), "error": row.error} for row in rows], indent=2))


if __name__ == "__main__":
    main()
