"""The name that GGUF has for how a tokenizer.json cuts text: it knows names, and no patterns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from puna.text.pretokenizer import Digits, Punctuation, Split, Step, Words
from puna.text.pretokenizers import pretokenizer

# Names that llama.cpp has too, in the order in which they are tried.
_NAMES = (
    *("gpt-2", "olmo", "smollm", "command-r", "falcon", "llama-bpe", "smaug-bpe", "qwen2"),
    *("hunyuan", "bloom", "gpt-4o", "tekken", "deepseek-llm", "deepseek-coder", "deepseek-v3"),
    *("viking", "superbpe", "seed-coder", "bailingmoe"),
)
_RULES = {name: pretokenizer(name, "") for name in _NAMES}


def pre_name(definition: Mapping[str, Any]) -> str | None:
    """Return the value of `tokenizer.ggml.pre` for a byte-level tokenizer.json, or None.

    Only a name whose steps are exactly the file's is returned, never one that is near.
    """
    steps = tuple(_steps(definition.get("pre_tokenizer") or {}))
    normalizer = _normalizer(definition.get("normalizer") or {})
    whole = definition["model"].get("ignore_merges") is True
    for name, rule in _RULES.items():
        if (rule.steps, rule.normalizer, rule.whole) == (steps, normalizer, whole):
            return name
    return None


def _normalizer(entry: Mapping[str, Any]) -> str | None:
    if entry.get("type") == "Sequence":
        parts = entry.get("normalizers", [])
        return _normalizer(parts[0]) if len(parts) == 1 else ("Sequence" if parts else None)
    return entry.get("type")


def _steps(entry: Mapping[str, Any]) -> Iterator[Step | str]:
    """Yield the steps of a pre-tokenizer; one that no record has comes as text."""
    match entry:
        case {"type": "Sequence"}:
            for part in entry["pretokenizers"]:
                yield from _steps(part)
        case {"type": "ByteLevel"}:
            if entry.get("add_prefix_space"):
                yield "a space before the text"
            if entry.get("use_regex", True):
                yield Words()
        case {"type": "Digits"}:
            yield Digits(entry.get("individual_digits") is True)
        case {"type": "Punctuation", "behavior": "Contiguous"}:
            yield Punctuation()
        case {"type": "Split", "behavior": "Isolated"} if not entry.get("invert"):
            yield Split(next(iter(entry["pattern"].values())))
        case {"type": _}:
            yield str(entry)
