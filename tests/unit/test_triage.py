"""The demo's data: balanced, made by its script, and held out for real."""

from __future__ import annotations

import importlib.util
import json
import re
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "triage"
RUN = 6


@pytest.fixture(scope="module")
def make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("triage_make", FOLDER / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / name).read_text("utf-8").splitlines()]


def ticket(row: dict[str, Any]) -> str:
    text: str = row["messages"][0]["content"]
    assert text.startswith("Ticket: ")
    assert text.endswith("\nLabel?")
    return text.removeprefix("Ticket: ").removesuffix("\nLabel?")


@pytest.mark.parametrize(("split", "name"), [("train", "train.jsonl"), ("held", "heldout.jsonl")])
def test_the_committed_files_are_what_the_script_writes(
    make: ModuleType, split: str, name: str
) -> None:
    assert read(name) == make.rows(split)


@pytest.mark.parametrize(("name", "each"), [("train.jsonl", 120), ("heldout.jsonl", 40)])
def test_rows_are_balanced_different_and_of_a_ticket_s_length(name: str, each: int) -> None:
    rows = read(name)
    labels = Counter(row["messages"][1]["content"] for row in rows)
    assert labels == dict.fromkeys(("billing", "shipping", "account", "technical", "returns"), each)
    tickets = [ticket(row) for row in rows]
    assert len({text.lower() for text in tickets}) == len(tickets)
    assert all(8 <= len(text.split()) <= 40 for text in tickets)
    assert not any(re.search(r"[{}<>|]", text) for text in tickets)


def templates(block: Any) -> set[str]:
    if isinstance(block, list):
        return {" ".join(re.findall(r"\w+", line.lower())) for line in block}
    return set().union(*(templates(v) for k, v in block.items() if k != "slots"))


def test_no_template_is_in_both_files(make: ModuleType) -> None:
    phrases = make.read_phrases()
    train, held = templates(phrases["train"]), templates(phrases["held"])
    assert len(train) > 200
    assert len(held) > 100
    assert not train & held


def runs(rows: list[dict[str, Any]], names: re.Pattern[str]) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for row in rows:
        words = re.findall(r"[a-z']+|_", names.sub("_", ticket(row).lower()))
        found |= {tuple(words[i : i + RUN]) for i in range(len(words) - RUN + 1)}
    return found


def test_no_run_of_six_words_is_in_both_files(make: ModuleType) -> None:
    phrases = make.read_phrases()
    fillers = {
        word.lower()
        for split in ("train", "held")
        for words in phrases[split]["slots"].values()
        for word in words
    }
    names = re.compile(r"\b(" + "|".join(sorted(fillers, key=len, reverse=True)) + r")s?\d*\b")
    train, held = read("train.jsonl"), read("heldout.jsonl")
    assert runs(train[:300], names) & runs(train[300:], names), "the measure finds nothing"
    assert not runs(train, names) & runs(held, names)
