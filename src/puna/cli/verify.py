"""`puna verify`: is this still the model that was tuned."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from puna.cli.opening import Quant
from puna.cli.show import bars, note, out, print_json
from puna.errors import UsageError

if TYPE_CHECKING:
    from puna.seal import Verification

_SIGNS = {"agrees": ("✓", "green"), "drifts": ("!", "yellow"), "differs": ("✗", "red")}


def verify_command(
    model: str = "cria",
    *,
    adapter: str | None = None,
    against: str | None = None,
    record: Annotated[bool, Parameter(negative=())] = False,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    quant: Quant = "auto",
    device: str = "auto",
    ignore_key: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    template: str | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Hold a model against its seal: files, tokens of golden prompts, and what it answers.

    Ends with 1 where it differs, with 0 where it agrees or drifts as its number format allows.

    Parameters
    ----------
    model
        A folder with a checkpoint, a GGUF file, or a built-in name; an adapter's folder is looked
        at with the base that it names.
    adapter
        A LoRA folder in PEFT's layout, or the id of one, to be used with the model.
    against
        Another model to hold it against, in place of its seal.
    record
        Seal the folder, or that of the adapter, as it is now, whatever its seal says.
    dtype
        What weights are kept in.
    quant
        Pack weights in 8 or 4 bits as they are read, or keep what is packed.
    device
        cpu, cuda or auto.
    ignore_key
        A config key to pass over although it is unknown; may be repeated.
    template
        A published chat format by name, or a file; chats are then not compared.
    json
        Print one JSON object.
    """
    from puna.jobs import record_seal, verify_model

    if record:
        if against or template or dtype != "auto" or quant != "auto":
            raise UsageError("--record seals what lies there, without another option for it")
        with bars() as bar:
            folder = record_seal(
                model,
                adapter=adapter,
                device=device,
                ignore_keys=ignore_key,
                progress=bar("loading", "B"),
            )
        if not json:
            note(f"sealed: {folder}")
    with bars() as bar:
        load, prompts = bar("loading", "B"), bar("golden prompts", "prompts")

        def progress(done: int, total: int) -> None:
            load(done, total)
            if done == total:
                prompts(0)

        found = verify_model(
            model,
            adapter=adapter,
            against=against,
            dtype=dtype,
            quant=quant,
            device=device,
            ignore_keys=ignore_key,
            template=template,
            progress=progress,
        )
    if json:
        print_json(found.to_json())
    else:
        _show(found)
    if found.verdict == "differs":
        sys.exit(1)


def _show(found: Verification) -> None:
    sign, color = _SIGNS[found.verdict]
    table = Table(
        title=Text.assemble((f"{sign} ", color), f"{found.name} {found.verdict}"),
        title_justify="left",
        show_header=False,
    )
    table.add_column()
    table.add_column(style="bold")
    table.add_column()
    for check in found.checks:
        sign, color = _SIGNS[check.verdict]
        table.add_row(Text(sign, style=color), check.name, Text(check.said))
    out.print(table)
