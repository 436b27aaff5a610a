"""Write the triage set: `python examples/triage/make.py` (the same seed gives the same bytes).

Reads phrases.toml and writes train.jsonl and heldout.jsonl beside it, as conversations: the user
shows a ticket, the assistant answers with one label. The two files share no phrase.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

LABELS = ("billing", "shipping", "account", "technical", "returns")
HERE = Path(__file__).resolve().parent
FILES = {"train": "train.jsonl", "held": "heldout.jsonl"}
# Rows of each label, and how many of them are trick tickets.
ROWS = {"train": (120, 8), "held": (40, 2)}
SHORTEST, LONGEST = 8, 40

Slots = Mapping[str, Sequence[str]]


def prompt(ticket: str) -> str:
    """Return what the user says: the ticket and the question."""
    return f"Ticket: {ticket}\nLabel?"


def read_phrases() -> dict[str, Any]:
    """Return phrases.toml, its blocks of lines as lists."""

    def lines(value: Any) -> Any:
        if isinstance(value, str):
            return value.strip().splitlines()
        return {k: lines(v) for k, v in value.items()} if isinstance(value, dict) else value

    phrases: dict[str, Any] = lines(tomllib.loads((HERE / "phrases.toml").read_text("utf-8")))
    return phrases


def fill(template: str, slots: Slots, draw: random.Random) -> str:
    """Return a template with its choices made; a slot that comes twice gets two words."""
    chosen = re.sub(r"<([^<>]*)>", lambda m: draw.choice(m[1].split("|")), template)
    used: dict[str, list[str]] = {}

    def word(match: re.Match[str]) -> str:
        taken = used.setdefault(match[1], [])
        taken.append(draw.choice([w for w in slots[match[1]] if w not in taken]))
        return taken[-1]

    return re.sub(r"\{(\w+)\}", word, chosen)


def ticket(core: str, phrases: Mapping[str, Any], label: str, draw: random.Random) -> str:
    """Return one ticket around a core phrase, of SHORTEST to LONGEST words."""
    slots = phrases["slots"]
    parts = [fill(core, slots, draw)]
    detail = fill(draw.choice(phrases[label]["detail"]), slots, draw)
    if draw.random() < 0.4 or len(parts[0].split()) < SHORTEST:
        parts.append(detail)
    for place, kind in ((0, "opener"), (len(parts), "closer")):
        extra = fill(draw.choice(phrases[kind]), slots, draw)
        words = len(" ".join([*parts, extra]).split())
        if draw.random() < 0.4 and words <= LONGEST:
            parts.insert(len(parts) if place else 0, extra)
    return mood(" ".join(parts), draw)


def mood(text: str, draw: random.Random) -> str:
    """Return the text as this customer types: with care, without capitals, or loudly."""
    kind = draw.random()
    if kind < 0.12:
        return text.lower()
    if kind < 0.2:
        return text.rstrip(".?!")
    if kind < 0.26:
        return text + "?" if text.endswith("?") else text.rstrip(".!") + "!!"
    return text


def tickets(phrases: Mapping[str, Any], split: str, label: str, seed: int) -> Iterator[str]:
    """Yield the different tickets of one label; every core phrase gets its turn."""
    draw = random.Random(f"{seed}:{split}:{label}")
    rows, tricks = ROWS[split]
    seen: set[str] = set()
    for kind, count in (("trick", tricks), ("core", rows - tricks)):
        cores = phrases[label][kind]
        turn = draw.sample(cores, len(cores))
        made = 0
        while made < count:
            text = ticket(turn[made % len(turn)], phrases, label, draw)
            if text.lower() not in seen:
                seen.add(text.lower())
                made += 1
                yield text


def rows(split: str, seed: int = 0) -> list[dict[str, Any]]:
    """Return the rows of `train` or `held`, shuffled."""
    phrases = read_phrases()[split]
    made = [
        {
            "messages": [
                {"role": "user", "content": prompt(text)},
                {"role": "assistant", "content": label},
            ]
        }
        for label in LABELS
        for text in tickets(phrases, split, label, seed)
    ]
    random.Random(f"{seed}:{split}:order").shuffle(made)
    return made


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the two files")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for split, name in FILES.items():
        text = "".join(json.dumps(row) + "\n" for row in rows(split, given.seed))
        (given.out / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
