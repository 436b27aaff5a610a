"""Write the text that cria learns from: `python recipes/cria/make_data.py --out DIR --seed 0`.

Writes pretrain.jsonl, chat.jsonl, heldout.jsonl and stats.json. The same seed and scale give the
same bytes; heldout.jsonl is the same for every seed and every scale.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, TaskID
from text import MIXED_SHARE, PROSE, SKILLS, Draw
from text.conversations import (
    LONGEST,
    all_reserved,
    held_row,
    length,
    mixed_row,
    reserved_of,
    training_row,
)
from text.statistics import Vocabulary, grammar, overlap, unique_share

from puna.errors import PunaError, StorageError, UsageError

Row = dict[str, Any]

PRETRAIN_CHARS = 13_000_000
CHAT_CHARS = 14_000_000
HELD_ROWS = 200
# A grammar that repeats itself this often in a row has little left to say.
PATIENCE = 400


@dataclass(frozen=True, slots=True)
class Corpus:
    """All rows of one run, in the order in which they are written."""

    pretrain: list[Row]
    chat: list[Row]
    heldout: list[Row]
    kinds: Counter[str]
    dropped: int


class Collector:
    """Draws rows of one kind until a budget of characters is met, without repeating any."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance = advance
        self._reserved = all_reserved()
        self._seen: set[bytes] = set()
        self.dropped = 0

    def fill(self, make: Callable[[], Row], size: Callable[[Row], int], budget: int) -> list[Row]:
        """Return new rows of about `budget` characters; fewer when the grammar is used up."""
        rows: list[Row] = []
        spent = stale = 0
        while spent < budget and stale < PATIENCE:
            row = make()
            text = said(row)
            key = hashlib.blake2b(text.encode(), digest_size=12).digest()
            if key in self._seen or size(row) > LONGEST:
                stale += 1
                continue
            stale = 0
            self._seen.add(key)
            if self._reserved.found(text):
                self.dropped += 1
                continue
            rows.append(row)
            spent += size(row)
            self._advance(size(row))
        return rows


def said(row: Row) -> str:
    """Return what makes a row different from others: its text, or its turns without the system."""
    if "text" in row:
        return str(row["text"])
    return "\0".join(m["content"] for m in row["messages"] if m["role"] != "system")


def prose_size(row: Row) -> int:
    """Return the characters of a row of plain text."""
    return len(row["text"])


def pretraining(collector: Collector, seed: int, scale: float) -> tuple[list[Row], Counter[str]]:
    """Return the plain texts, shuffled, and how many there are of each kind."""
    rows: list[Row] = []
    kinds: Counter[str] = Counter()
    total = sum(prose.share for prose in PROSE)
    for prose in PROSE:
        draw = Draw(f"{seed}:prose:{prose.name}")
        budget = math.ceil(PRETRAIN_CHARS * scale * prose.share / total)
        made = collector.fill(lambda: {"text": prose.make(draw)}, prose_size, budget)  # noqa: B023
        kinds[prose.name] = len(made)
        rows += made
    random.Random(f"{seed}:prose:order").shuffle(rows)
    return rows, kinds


def chat(collector: Collector, seed: int, scale: float) -> list[Row]:
    """Return the conversations, shuffled; what skills leave of the budget goes to mixed talks."""
    rows: list[Row] = []
    total = sum(skill.share for skill in SKILLS) + MIXED_SHARE
    for skill in SKILLS:
        draw = Draw(f"{seed}:chat:{skill.name}")
        budget = math.ceil(CHAT_CHARS * scale * skill.share / total)
        rows += collector.fill(lambda: training_row(draw, skill), length, budget)  # noqa: B023
    draw = Draw(f"{seed}:chat:mixed")
    left = math.ceil(CHAT_CHARS * scale) - sum(length(row) for row in rows)
    rows += collector.fill(lambda: mixed_row(draw), length, left)
    random.Random(f"{seed}:chat:order").shuffle(rows)
    return rows


def held_out() -> list[Row]:
    """Return the held-out rows: for each skill new words, new phrasings, or both kinds apart."""
    return [
        row for skill in SKILLS for novelty in skill.novelty for row in _held_of(skill, novelty)
    ]


def _held_of(skill: Any, novelty: str) -> Iterator[Row]:
    draw = Draw(
        f"held-out:{skill.name}:{novelty}",
        held_words=novelty == "words",
        held_phrasings=novelty == "phrasing",
    )
    reserved, own = reserved_of(skill), any(pool.held for pool in skill.words)
    seen: set[str] = set()
    stale = 0
    while len(seen) < HELD_ROWS // len(skill.novelty) and stale < PATIENCE:
        row = held_row(draw, skill, novelty)
        prompt = json.dumps(row["messages"], ensure_ascii=False)
        stale += 1
        if prompt in seen or (novelty == "words" and own and not reserved.found(prompt)):
            continue
        stale = 0
        seen.add(prompt)
        yield row


