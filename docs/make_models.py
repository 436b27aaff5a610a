"""Write the table of docs/models.md from the catalog, so that it cannot drift."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from puna.source import CatalogEntry, known_models

PAGE = Path(__file__).parent / "models.md"
BEGIN, END = "<!-- catalog: made by docs/make_models.py -->\n", "<!-- end of catalog -->\n"


def row(entry: CatalogEntry) -> str:
    """Return one line of the table."""
    base = f" Made from {entry.base}." if entry.base else ""
    note = f" Mind: {entry.note}." if entry.note else ""
    cells = (
        f"`{entry.name}`",
        f"{entry.id}{' (gated)' if entry.gated else ''}",
        entry.family,
        f"{entry.parameters:,}" if entry.parameters else "",
        f"{entry.context:,}" if entry.context else "",
        entry.license,
        f"{entry.data}.{base}{note}",
        entry.good_for,
    )
    return f"| {' | '.join(cells)} |\n"


def table() -> str:
    """Return the whole table."""
    head = "| Name | Id | Family | Parameters | Context | License | Trained on | Good for |\n"
    rule = "|---|---|---|--:|--:|---|---|---|\n"
    return head + rule + "".join(row(entry) for entry in known_models().values())


def page() -> str:
    """Return the page with its table made anew."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + "\n" + table() + "\n" + END + rest.partition(END)[2]


if __name__ == "__main__":
    if "--print" in sys.argv:
        sys.stdout.write(page())
    else:
        PAGE.write_text(page(), encoding="utf-8")
