"""Write the table of pre-tokenizers into docs/tokenizers.md, so that it cannot drift."""

from __future__ import annotations

import sys
from pathlib import Path

from puna.text.pretokenizer import Digits, PreTokenizer, Punctuation, Split, Step, Words
from puna.text.pretokenizers import TABLE

PAGE = Path(__file__).parent / "tokenizers.md"
MARK = "<!-- made by docs/make_tokenizers.py -->\n"


def words(step: Step) -> str:
    """Return one step in words."""
    match step:
        case Split():
            return "a pattern"
        case Digits(single):
            return "digits one by one" if single else "runs of digits"
        case Punctuation():
            return "runs of punctuation"
        case Words():
            return "GPT-2's words"


def notes(rule: PreTokenizer) -> str:
    """Return what else holds for a rule."""
    found = [
        "NFC first" if rule.normalizer else "",
        "whole tokens before merges" if rule.whole else "",
        {"no": "", "default": "BOS", "always": "BOS, whatever the file says"}[rule.bos],
        "EOS" if rule.eos else "",
        "plain text, `▁` for a space" if rule.spelling == "plain" else "",
    ]
    return "; ".join(note for note in found if note)


def patterns(rule: PreTokenizer) -> str:
    """Return the patterns of a rule, one a line; a list of characters too long to read is cut."""
    lines = [step.pattern for step in rule.steps if isinstance(step, Split)]
    shown = [line if len(line) < 400 else f"{line[:60]}…{line[-24:]}" for line in lines]
    escaped = [line.replace("\r", r"\r").replace("\n", r"\n") for line in shown]
    return "\n".join([rule.name, *(f"    {line}" for line in escaped)])


def made() -> str:
    """Return what follows the mark."""
    rows = ["| Name | Also | Used by | Cut at | And |", "|---|---|---|---|---|"]
    for rule in TABLE:
        also = ", ".join(f"`{name}`" for name in rule.names[1:])
        steps = ", then ".join(map(words, rule.steps)) or "nothing"
        rows.append(f"| `{rule.name}` | {also} | {rule.models} | {steps} | {notes(rule)} |")
    blocks = [patterns(rule) for rule in TABLE if any(isinstance(s, Split) for s in rule.steps)]
    return (
        "\n"
        + "\n".join(rows)
        + "\n\nThe patterns, in Oniguruma's syntax as `tokenizer.json` files have them:\n\n```\n"
        + "\n".join(blocks)
        + "\n```\n"
    )


def page() -> str:
    """Return the whole page."""
    before, _, _ = PAGE.read_text().partition(MARK)
    return before + MARK + made()


if __name__ == "__main__":
    if "--print" in sys.argv:
        sys.stdout.write(page())
    else:
        PAGE.write_text(page())
