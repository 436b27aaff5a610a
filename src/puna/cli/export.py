"""`puna export`: a model in the format of another tool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.table import Table

from puna.cli.show import bars, note, out, print_json

if TYPE_CHECKING:
    from puna.loading import Parts

_SAFETENSORS: dict[str, Literal["float32", "float16", "bfloat16"]] = {
    "f32": "float32",
    "f16": "float16",
    "bf16": "bfloat16",
}
Kind = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]


def export_command(
    model: str = "cria",
    *,
    out: Path,
    format: Literal["gguf", "safetensors"] = "gguf",
    type: Kind = "bf16",
    ignore_key: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Write a model as a GGUF file for llama.cpp, or as a folder of safetensors.

    Vocabulary, special ids, chat template and license go along. What the format cannot say about
    the model is refused by name; nothing is changed in silence.

    Parameters
    ----------
    model
        A folder with a checkpoint, a GGUF file, or a built-in name.
    out
        The GGUF file or the folder to write; a file that is there is replaced in one step.
    format
        gguf is one file; safetensors is a folder with config, weights and tokenizer.
    type
        What matrices are written in; norms and biases stay in float32. Safetensors know f32, f16
        and bf16.
    ignore_key
        A config key to pass over although it is unknown; seal writes a type although it makes
        another model of it. May be repeated.
    json
        Print one JSON object.
    """
    facts = _write(model, out, format, type, ignore_key)
    if json:
        print_json(facts)
        return
    for remark in facts["notes"]:
        note(remark)
    _show(facts)


def _write(
    model: str, path: Path, format_: str, kind: str, ignore_keys: tuple[str, ...]
) -> dict[str, Any]:
    from puna.errors import UsageError
    from puna.loading import load_parts
    from puna.package import export_gguf, opening_dtype
    from puna.plan.check import holding
    from puna.seal import SEAL_KEY
    from puna.source import resolve

    if format_ == "safetensors" and kind not in _SAFETENSORS:
        raise UsageError(f"safetensors are not written as {kind}", remedy="choose f32, f16 or bf16")
    insist = SEAL_KEY not in ignore_keys
    with bars() as bar:
        parts = load_parts(
            model,
            dtype=opening_dtype(resolve(model).path),
            quant="none",
            device="cpu",
            ignore_keys=ignore_keys,
            before=holding(),
            progress=bar("loading", "B"),
        )
        facts: dict[str, Any] = {"path": str(path), "format": format_, "type": kind}
        if format_ == "safetensors":
            return facts | _safetensors(parts, path, kind, insist)
        done = export_gguf(parts, path, kind, insist=insist, progress=bar("writing", "B"))
    return facts | {"bytes": done.bytes, "types": dict(done.types), "notes": list(done.notes)}


def _safetensors(parts: Parts, folder: Path, kind: str, insist: bool) -> dict[str, Any]:
    from puna.package import export_safetensors

    notes = export_safetensors(parts, folder, _SAFETENSORS[kind], insist=insist)
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return {"bytes": size, "types": {kind.upper(): None}, "notes": list(notes)}


def _show(facts: dict[str, Any]) -> None:
    table = Table(title=facts["path"], show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column()
    table.add_row("format", f"{facts['format']}, {facts['type']}")
    table.add_row("size", f"{facts['bytes']:,} bytes")
    for kind, count in facts["types"].items():
        if count is not None:
            table.add_row(kind, f"{count:,} values")
    out.print(table)
