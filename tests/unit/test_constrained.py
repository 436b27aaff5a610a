"""Answers of a given form: every kind of vocabulary, random schemas, every keyword."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers

import puna
from puna.generate import LanguageModel, Options
from puna.generate.constrain import Grammars, _Words
from puna.generate.grammar import Choice, Grammar, JsonSchema, Lark, Regex, grammar_of
from puna.text import TextWatch, Tokenizer
from puna.text.gguf_vocab import tokenizer_from_gguf
from tests.unit.text_samples import CORPUS, byte_level, loaded, sentencepiece_model
from tests.unit.vocabularies import tiny_gpt2

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "tags": {"type": "array", "items": {"enum": ["a", "é"]}, "maxItems": 2},
    },
    "required": ["name", "tags"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def cria() -> LanguageModel:
    return puna.load("cria", dtype="float32")


@pytest.fixture(scope="module")
def grammars(cria: LanguageModel) -> Grammars:
    return Grammars(tokenizer_of(cria), cria.spec.vocab, cria.parts.text.stop_ids)


def tokenizer_of(lm: LanguageModel) -> Tokenizer:
    assert lm.tokenizer is not None
    return lm.tokenizer


def wander(
    grammars: Grammars, grammar: Grammar, seed: int, *, stop: int | None, force: bool = True
) -> tuple[list[int], int]:
    """Take a random way through a grammar, as an engine would; also return how many were forced."""
    constraint, chance = grammars.constraint(grammar), random.Random(seed)
    said: list[int] = []
    forced = 0
    while not constraint.done and len(said) < 4000:
        if force and (sure := constraint.forced()):
            forced += len(sure)
        else:
            allowed = constraint.allowed().nonzero()[:, 0].tolist()
            sure = [stop if stop in allowed and chance.random() < 0.2 else chance.choice(allowed)]
            if sure == [stop]:
                break
        for token in sure:
            constraint.take(token)
            said.append(token)
    return said, forced


# Vocabularies of every kind that Puna opens.


def spelled(folder: Path) -> Tokenizer:
    return byte_level(folder, ["<s>", "</s>"], ['" :', "Ġ {", "a b", "ab ab", '{ "', '{" n'])


def fallback(folder: Path) -> Tokenizer:
    return sentencepiece_model(folder)


def from_gguf(folder: Path) -> Tokenizer:
    return tokenizer_from_gguf(tiny_gpt2())


def left_to_the_library(folder: Path) -> Tokenizer:
    """Metaspace: its decoder is not one that Puna takes apart."""
    alphabet = sorted({*"".join(CORPUS), *'{}[]:,"0123456789\\/', "▁"} - {" "})
    vocabulary = {piece: token for token, piece in enumerate(["<unk>", "</s>", *alphabet])}
    vocabulary |= {"▁the": len(vocabulary), '":': len(vocabulary) + 1}
    library: Any = tokenizers.Tokenizer(
        models.Unigram([(piece, -1.0) for piece in vocabulary], unk_id=0)
    )
    library.pre_tokenizer = pre_tokenizers.Metaspace()
    library.decoder = decoders.Metaspace()
    library.add_special_tokens(["<unk>", "</s>"])
    library.save(str(folder / "tokenizer.json"))
    return loaded(folder)


@pytest.mark.parametrize("make", [spelled, fallback, from_gguf, left_to_the_library])
@pytest.mark.parametrize("force", [True, False])
def test_every_vocabulary_gives_valid_json(
    make: Callable[[Path], Tokenizer], force: bool, tmp_path: Path
) -> None:
    tokenizer = make(tmp_path)
    padded = tokenizer.vocab_size + 7
    stop = tokenizer.eos_id
    grammars = Grammars(tokenizer, padded, () if stop is None else {stop})
    prompt = tokenizer.encode("the llama says ")
    for seed in range(8):
        said, forced = wander(grammars, JsonSchema.of(PERSON), seed, stop=stop, force=force)
        watch = TextWatch(tokenizer, prompt, ())
        watch(said)
        value = json.loads(watch.finish())
        assert list(value) == ["name", "tags"]
        assert len(value["name"]) <= 8
        assert set(value["tags"]) <= {"a", "é"}
        assert max(said) < tokenizer.vocab_size
        assert not set(said) & tokenizer.special_ids
        assert bool(forced) == force


@pytest.mark.parametrize("make", [spelled, fallback, from_gguf, left_to_the_library])
def test_a_text_within_a_text_is_cut_as_the_tokenizer_cuts_it(
    make: Callable[[Path], Tokenizer], tmp_path: Path
) -> None:
    tokenizer = make(tmp_path)
    words = _Words(tokenizer, tokenizer.vocab_size, [tokenizer.vocab_size])
    for text in ('{"name": "', "ab", " the llama", "abab ab", '": [", "]'):
        ids = words(text)
        assert b"".join(words.tokens[token] for token in ids) == text.encode()
        assert words(text.encode()) == ids


@pytest.mark.parametrize(
    ("grammar", "pattern"),
    [
        (Regex(r"[a-c]{2}-\d?x*"), r"[a-c]{2}-\d?x*"),
        (Regex(""), ""),
        (Choice(("a llama", "a", 'say "hi"\n\\', "é", "</s>")), None),
        (Lark('start: "x" (y | "z")+\ny: /[0-9]+/ ";"'), r"x(\d+;|z)+"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_said_is_of_the_form(
    cria: LanguageModel, grammars: Grammars, grammar: Grammar, pattern: str | None
) -> None:
    tokenizer = tokenizer_of(cria)
    found = set()
    for seed in range(12):
        said, _ = wander(grammars, grammar, seed, stop=tokenizer.eos_id)
        found.add(tokenizer.decode(said, skip_special=False))
    if pattern is None:
        assert isinstance(grammar, Choice)
        assert found <= set(grammar.texts)
        assert len(found) > 2
    else:
        assert all(re.fullmatch(pattern, text) for text in found)


def test_a_model_without_an_end_stops_where_the_form_is_complete(tmp_path: Path) -> None:
    tokenizer = spelled(tmp_path)
    grammars = Grammars(tokenizer, tokenizer.vocab_size, ())
    for grammar, texts in ((Choice(("ab", "b")), {"ab", "b"}), (Regex("(ab)?"), {"", "ab"})):
        found = {
            tokenizer.decode(wander(grammars, grammar, seed, stop=None)[0]) for seed in range(9)
        }
        assert found <= texts
        assert found


# Random schemas, put to a model that samples.

names = st.text("abc", min_size=1, max_size=3)
numbers = (
    st.integers(-(2**53), 2**53)
    | st.sampled_from([2**60, -(2**55), 1e22, 1e15])
    | st.builds(
        lambda digits, power: float(f"{digits}e{power}"),
        st.integers(-(10**9), 10**9),
        st.integers(-9, 9),
    )
)


def schemas(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    def shape(fields: dict[str, dict[str, Any]], wanted: int) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": fields,
            "required": list(fields)[:wanted],
            "additionalProperties": False,
        }

    def row(items: dict[str, Any], least: int, more: int) -> dict[str, Any]:
        return {"type": "array", "items": items, "minItems": least, "maxItems": least + more}

    return (
        st.builds(shape, st.dictionaries(names, inner, max_size=3), st.integers(0, 3))
        | st.builds(row, inner, st.integers(0, 2), st.integers(0, 2))
        | st.builds(lambda two: {"anyOf": two}, st.lists(inner, min_size=1, max_size=2))
    )


def whole_numbers(least: int, more: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": least, "maximum": least + more}


def texts(least: int, more: int) -> dict[str, Any]:
    return {"type": "string", "minLength": least, "maxLength": least + more}


leaves = (
    st.builds(whole_numbers, st.integers(-99, 99), st.integers(0, 99))
    | st.builds(texts, st.integers(0, 2), st.integers(0, 3))
    | st.builds(lambda values: {"enum": values}, st.lists(numbers | names, min_size=1, unique=True))
    | st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"const": {"a": [1, "é"]}}])
)


def valid(value: Any, schema: dict[str, Any]) -> bool:
    """Say whether a value is valid, for the keywords above and no others."""
    if "anyOf" in schema:
        return any(valid(value, one) for one in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return value in schema.get("enum", [schema.get("const")])
    kinds = {"boolean": bool, "null": type(None), "string": str, "array": list, "object": dict}
    if type(value) is not kinds.get(schema["type"], int):
        return False
    if isinstance(value, dict):
        fields = schema["properties"]
        known = all(name in fields and valid(value[name], fields[name]) for name in value)
        return known and set(schema["required"]) <= set(value)
    if isinstance(value, list):
        fits = schema["minItems"] <= len(value) <= schema["maxItems"]
        return fits and all(valid(item, schema["items"]) for item in value)
    if isinstance(value, str):
        return bool(schema["minLength"] <= len(value) <= schema["maxLength"])
    return schema["type"] != "integer" or schema["minimum"] <= value <= schema["maximum"]


@settings(max_examples=40, deadline=None)
@given(
    schema=st.recursive(leaves, schemas, max_leaves=5),
    seed=st.integers(0, 999),
    temperature=st.sampled_from([0.0, 1.0, 3.0]),
)
def test_random_schemas_give_valid_json(
    cria: LanguageModel, schema: dict[str, Any], seed: int, temperature: float
) -> None:
    done = cria.generate("A", max_tokens=400, temperature=temperature, seed=seed, schema=schema)
    assert done.finish == "stop"
    assert valid(json.loads(done.text), schema)
    assert done.text == done.text.strip()


KEYWORDS: list[tuple[dict[str, Any], Callable[[Any], bool]]] = [
    ({"type": "number", "exclusiveMinimum": -1.5, "maximum": 2.25}, lambda n: -1.5 < n <= 2.25),
    ({"type": "number", "minimum": 0.1, "exclusiveMaximum": 0.3}, lambda n: 0.1 <= n < 0.3),
    ({"type": "integer", "minimum": -99, "maximum": 99, "multipleOf": 7}, lambda n: n % 7 == 0),
    ({"type": "string", "pattern": "a[bc]{2}", "maxLength": 5}, lambda t: "a" in t and len(t) < 6),
    ({"type": "string", "pattern": "^\\d{3}$"}, lambda t: t.isascii() and t.isdigit()),
    ({"type": "string", "format": "date"}, lambda t: date.fromisoformat(t).year < 10_000),
    ({"allOf": [{"type": "integer"}, {"minimum": 3, "maximum": 4}]}, lambda n: n in (3, 4)),
    (
        {"type": "array", "prefixItems": [{"const": 1}], "items": {"const": "b"}, "maxItems": 4},
        lambda row: row[:1] in ([], [1]) and set(row[1:]) <= {"b"} and len(row) < 5,
    ),
    (
        {"type": "object", "patternProperties": {"^a$": {"const": 0}}, "maxProperties": 1},
        lambda value: len(value) < 2 and value.get("a", 0) == 0,
    ),
    (
        {"$ref": "#/$defs/tree", "$defs": {"tree": {"enum": [[]]}}},
        lambda value: value == [],
    ),
]


@pytest.mark.parametrize(
    ("schema", "good"),
    KEYWORDS,
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_every_way_through_a_keyword_is_good(
    cria: LanguageModel, grammars: Grammars, schema: dict[str, Any], good: Callable[[Any], bool]
) -> None:
    tokenizer = tokenizer_of(cria)
    for seed in range(20):
        said, _ = wander(grammars, JsonSchema.of(schema), seed, stop=tokenizer.eos_id)
        assert good(json.loads(tokenizer.decode(said))), tokenizer.decode(said)


def test_forms_of_answers_in_a_batch_do_not_touch_each_other(cria: LanguageModel) -> None:
    prompts = ["The llama", "A fox", "Once upon a time"]
    options = {"regex": "[a-z]{4,9}!", "temperature": 1.5, "seed": 3}
    together = [done.text for done in cria.generate_many(prompts, **options)]
    assert together == [cria.generate(prompt, **options).text for prompt in prompts]
    assert all(re.fullmatch("[a-z]{4,9}!", text) for text in together)


def test_forms_in_chat_in_streams_and_with_log_probabilities(cria: LanguageModel) -> None:
    ask = [{"role": "user", "content": "Which animal?"}]
    assert cria.chat(ask, choice=["llama", "fox"]).text in {"llama", "fox"}
    text = "".join(cria.stream("The", schema=json.dumps(PERSON), max_tokens=80))
    assert set(json.loads(text)) == {"name", "tags"}
    scored = cria.generate("The", schema=PERSON, max_tokens=80, logprobs=True)
    assert set(json.loads(scored.text)) == {"name", "tags"}
    assert len(scored.logprobs) == len(scored.ids)


def test_what_is_forced_is_not_computed_token_by_token(cria: LanguageModel) -> None:
    said = {"name": "Lama glama", "family": ["Camelidae", "of the high grassland"]}
    request, _ = cria.request(cria.encode("It is"), Options(schema={"const": said}))
    cria.engine.submit(request)
    steps = 0
    while not cria.engine.idle:
        (event,) = cria.engine.step()
        steps += 1
    assert event.completion is not None
    assert json.loads(tokenizer_of(cria).decode(event.completion.token_ids)) == said
    assert steps * 4 < len(event.completion.token_ids)


def test_a_stop_string_within_what_is_forced_ends_the_text(cria: LanguageModel) -> None:
    done = cria.generate("It is", schema={"const": "one two three"}, stop="two")
    assert (done.text, done.finish) == ('"one ', "stop")


def test_without_a_form_nothing_is_allowed_or_forbidden(cria: LanguageModel) -> None:
    assert cria.request([1, 2], Options())[0].constraint is None


def test_the_same_grammar_is_compiled_once(cria: LanguageModel) -> None:
    grammars = Grammars(tokenizer_of(cria), cria.spec.vocab, (2,))
    form = grammar_of(schema=PERSON)
    assert form is not None
    one, two = grammars.constraint(form), grammars.constraint(JsonSchema.of(json.dumps(PERSON)))
    assert grammars._compiled.cache_info().misses == 1
    one.take(one.forced()[0])
    assert torch.equal(two.allowed(), grammars.constraint(form).allowed())
    assert not torch.equal(one.allowed(), two.allowed())
