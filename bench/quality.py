"""What packing weights costs: Puna's formats and llama.cpp's, on one text, against float32.

    python -m bench.quality [--llama DIR] [--json] [--write docs/quality_figures.md]

The model is cria. The text is made by its recipe with another seed than it was trained on, without
what is in its training text; weights are calibrated on a part of that. DIR is a build of llama.cpp
(bench/build_llama.sh), whose `llama-quantize` makes the other rows.

`weights` rows: the weights are rounded, all else is float32, and Puna computes either side, so that
formats are compared and not programs. `computed` rows: as Puna computes here, inputs rounded too.
`cache`: the model is float32, its keys and values are kept in 8 bits, and the bits are theirs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from puna.engine import PAGE, Chunk, PagePool, columns
from puna.engine.native import fastest
from puna.formats import read_gguf
from puna.jobs import Files, compare_models, quantize_model
from puna.jobs.quality import differences, quality_of, read_sequences
from puna.loading import Parts, load_parts
from puna.model import PackedWeight
from puna.package import export_gguf
from puna.quant import tensors_of
from puna.seal import SEAL_KEY
from puna.spec import count_parameters
from puna.weights import put

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "cria" / "make_data.py"
# Plain texts and conversations of either part.
HELD_OUT, CALIBRATION = (100, 200), (120, 200)
LLAMA = ("Q8_0", "Q4_K_M", "Q4_K_S", "Q4_0")


@dataclass(frozen=True)
class Row:
    """One format: bits per weight, KL in nats, equal top tokens, perplexity (float32's first)."""

    program: str
    format: str
    kind: Literal["weights", "computed", "cache"]
    bits: float
    tokens: int
    kl: float
    top1: float
    before: float
    after: float


def make_text(room: Path) -> tuple[Path, Path]:
    """Return files of held-out text, and of text to calibrate on."""
    for name, seed, scale in (("trained", "0", "1"), ("new", "1", "0.02")):
        argv = [sys.executable, str(RECIPE), "--out", str(room / name), "--seed", seed]
        subprocess.run([*argv, "--scale", scale], check=True, capture_output=True)
    trained = {name: lines(room / "trained" / name) for name in ("pretrain.jsonl", "chat.jsonl")}
    held_out, fed = [], []
    for (name, known), new, old in zip(trained.items(), HELD_OUT, CALIBRATION, strict=True):
        seen = set(known)
        held_out += [x for x in lines(room / "new" / name) if x not in seen][:new]
        fed += known[:old]
    files = room / "held-out.jsonl", room / "calibration.jsonl"
    for file, rows in zip(files, (held_out, fed), strict=True):
        file.write_text("".join(row + "\n" for row in rows))
    return files


def lines(file: Path) -> list[str]:
    """Return the lines of a file."""
    return file.read_text(encoding="utf-8").splitlines()


def measure(whole: Parts, other: Parts, held_out: Path, *names: str, kind: Any, bits: float) -> Row:
    """Hold one form of the model against the float32 one."""
    found = compare_models(whole.model, other.model, read_sequences(held_out, whole))
    return Row(*names, kind, bits, **asdict(found))


def unpacked(folder: Path) -> Parts:
    """Return a packed folder opened in float32, its weights unpacked."""
    return load_parts(folder, quant="none", dtype="float32", device="cpu", ignore_keys=(SEAL_KEY,))


def packed_bits(parts: Parts) -> float:
    """Return bits per weight of an opened model, of all its weights."""
    held = [m for m in parts.model.modules() if isinstance(m, PackedWeight)]
    size = sum(t.nbytes for m in held for t in tensors_of(m.form).values())
    size += sum(2 * p.numel() for p in parts.model.parameters())
    return 8 * size / count_parameters(parts.spec)


def ours(whole: Parts, held_out: Path, fed: Path, room: Path) -> Iterator[Row]:
    """Measure Puna's formats."""
    texts: tuple[Path | Literal["self"] | None, ...] = (None, "self", fed)
    cases = [("int8", None), *((kind, text) for kind in ("int4", "nf4") for text in texts)]
    for kind, text in cases:
        on = {None: "", "self": ", calibrated on itself", fed: ", calibrated"}[text]
        name = kind + on
        folder = room / name
        quantize_model("cria", folder, kind, files=Files(calibrate=text), ignore_keys=(SEAL_KEY,))
        packed = load_parts(folder, dtype="float32", device="cpu")
        bits = packed_bits(packed)
        for form, parts in (("weights", unpacked(folder)), ("computed", packed)):
            yield measure(whole, parts, held_out, "Puna", name, kind=form, bits=bits)
    yield measure(whole, all_in_4_bits(), held_out, "Puna", "int4, table too", kind="weights",
                  bits=4.5)  # fmt: skip


@torch.inference_mode()
def cached(whole: Parts, held_out: Path) -> Row:
    """Measure keys and values in 8 bits against float32 ones, over pages as the engine has them."""
    sums = torch.zeros(4, dtype=torch.float64)
    tokens = 0
    for ids in read_sequences(held_out, whole):
        first, second = (over_pages(whole, ids, dtype) for dtype in (torch.float32, torch.int8))
        sums += differences(first, second, torch.tensor(ids[1:]))
        tokens += len(ids) - 1
    width = whole.spec.layers[0].mixer.head_dim
    bits = 8 * columns(width, torch.int8) / width
    return Row("Puna", "int8", "cache", bits, **asdict(quality_of(sums, tokens)))


def over_pages(whole: Parts, ids: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return log probabilities [T - 1, vocab] after all ids but the last."""
    pages = -(-len(ids) // PAGE)
    pool = PagePool(whole.spec, limit=pages, dtype=dtype, device=whole.model.device)
    tables = tuple(range(1, pages + 1) for _ in pool.windows)
    chunk = Chunk(tables, 0, len(ids) - 1, len(ids), None)
    logits = fastest(whole.model, whole.spec, pool).run(ids[:-1], [chunk], range(len(ids) - 1))
    return logits.double().log_softmax(-1)


def all_in_4_bits() -> Parts:
    """Return cria with the table in 4 bits as well, which no format of Puna does: to show why."""
    from puna.quant import pack, unpack

    parts = load_parts("cria", quant="none", dtype="float32", device="cpu")
    for name in parts.model.packable():
        values = unpack(pack(parts.model.get_parameter(name).detach(), "int4"))
        put(parts.model, name, nn.Parameter(values, requires_grad=False))
    return parts


def theirs(whole: Parts, held_out: Path, build: Path, room: Path) -> Iterator[Row]:
    """Measure llama.cpp's formats; the K formats are finer for some matrices than for others."""
    source = room / "cria.gguf"
    export_gguf(whole, source, "f32")
    cases = [(kind, ()) for kind in LLAMA] + [("Q4_0", ("--pure",))]
    for kind, more in cases:
        path = room / f"{kind}{''.join(more)}.gguf"
        argv = [str(build / "bin" / "llama-quantize"), *more, str(source), str(path), kind]
        subprocess.run(argv, check=True, capture_output=True)
        parts = load_parts(path, dtype="float32", device="cpu", ignore_keys=(SEAL_KEY,))
        size = sum(ref.span[1] - ref.span[0] for ref in read_gguf(path).tensors.values())
        bits = 8 * size / count_parameters(parts.spec)
        name = kind + (", table too" if more else "")
        yield measure(whole, parts, held_out, "llama.cpp", name, kind="weights", bits=bits)


def page(rows: list[Row]) -> str:
    """Return the table as a page."""
    first = rows[0]
    said = [
        "# What packing costs, in figures", "",
        f"Made by `python -m bench.quality --llama DIR --write docs/quality_figures.md`: cria, "
        f"{first.tokens:,} tokens of text that its recipe makes with another seed, without what it "
        f"was trained on; torch {torch.__version__}. Against float32, whose perplexity there is "
        f"{first.before:.2f}. cria has 2.9 M parameters, and small models lose more than large "
        "ones. `weights`: only these are rounded, the rest is float32. `computed`: as Puna "
        "computes on this machine, where inputs are rounded to 8 bits as well. Bits are those of "
        "all weights, the table of tokens (18 % of cria) among them. `cache`: the model is float32 "
        "and its keys and values are kept in 8 bits; the bits are theirs.", "",
        "| program | format | what is rounded | bits per weight | KL, nats | same top token | "
        "perplexity |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    said += [
        f"| {row.program} | {row.format} | {row.kind} | {row.bits:.2f} | {row.kl:.5f} | "
        f"{row.top1:.1%} | {row.after:.2f} |"
        for row in rows
    ]
    return "\n".join(said) + "\n"


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--llama", type=Path, help="a build of llama.cpp")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the page")
    parser.add_argument("--write", type=Path, help="write the page there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        room = Path(folder)
        held_out, fed = make_text(room)
        whole = load_parts("cria", dtype="float32", device="cpu")
        rows = list(ours(whole, held_out, fed, room))
        if given.llama:
            rows += theirs(whole, held_out, given.llama, room)
        rows.append(cached(whole, held_out))
    if given.write:
        given.write.write_text(page(rows), encoding="utf-8")
    if given.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    elif not given.write:
        print(page(rows))


if __name__ == "__main__":
    main()