def prompt_text(row: Row) -> str:
    """Return what the user says in a row, as one text."""
    return "\n".join(m["content"] for m in row["messages"] if m["role"] == "user")


def statistics(corpus: Corpus) -> Row:
    """Return the figures of stats.json."""
    words = Vocabulary()
    pretrain = words.encode(row["text"] for row in corpus.pretrain)
    talks = words.encode("\n".join(m["content"] for m in row["messages"]) for row in corpus.chat)
    trained = words.encode(
        m["content"] for row in corpus.chat for m in row["messages"] if m["role"] == "user"
    )
    skills = Counter(row["skill"] for row in corpus.chat)
    sizes: Counter[str] = Counter()
    for row in corpus.chat:
        sizes[row["skill"]] += length(row)
    shared = overlap(trained, [words.encode([prompt_text(row)]) for row in corpus.heldout])
    return {
        "pretrain": {
            "rows": len(corpus.pretrain),
            "characters": sum(prose_size(row) for row in corpus.pretrain),
            "unique_4gram_share": unique_share(pretrain, 4),
            "unique_8gram_share": unique_share(pretrain, 8),
            "kinds": {
                prose.name: {"rows": corpus.kinds[prose.name], **grammar(prose)} for prose in PROSE
            },
        },
        "chat": {
            "rows": len(corpus.chat),
            "characters": sum(sizes.values()),
            "unique_4gram_share": unique_share(talks, 4),
            "unique_8gram_share": unique_share(talks, 8),
            "skills": {
                skill.name: {
                    "rows": skills[skill.name],
                    "characters": sizes[skill.name],
                    **grammar(skill),
                }
                for skill in SKILLS
            }
            | {"mixed": {"rows": skills["mixed"], "characters": sizes["mixed"]}},
        },
        "heldout": {
            "rows": len(corpus.heldout),
            "skills": {
                f"{skill.name}/{novelty}": _distance(corpus.heldout, shared, skill.name, novelty)
                for skill in SKILLS
                for novelty in skill.novelty
            },
        },
        "dropped_for_a_reserved_word": corpus.dropped,
    }


def _distance(
    rows: list[Row], shared: list[tuple[float, float | None]], skill: str, novelty: str
) -> Row:
    own = [
        measure
        for row, measure in zip(rows, shared, strict=True)
        if row["skill"] == skill and row["novelty"] == novelty
    ]
    eights = [eight for _, eight in own if eight is not None]
    return {
        "rows": len(own),
        "longest_shared_run_share": round(sum(run for run, _ in own) / max(1, len(own)), 3),
        "shared_8gram_share": round(sum(eights) / len(eights), 3) if eights else None,
    }


def make(out: Path, *, seed: int, scale: float = 1.0, console: Console | None = None) -> Row:
    """Write the four files to `out` and return the figures of stats.json.

    Raises UsageError for a scale that makes no text, StorageError when the disk refuses.
    """
    if not 0 < scale <= 10:
        raise UsageError(f"a scale of {scale} makes no sense", remedy="use 0.01 to 10")
    _prepare(out)
    with Progress(console=console or Console(stderr=True), transient=True) as progress:
        goal = math.ceil((PRETRAIN_CHARS + CHAT_CHARS) * scale)
        task: TaskID = progress.add_task("writing text", total=goal)
        collector = Collector(lambda count: progress.advance(task, count))
        plain, kinds = pretraining(collector, seed, scale)
        talks = chat(collector, seed, scale)
        progress.update(task, description="measuring", completed=goal)
        corpus = Corpus(plain, talks, held_out(), kinds, collector.dropped)
        figures = {"seed": seed, "scale": scale, **statistics(corpus)}
    files = {
        "pretrain.jsonl": _lines(corpus.pretrain),
        "chat.jsonl": _lines(corpus.chat),
        "heldout.jsonl": _lines(corpus.heldout),
        "stats.json": json.dumps(figures, indent=2) + "\n",
    }
    for name, text in files.items():
        _write(out, name, text)
    return figures


def _lines(rows: list[Row]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"could not make the folder: {error.strerror}",
            where=str(folder),
            remedy="choose another folder with --out",
        ) from error


def _write(folder: Path, name: str, text: str) -> None:
    part = folder / f".{name}.part"
    try:
        with part.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(folder / name)
    except OSError as error:
        raise StorageError(
            f"could not write {name}: {error.strerror}",
            where=str(folder),
            remedy="choose a folder with free space",
        ) from error


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the four files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="1 is the full size, 27 MB of text"
    )
    given = parser.parse_args()
    try:
        figures = make(given.out, seed=given.seed, scale=given.scale)
    except PunaError as error:
        print(error, file=sys.stderr)
        return 2
    print(
        f"{figures['pretrain']['rows']} texts, {figures['chat']['rows']} conversations, "
        f"{figures['heldout']['rows']} held-out rows in {given.out}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
