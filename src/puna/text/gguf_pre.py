"""The name that GGUF has for how a tokenizer.json cuts text: it knows names, and no patterns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT_4 = f"{_SUFFIX}|{_REST}"
_WORDS = ("words",)
_DIGIT = ("digits", True)

Step = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Rule:
    """One name: the steps it stands for, its normalizer, and whether whole pieces skip merges."""

    name: str
    steps: tuple[Step, ...]
    normalizer: str | None = None
    whole: bool = False


_RULES = (
    _Rule("gpt-2", (_WORDS,)),
    _Rule("olmo", (_WORDS,), "NFC"),
    _Rule("smollm", (_DIGIT, _WORDS)),
    _Rule("command-r", (_DIGIT, _WORDS), "NFC"),
    _Rule(
        "falcon",
        (("punctuation",), _WORDS, ("digits", False), ("split", "[0-9][0-9][0-9]")),
    ),
    _Rule("llama-bpe", (("split", _GPT_4.replace("DIGITS", r"\p{N}{1,3}")),), whole=True),
    _Rule("smaug-bpe", (("split", _GPT_4.replace("DIGITS", r"\p{N}{1,3}")),)),
    _Rule("qwen2", (("split", _GPT_4.replace("DIGITS", r"\p{N}")),), "NFC"),
    _Rule("hunyuan", (("split", _GPT_4.replace("DIGITS", r"\p{N}")),)),
    _Rule("bloom", (("split", " ?[^(\\s|[.,!?…。，、।۔،])]+"),)),
)


def pre_name(definition: Mapping[str, Any]) -> str | None:
    """Return the value of `tokenizer.ggml.pre` for a byte-level tokenizer.json, or None.

    Only a name whose steps are exactly the file's is returned, never one that is near.
    """
    steps = tuple(_steps(definition.get("pre_tokenizer") or {}))
    normalizer = _normalizer(definition.get("normalizer") or {})
    whole = definition["model"].get("ignore_merges") is True
    for rule in _RULES:
        if (rule.steps, rule.normalizer, rule.whole) == (steps, normalizer, whole):
            return rule.name
    return None


def _normalizer(entry: Mapping[str, Any]) -> str | None:
    if entry.get("type") == "Sequence":
        parts = entry.get("normalizers", [])
        return _normalizer(parts[0]) if len(parts) == 1 else ("Sequence" if parts else None)
    return entry.get("type")


def _steps(entry: Mapping[str, Any]) -> Iterator[Step]:
    kind = entry.get("type")
    if kind == "Sequence":
        for part in entry["pretokenizers"]:
            yield from _steps(part)
    elif kind == "ByteLevel":
        if entry.get("add_prefix_space"):
            yield ("a space before the text",)
        if entry.get("use_regex", True):
            yield _WORDS
    elif kind == "Digits":
        yield ("digits", entry.get("individual_digits") is True)
    elif kind == "Punctuation":
        yield ("punctuation",) if entry.get("behavior") == "Contiguous" else (str(entry),)
    elif kind == "Split" and entry.get("behavior") == "Isolated" and not entry.get("invert"):
        yield ("split", next(iter(entry["pattern"].values())))
    elif kind:
        yield (str(entry),)
