"""Parity with the reference library: family × check × largest difference, on tiny random models.

    python -m bench.parity                          a table
    python -m bench.parity --json                   the same for machines
    python -m bench.parity --markdown docs/parity.md

The differences are of logits (or log probabilities) in float32; the tests bound each by 1e-4.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
import transformers
from rich.console import Console
from rich.progress import track
from rich.table import Table
from tests.parity import measure
from tests.parity.forms import FORMS, Form

CHECKS = {
    "logits": "every position of every sequence, all in one ragged call, against the reference",
    "saved": "the reference on a folder that Puna saved, against the reference on its own",
    "decode": "chunked prefill (5 and 64 tokens a step) and cached decode, against one shot",
}


def rows() -> Iterator[tuple[Form, dict[str, float]]]:
    """Yield each form with its largest difference per check."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for form in track(FORMS, "measuring", console=Console(stderr=True), transient=True):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            opened = measure.open_form(form, Path(folder) / "reference")
            yield (
                form,
                {
                    "logits": measure.logits_difference(opened),
                    "saved": measure.saved_difference(opened, Path(folder) / "saved"),
                    "decode": max(measure.decode_difference(opened, chunk=c) for c in (5, 64)),
                },
            )


def markdown(found: list[tuple[Form, dict[str, float]]]) -> str:
    """Return the page."""
    eager = [form.id for form, _ in found if form.attention == "eager"]
    lines = [
        "# Parity",
        "",
        "Each form is a tiny random checkpoint saved by the reference library (odd sizes, several",
        "head and key/value ratios, norms and biases away from one and zero, windows shorter and",
        "prompts longer than the original context), loaded by Puna from disk, in float32. The",
        "figures are the largest absolute differences found; tests bound each by 1e-4.",
        "",
        *(f"- **{name}**: {what}." for name, what in CHECKS.items()),
        "",
        "| Form | " + " | ".join(CHECKS) + " |",
        "|---|" + "--:|" * len(CHECKS),
        *(
            f"| {form.id} | " + " | ".join(f"{value:.1e}" for value in worst.values()) + " |"
            for form, worst in found
        ),
        "",
        f"Made by `python -m bench.parity --markdown docs/parity.md` with torch "
        f"{torch.__version__} and transformers {transformers.__version__}. The reference of "
        f"{', '.join(eager)} is its eager attention, the others' is SDPA (the eager path of Falcon "
        "with ALiBi adds its bias twice).",
        "",
        "Rope scaling that depends on the total length (dynamic) is fixed at admission: the",
        "prompt plus the tokens asked for, at most the context. So one shot equals the",
        "reference, and what is generated does not depend on how it was chunked.",
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    """Run the command line; returns the exit status: 1 where a difference is not below 1e-4."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", type=Path, help="write the page here")
    given = parser.parse_args()
    found = list(rows())
    if given.markdown:
        given.markdown.write_text(markdown(found), encoding="utf-8")
    if given.json:
        print(json.dumps({form.id: worst for form, worst in found}, indent=2))
    else:
        table = Table(title="largest difference to the reference")
        table.add_column("form")
        for name in CHECKS:
            table.add_column(name, justify="right")
        for form, worst in found:
            table.add_row(form.id, *(f"{value:.1e}" for value in worst.values()))
        Console().print(table)
    return int(any(value >= 1e-4 for _, worst in found for value in worst.values()))


if __name__ == "__main__":
    sys.exit(main())
