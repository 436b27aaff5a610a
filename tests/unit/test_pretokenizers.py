"""The table of pre-tokenizers: every rule cuts as its pattern says, by another engine too."""

from __future__ import annotations

import json
from typing import Any

import pytest
import tokenizers
from tokenizers import models, pre_tokenizers

from puna.errors import TokenizerError
from puna.text.gguf_pre import pre_name
from puna.text.pretokenizer import PreTokenizer, Split, cutter, normalizer
from puna.text.pretokenizers import TABLE, pretokenizer
from tests.unit.vocabularies import HARD, random_texts

TEXT = "it's 'S  ab\n\n x=12345 我go。 aB ()\n ٣  "
CUTS = {
    "gpt-2": "it|'s| '|S| | ab|\n\n| x|=|12345| 我go|。| aB| ()|\n| ٣|  ",
    "starcoder": "it|'s| '|S| | ab|\n\n| x|=|1|2|3|4|5| 我go|。| aB| ()|\n |٣|  ",
    "falcon": "it|'|s| |'|S| | ab|\n\n| x|=|123|45| 我go|。| aB| |()|\n| ٣|  ",
    "default": "it|'|s| |'|S| | ab|\n\n| x|=|123|45| 我go|。| aB| |()|\n| |٣|  ",
    "llama-bpe": "it|'s| '|S| | ab|\n\n| x|=|123|45| 我go|。| aB| ()\n| |٣|  ",
    "qwen2": "it|'s| '|S| | ab|\n\n| x|=|1|2|3|4|5| 我go|。| aB| ()\n| |٣|  ",
    "gpt-4o": "it's| '|S| | ab|\n\n| x|=|123|45| 我go|。| a|B| ()\n| |٣|  ",
    "tekken": "it|'s| '|S| | ab|\n\n| x|=|1|2|3|4|5| 我go|。| a|B| ()\n| |٣|  ",
    "kimi-k2": "it's| '|S| | ab|\n\n| x|=|123|45| |我|go|。| a|B| ()\n| |٣|  ",
    "deepseek-v3": "it|'s| '|S| | ab|\n\n| x|=|123|45| |我|go|。| aB| ()\n| |٣|  ",
    "deepseek-llm": "it|'|s| '|S| | ab|\n|\n| x|=|1|2|3|4|5| |我|go|。| aB| ()|\n| |٣|  ",
    "deepseek-coder": "it|'|s| '|S| | ab|\n|\n| x|=|1|2|3|4|5| |我|go|。| aB| ()|\n| |٣|  ",
    "bloom": "it's| 'S| | ab|\n\n| x=12345| 我go|。| aB| ()\n| ٣|  ",
    "superbpe": "it's 'S  ab\n\n x=|12|345| 我go。 aB ()\n |٣|  ",
}


def cut(rule: PreTokenizer, text: str) -> list[str]:
    pieces: list[tuple[str, tuple[int, int]]] = cutter(rule).pre_tokenize_str(text)
    return [text[start:end] for _, (start, end) in pieces]


@pytest.mark.parametrize("name", sorted(CUTS))
def test_cuts(name: str) -> None:
    assert "|".join(cut(pretokenizer(name, ""), TEXT)) == CUTS[name]


SINGLE = [rule for rule in TABLE if len(rule.steps) == 1 and isinstance(rule.steps[0], Split)]


@pytest.mark.parametrize("rule", SINGLE, ids=lambda rule: rule.name)
def test_another_engine_cuts_alike(rule: PreTokenizer) -> None:
    """The patterns are Oniguruma's; `regex` reads the same syntax with tables of its own."""
    regex: Any = pytest.importorskip("regex")
    step = rule.steps[0]
    assert isinstance(step, Split)
    pattern = regex.compile(step.pattern.replace(r"\z", r"\Z"), regex.V1)
    for text in [TEXT, *HARD, *random_texts(120, seed=8)]:
        # Letters that only one of the two engines' Unicode versions knows cannot be compared.
        text = "".join(c for c in text if c < "\u3100" or "\u4e00" <= c < "\ua000")
        expected, at = [], 0
        for found in pattern.finditer(text):
            expected += [text[at : found.start()], found[0]]
            at = found.end()
        expected.append(text[at:])
        assert cut(rule, text) == [piece for piece in expected if piece]


@pytest.mark.parametrize("rule", TABLE, ids=lambda rule: rule.name)
def test_nothing_is_lost(rule: PreTokenizer) -> None:
    if rule.spelling == "plain":
        return
    library: Any = tokenizers.Tokenizer(
        models.BPE({c: n for n, c in enumerate(pre_tokenizers.ByteLevel.alphabet())}, [])
    )
    library.pre_tokenizer = cutter(rule)
    for text in [TEXT, *HARD]:
        assert len(library.encode(text).ids) == len(text.encode())


def test_names() -> None:
    names = [name for rule in TABLE for name in rule.names]
    assert len(names) == len(set(names))
    assert pretokenizer("llama3", "") is pretokenizer("llama-bpe", "")
    with pytest.raises(TokenizerError, match="'nonsense' is not known") as caught:
        pretokenizer("nonsense", "x.gguf")
    assert caught.value.where == "x.gguf"
    assert all(rule.name in str(caught.value) for rule in TABLE)


def test_the_names_that_export_writes_are_of_the_same_rules() -> None:
    """GGUF is written with a name for a tokenizer.json's steps; read back it must mean them."""
    for rule in TABLE:
        if rule.spelling == "plain":
            continue
        library: Any = tokenizers.Tokenizer(models.BPE({"a": 0}, [], ignore_merges=rule.whole))
        library.pre_tokenizer = cutter(rule)
        if (normal := normalizer(rule)) is not None:
            library.normalizer = normal
        name = pre_name(json.loads(library.to_str()))
        if name is not None:
            written = pretokenizer(name, "")
            assert (written.steps, written.normalizer) == (rule.steps, rule.normalizer)
            assert written.whole == rule.whole
    assert pretokenizer("smollm", "") is pretokenizer("starcoder", "")
