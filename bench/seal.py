"""What the seal shows: how far sound conversions move a model, and what planted faults look like.

    python -m bench.seal [MODEL …] [--json] [--write docs/seal_figures.md]

Each model (by default cria, and the trained LLaMA of ../shared where it is) is saved and so sealed.
Then it is opened in every dtype and exported in every GGUF type, and every planted fault of
tests/seal/plant.py is put into a copy of its folder; golden prompts are run on each.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tests.seal import plant
from tests.seal.conftest import run as tune_a_little

import puna
from puna.errors import SealError
from puna.jobs import verify_model
from puna.loading import load_parts
from puna.package import GGUF_TYPES, export_gguf
from puna.seal import Check, Verification, bits_of

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "checkpoints" / "stories260K-hf"
FAULTS = {
    "another template": plant.another_template,
    "another tokenizer": plant.another_tokenizer,
    "doubled BOS": plant.doubled_bos,
    "permuted rotary order": plant.permuted_rotary_order,
    "transposed weight": plant.transposed_weight,
    "swapped layers": plant.swapped_layers,
    "wrong norm epsilon": plant.wrong_norm_epsilon,
    "one changed bit": plant.one_changed_bit,
}


@dataclass(frozen=True)
class Drift:
    """A conversion, and how far it moved the model: KL in nats, share of equal top tokens."""

    model: str
    form: str
    bits: float
    kl: float
    worst: float
    top1: float
    kl_drifts: float
    kl_differs: float
    verdict: str


@dataclass(frozen=True)
class Caught:
    """A fault, what the load said, and what each check found."""

    model: str
    fault: str
    at_load: str
    found: str
    kl: float
    top1: float


def answers(found: Verification, name: str = "answers") -> Check:
    """Return the check of the golden answers."""
    return next(check for check in found.checks if check.name == name)


def drift(name: str, form: str, bits: float, found: Verification) -> Drift:
    """Return the figures of a conversion."""
    check = answers(found)
    names = ("kl", "kl_worst", "top1", "kl_drifts", "kl_differs")
    return Drift(name, form, bits, *(check.figures[key] for key in names), check.verdict)


def drifts(name: str, folder: Path, room: Path) -> Iterator[Drift]:
    """Yield every sound way to open or convert a sealed folder."""
    parts = load_parts(folder, device="cpu")
    for dtype in ("float32", "bfloat16", "float16"):
        found = verify_model(folder, dtype=dtype, device="cpu")  # type: ignore[arg-type]
        yield drift(name, f"opened in {dtype}", bits_of((dtype,)), found)
    for kind, (stored, _) in GGUF_TYPES.items():
        path = room / f"{kind}.gguf"
        export_gguf(parts, path, kind, insist=False)
        yield drift(name, f"GGUF {kind}", bits_of((stored,)), verify_model(path, device="cpu"))
        path.unlink()


def faults(name: str, folder: Path, room: Path) -> Iterator[Caught]:
    """Yield every planted fault that the folder has the files for."""
    for fault, spoil in FAULTS.items():
        copy = room / "copy"
        shutil.copytree(folder, copy)
        try:
            spoil(copy)
        except (FileNotFoundError, KeyError):
            continue  # no template, or another kind of tokenizer
        else:
            yield caught(name, fault, copy)
        finally:
            shutil.rmtree(copy)


def caught(name: str, fault: str, copy: Path) -> Caught:
    """Open a spoiled folder, then verify it."""
    try:
        load_parts(copy, device="cpu")
        at_load = "opens"
    except SealError as error:
        at_load = error.what.partition(": ")[2]
    found = verify_model(copy, device="cpu")
    return row(name, fault, at_load, found, answers(found))


def row(model: str, fault: str, at_load: str, found: Verification, shown: Check) -> Caught:
    """Return a fault with what was found, in words, and the figures of one check."""
    words = [f"{check.name}: {_short(check.said)}" for check in found.remarks]
    figures = shown.figures
    return Caught(model, fault, at_load, "; ".join(words), figures["kl"], figures["top1"])


def tuned(name: str, folder: Path, room: Path) -> Iterator[Caught]:
    """Yield faults of adapters: tuned on this folder, in a short run each."""
    sound = tune(folder, room / "sound") / "adapter"
    idle = tune(folder, room / "idle") / "adapter"
    plant.inert_adapter(idle)
    other = room / "other" / folder.name
    stronger = tune(folder, room / "stronger", learning_rate=3e-3, seed=1) / "adapter"
    puna.load(folder, adapter=stronger, device="cpu").save(other)
    base = room / "base" / folder.name
    plant.unlearned_stop(folder, base)
    endless = tune(base, room / "endless") / "adapter"
    for fault, model, adapter, shown in (
        ("(none)", folder, sound, "answers with it"),
        ("an adapter for another base", other, sound, "base"),
        ("an inert adapter", folder, idle, "adapter"),
        ("a stop token that was not trained", base, endless, "answers with it"),
    ):
        found = verify_model(model, adapter=adapter, device="cpu")
        yield row(name, fault, "", found, answers(found, shown))


def tune(base: Path, out: Path, **fields: object) -> Path:
    """Tune a little; see tests/seal."""
    out.mkdir()
    return tune_a_little(base, out, **fields)


def _short(said: str) -> str:
    return said if len(said) < 110 else said[:107] + "…"


def run(models: list[str]) -> tuple[list[Drift], list[Caught]]:
    """Measure the models."""
    moved: list[Drift] = []
    found: list[Caught] = []
    for model in models:
        name = Path(model).name
        with tempfile.TemporaryDirectory() as room:
            folder = Path(room) / name
            puna.load(model, device="cpu").save(folder)
            moved += drifts(name, folder, Path(room))
            found += faults(name, folder, Path(room))
            if load_parts(folder, device="cpu").text.template is not None:
                found += tuned(name, folder, Path(room))
    return moved, found


def page(moved: list[Drift], found: list[Caught]) -> str:
    """Return the tables as a page."""
    lines = [
        "# The seal in figures", "",
        "Made by `python -m bench.seal --write docs/seal_figures.md`, on one processor; torch "
        f"{torch.__version__}.", "",
        "## Sound conversions", "",
        "KL of the next-token distribution from the sealed one, in nats, and the share of golden "
        "positions with the same likeliest token. Both models are small, and small models move "
        "further than large ones.", "",
        "| model | form | bits | KL | at worst | top-1 | drifts above | differs above | verdict |",
        "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for one in moved:
        lines.append(
            f"| {one.model} | {one.form} | {one.bits:.2g} | {one.kl:.1e} | {one.worst:.1e} | "
            f"{one.top1:.1%} | {one.kl_drifts:g} | {one.kl_differs:g} | {one.verdict} |"
        )
    lines += [
        "", "## Planted faults", "",
        "What a load says, which reads digests only, and what `puna verify` finds. The last "
        "columns are of the golden answers alone; for an adapter, of what the fault is about: the "
        "base against the one it was tuned on, or the model with the adapter against without.", "",
        "| model | fault | at load | `puna verify` | KL | top-1 |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for fault in found:
        lines.append(
            f"| {fault.model} | {fault.fault} | {fault.at_load} | "
            f"{fault.found.replace('|', '/') or 'agrees'} | {fault.kl:.1e} | {fault.top1:.1%} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", help="folders or names; cria without any")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the page")
    parser.add_argument("--write", type=Path, help="write the page there")
    given = parser.parse_args()
    models = given.models or ["cria", *([str(SHARED)] if SHARED.is_dir() else [])]
    moved, found = run(models)
    if given.write:
        given.write.write_text(page(moved, found), encoding="utf-8")
    if given.json:
        rows = {"drifts": [asdict(row) for row in moved], "faults": [asdict(one) for one in found]}
        print(json.dumps(rows, indent=2))
    elif not given.write:
        print(page(moved, found))


if __name__ == "__main__":
    main()
