"""`puna merge`: an adapter into its model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from puna.cli.show import bars, note, out, print_json, with_file


def merge_command(
    model: str,
    *,
    adapter: str,
    out_folder: Annotated[Path, Parameter(name="--out")],
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    ignore_key: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    pull: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Merge an adapter into the weights of its model and save the whole, tokenizer included.

    Parameters
    ----------
    model
        The base: whatever puna chat takes.
    adapter
        A LoRA folder in PEFT's layout, or the id of one.
    out_folder
        A new or empty folder.
    dtype
        What the merged weights are kept in; auto is the base's own.
    ignore_key
        What to pass over: a config key, seal (not as sealed), memory (planned not to fit).
    pull
        Pull what is not on this disk.
    json
        Print one JSON object when done.
    """
    from puna.jobs import merge_adapter
    from puna.source import human_bytes

    with bars() as bar:
        merged = merge_adapter(
            model,
            adapter,
            out_folder,
            dtype=dtype,
            ignore_keys=ignore_key,
            pull=pull,
            on_pull=with_file(bar("pulling", "B")),
            progress=bar("loading", "B"),
        )
    for remark in merged.notes:
        note(remark)
    if json:
        print_json({"path": str(merged.folder), "bytes": merged.size, "base": merged.base})
        return
    out.print(f"merged: {merged.folder}, {human_bytes(merged.size)}", soft_wrap=True)
    out.print(f"try: puna chat {merged.folder}", style="dim", soft_wrap=True)
