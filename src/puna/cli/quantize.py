"""`puna quantize`: a model in 8 or 4 bits, and what that costs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.table import Table

from puna.cli.show import bars, note, out, print_json

if TYPE_CHECKING:
    from puna.jobs import Quantized


def quantize_command(
    model: str,
    out_folder: Path,
    *,
    format: Literal["int8", "int4", "nf4"] = "int4",
    calibrate: str | None = None,
    text: Path | None = None,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    ignore_key: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    pull: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Pack the weights of a model in 8 or 4 bits, and show what that costs.

    What was written is opened and held against the model it was made of; it needs no flag to be
    opened.

    Parameters
    ----------
    model
        Whatever puna chat takes.
    out_folder
        A new or empty folder.
    format
        int8 (8 bits), int4 (4.5 bits) or nf4 (4.25 bits); table and head are in 8 bits always.
    calibrate
        A text, or JSONL as for puna tune, that the weights are rounded for; or self, for text that
        the model itself says. Better, and slower.
    text
        Such a file to measure on, other than that; without it the golden prompts.
    dtype
        What is computed in; auto is the model's own.
    ignore_key
        What to pass over: a config key, seal (not as sealed, or too coarse), memory.
    pull
        Pull what is not on this disk.
    json
        Print one JSON object.
    """
    from puna.jobs import Files, Watch, quantize_model

    fed: Path | Literal["self"] | None = None
    if calibrate is not None:
        fed = "self" if calibrate == "self" else Path(calibrate)
    with bars() as bar:
        watch = Watch(bar("loading", "B"), bar("packing", "layers"), bar("measuring", "tokens"))
        done = quantize_model(
            model,
            out_folder,
            format,
            files=Files(fed, text),
            dtype=dtype,
            ignore_keys=ignore_key,
            pull=pull,
            watch=watch,
        )
    for remark in done.notes:
        note(remark)
    if json:
        print_json({**asdict(done), "folder": str(done.folder)})
        return
    _show(done)


def _show(done: Quantized) -> None:
    from puna.source import human_bytes

    quality = done.quality
    table = Table(title=f"{done.folder}: {done.format}", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_row("weights", f"{human_bytes(done.before)} → {human_bytes(done.after)}")
    table.add_row("bits per weight", f"{done.bits:.2f}")
    table.add_row("KL", f"{quality.kl:.4g} nats on average")
    table.add_row("likeliest token", f"the same at {quality.top1:.1%} of positions")
    table.add_row("perplexity", f"{quality.before:.4g} → {quality.after:.4g}")
    table.add_row("measured on", f"{done.measured_on}, {quality.tokens:,} tokens")
    out.print(table)
    out.print(f"try: puna chat {done.folder}", style="dim", soft_wrap=True)
