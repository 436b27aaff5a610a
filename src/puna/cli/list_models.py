"""`puna list`: models on this disk, or the catalog."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter
from rich.box import SIMPLE_HEAD
from rich.table import Table

from puna.cli.show import out, print_json

_WIDE = 64  # columns that all but the names take


def list_command(
    *,
    catalog: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Show which models are on this disk: built in, pulled, in the hub cache, in Ollama's store.

    Parameters
    ----------
    catalog
        Show well-known models that puna pull knows by a short name instead.
    json
        Print one JSON array.
    """
    if catalog:
        _catalog(json)
        return
    from puna.source import human_bytes, inventory

    items = inventory()
    if json:
        print_json(
            [{**asdict(item), "path": str(item.path), "place": item.place} for item in items]
        )
        return
    table = Table(title="models on this disk", title_justify="left", box=SIMPLE_HEAD)
    width = max(len(item.name) for item in items)
    # A name is there to be copied: it stays whole, and what no longer fits beside it goes.
    spare = out.width - width - _WIDE
    rest = (["revision"] if spare >= -13 else []) + (["pulled"] if spare >= 0 else [])
    table.add_column("model", min_width=min(width, out.width - 40), overflow="fold")
    table.add_column("from", min_width=9)
    table.add_column("size", min_width=7, justify="right")
    table.add_column("license", overflow="fold")
    for column in rest:
        table.add_column(column, no_wrap=True)
    for item in items:
        more = {"revision": (item.revision or "")[:8], "pulled": (item.pulled or "")[:10]}
        table.add_row(
            item.name,
            item.kind,
            human_bytes(item.size),
            (item.license or "none stated")[:60],
            *(more[column] for column in rest),
        )
    out.print(table)
    if "pulled" not in rest:
        out.print("a wider terminal shows more; --json shows all", style="dim", soft_wrap=True)
    for place in dict.fromkeys(item.place for item in items if item.place):
        out.print(f"kept in {place}", style="dim", soft_wrap=True)
    if len(items) == 1:
        out.print("try: puna list --catalog, then puna pull NAME", style="dim")


def _catalog(json: bool) -> None:
    from puna.source import known_models

    entries = list(known_models().values())
    if json:
        print_json([asdict(entry) for entry in entries])
        return
    table = Table(title="well-known models: puna pull NAME", title_justify="left", box=SIMPLE_HEAD)
    for column in ("name", "parameters", "license", "good for"):
        right = column == "parameters"
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for entry in entries:
        table.add_row(entry.name, _count(entry.parameters), entry.license, entry.good_for)
    out.print(table)


def _count(parameters: int | None) -> str:
    if parameters is None:
        return ""
    if parameters < 1e9:
        return f"{parameters / 1e6:.0f} M"
    return f"{parameters / 1e9:.1f} B"
