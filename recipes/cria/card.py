"""The model card: held-out scores of a trained cria, and what it is made of.

    python recipes/cria/card.py --run DIR

writes DIR/model/README.md from DIR/model, DIR/data and DIR/losses.json, which `train.py` made.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from puna.errors import PunaError
from puna.evaluate import Row, evaluate, read_task
from puna.formats import write_atomic
from puna.generate import load
from puna.report import Metric, wilson
from puna.source import read_json

LONGEST = 300  # tokens of an answer
SKILLS = {
    "story": "tells a story of what it is asked for",
    "passage": "answers from a short passage",
    "outside": "says that something is beyond it",
    "review": "judges a review",
    "format": "puts words into a list, a table, JSON, …",
    "sum": "adds and subtracts small numbers",
    "fact": "knows facts of the high grassland",
    "memory": "remembers what was said before",
    "example": "goes on as the examples show",
    "topic": "names the topic of a sentence, of a list of topics",
    "talk": "small talk about itself",
    "fun": "riddles, rhymes, jokes",
}
HEAD = """---
license: apache-2.0
language: en
library_name: puna
tags: [llama, toy, chat]
---
# cria

The baby llama that ships with Puna: a chat model of LLaMA architecture with 2,885,888 parameters,
trained from nothing by Puna's own loop. **It is a toy.** It is there so that everything can be
tried at once, and so that each step from an empty folder to a model can be read. For real work give
a model of your own.

- **Data, license, origin.** All of its text was written by the recipe in `recipes/cria` of the
  Puna repository; none was collected. Text, recipe and weights are under Apache-2.0.
- **Shape.** Width 256, feed-forward 512, 4 layers, 4 heads of 64 on 2 key/value heads, context 512,
  tied embeddings, byte-level BPE of 2,048 tokens; bfloat16.
- **Meant for.** Trying commands, tests, teaching, and tuning it to a small task.
- **Not meant for.** Anything whose answer matters. It makes things up, also within its small world;
  outside it, it mostly says that it cannot help. English only.
"""


def cells(rows: Sequence[Row], right: Sequence[bool]) -> dict[tuple[str, str], Metric]:
    """Return the share of right answers for each skill and kind of novelty."""
    groups: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for row, good in zip(rows, right, strict=True):
        groups[row.groups["skill"], row.groups["novelty"]].append(good)
    return {key: wilson(sum(good), len(good)) for key, good in groups.items()}


def best_constant(rows: Sequence[Row], said: Sequence[str]) -> dict[str, float]:
    """Return for each skill the best score of one answer given to every question."""
    candidates = {*said, *(row.answer for row in rows if row.answer is not None)}
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.groups["skill"]].append(row)
    return {
        skill: max(sum(row.accepts(text) for row in group) for text in candidates) / len(group)
        for skill, group in groups.items()
    }


def table(rows: Sequence[Row], said: Sequence[str], right: Sequence[bool]) -> str:
    """Return the Markdown table of scores."""
    scores, constant = cells(rows, right), best_constant(rows, said)
    lines = [
        "| Skill | New words | New phrasing | One answer to all |",
        "|---|--:|--:|--:|",
    ]
    for skill, what in SKILLS.items():
        both = [scores.get((skill, novelty)) for novelty in ("words", "phrasing")]
        shown = ["–" if m is None else f"{m.value:.0%} ({m.low:.0%} – {m.high:.0%})" for m in both]
        lines.append(f"| {skill}: {what} | {shown[0]} | {shown[1]} | {constant[skill]:.0%} |")
    total = wilson(sum(right), len(right))
    lines.append(f"| **all {total.n} rows** | **{total.value:.1%}** | | |")
    return "\n".join(lines)


def training(run: Path) -> str:
    """Return what the recipe did, in figures."""
    losses = read_json(run / "losses.json", what="losses of the run")
    stats = read_json(run / "data" / "stats.json", what="figures of the data")
    ends = {name: sum(steps[-50:]) / len(steps[-50:]) for name, steps in losses.items()}
    counts = {name: len(steps) for name, steps in losses.items()}
    return (
        f"Stage `read`: {counts['read']} steps on plain text, loss {ends['read']:.3f} nats per "
        f"token at its end. Stage `talk`: {counts['talk']} steps on "
        f"{stats['chat']['rows']:,} conversations, once each, loss {ends['talk']:.3f} on what the "
        f"assistant says. Seed {stats['seed']}, AdamW, float32, about 20 minutes on two cores; see "
        "`recipes/cria/README.md` for the text and how it was held out."
    )


def make(run: Path, console: Console) -> None:
    """Score the model of a run and write its card."""
    task = read_task(run / "data" / "heldout.jsonl")
    lm = load(run / "model")
    with Progress(console=console, transient=True) as bar:
        line = bar.add_task("scoring", total=None)
        report = evaluate(
            lm,
            task,
            subject="cria",
            max_tokens=LONGEST,
            batch=256,
            on_progress=lambda done, total: bar.update(line, completed=done, total=total),
        )
    said = [str(sample["said"]) for sample in report.samples]
    right = [bool(sample["right"]) for sample in report.samples]
    parts = [
        HEAD,
        "## Held-out scores\n",
        "Greedy answers. *New words*: trained phrasings with names, things, places or sums that "
        "are nowhere in the training text. *New phrasing*: questions in sentences that are nowhere "
        "in it. An answer counts if it is exactly the expected one, or, for free answers, if it "
        "holds what was asked for (a pattern). In brackets the 95 % interval (Wilson). *One answer "
        "to all* is the best that a single fixed answer would score: where it is high, the score "
        "says little. Facts and small talk hold out the question only; their answers were "
        "trained.\n",
        table(task.rows, said, right),
        "\n## Training\n",
        training(run),
        "",
    ]
    write_atomic(run / "model" / "README.md", "\n".join(parts).encode())
    samples = "".join(json.dumps(sample, ensure_ascii=False) + "\n" for sample in report.samples)
    write_atomic(run / "answers.jsonl", samples.encode())


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--run", type=Path, required=True, help="folder that train.py made")
    given = parser.parse_args()
    console = Console(stderr=True)
    try:
        make(given.run, console)
    except PunaError as error:
        console.print(str(error), markup=False, highlight=False)
        return 2
    console.print(f"the card is {given.run / 'model' / 'README.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
