"""Forms of answers that cannot be used: refused by name, and never at the cost of others."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import puna
from puna.errors import PunaError, TokenizerError, UsageError
from puna.generate import LanguageModel
from puna.generate.constrain import Grammars
from puna.generate.grammar import _MANY, _NAMED, _ONE, _PLAIN, JsonSchema, Lark, Regex
from tests.unit.tiny import save_tiny


@pytest.fixture(scope="module")
def cria() -> LanguageModel:
    return puna.load("cria", dtype="float32")


@pytest.fixture(scope="module")
def grammars(cria: LanguageModel) -> Grammars:
    assert cria.tokenizer is not None
    return Grammars(cria.tokenizer, cria.spec.vocab, cria.parts.text.stop_ids)


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "array", "uniqueItems": True}, "'uniqueItems'"),
        ({"properties": {"uniqueItems": {"not": {}}}}, "'not'"),
        ({"$defs": {"a": {"if": {}}}}, "'if'"),
        ({"anyOf": [{}, {"minimun": 3}]}, "'minimun'"),
        ({"type": "string", "nullable": True}, "'nullable'"),
        ({"x-guidance": {"lenient": True}}, "'x-guidance'"),
        ({"type": "string", "format": "nonsense"}, "nonsense"),
        ({"type": "sting"}, "sting"),
        ({"$ref": "http://example.com/schema"}, "example.com"),
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, "oneOf"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
        ({"enum": []}, "empty"),
        ({"enum": [-10, "a", -10.0]}, "more than once"),
        ({"enum": [{"a": [2**53 + 1]}]}, "9007199254740993"),
        ({"type": "integer", "maximum": -(2**63) + 1}, "exactly"),
        ({"const": 7512249428824743.0}, "exactly"),
        ({"type": "number", "minimum": 1e-30}, "1e-30"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, r"minimum \(5\)"),
        ({"properties": {"a": False}, "required": ["a"], "type": "object"}, "unsatisfiable"),
        (False, "JSON object"),
        ([1], "JSON object"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ({"const": float("nan")}, "not JSON"),
        ({"const": {1, 2}}, "not JSON"),
        ({"enum": [f"value {n}" for n in range(90_000)]}, "characters"),
        ({"enum": [f"value {n}" for n in range(30_000)]}, "too big"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 30 else "",
)
def test_schemas_that_are_refused(cria: LanguageModel, schema: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says) as error:
        cria.generate("The", schema=schema)
    assert str(error.value.where).startswith("schema")
    assert cria.engine.idle


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(sorted(_ONE | _MANY | _NAMED | _PLAIN)) | st.text(max_size=3),
            inner
            | st.sampled_from(["object", "array", "string", "#", "#/$defs/a", "^a+$", "integer"]),
            max_size=4,
        )
    ),
    max_leaves=15,
)


@settings(max_examples=150, deadline=None)
@given(schema=st.dictionaries(st.sampled_from(sorted(_ONE | _MANY | _PLAIN)), JUNK, min_size=1))
def test_any_json_is_a_schema_or_refused(grammars: Grammars, schema: dict[str, Any]) -> None:
    try:
        constraint = grammars.constraint(JsonSchema.of(schema))
    except UsageError:
        return
    assert constraint.forced() or constraint.allowed().any()


@settings(max_examples=150, deadline=None)
@given(text=st.text(st.sampled_from('ab*+?(){}[]|\\.^$,19-:/"%@<> \n'), max_size=30))
def test_any_text_is_a_regex_or_refused(grammars: Grammars, text: str) -> None:
    for form in (Regex(text), Lark("start: " + text)):
        try:
            constraint = grammars.constraint(form)
        except UsageError:
            continue
        assert constraint.forced() or constraint.allowed().any() or constraint.done


@pytest.mark.parametrize("before", ['"a"', "/[ab]/"])
def test_a_grammar_with_no_way_out_fails_alone(cria: LanguageModel, before: str) -> None:
    with pytest.raises(PunaError, match="allows nothing"):
        cria.generate("The", grammar=f"start: {before} X\nX: /[^\\s\\S]/")
    assert cria.engine.idle


def test_a_schema_nested_without_end_is_refused(cria: LanguageModel) -> None:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(5000):
        schema = {"type": "array", "items": schema}
    with pytest.raises(UsageError, match="nested"):
        cria.generate("The", schema=schema)


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"regex": "("}, "unclosed group"),
        ({"regex": "(?=a)b"}, "look-around"),
        ({"regex": r"[^\s\S]"}, "allows nothing"),
        ({"regex": 7}, "must be a text"),
        ({"regex": "a" * 2_000_000}, "characters"),
        ({"regex": "\ud800"}, "surrogate"),
        ({"choice": []}, "at least one"),
        ({"choice": "llama"}, "list"),
        ({"choice": ["a", ""]}, "at least one character"),
        ({"choice": [1]}, "each must be a text"),
        ({"grammar": 'rule: "a"'}, "no start rule"),
        ({"grammar": "start: start"}, "allows nothing"),
        ({"grammar": "start: ["}, "grammar"),
        ({"grammar": "start: " + "(" * 10_000 + '"a"' + ")" * 10_000}, "nested"),
        ({"regex": "a", "choice": ["a"]}, "regex and choice"),
        ({"schema": {}, "grammar": 'start: "a"'}, "schema and grammar"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_forms_that_are_refused(cria: LanguageModel, form: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        cria.generate("The", **form)
    assert cria.engine.idle


@pytest.mark.parametrize(
    "form",
    [
        {"regex": "b(a{1000}){1000}"},
        {"regex": "[bc]a{1000000}"},
        {"grammar": "start: x{1000}\nx: y{1000}\ny: z{1000}\nz: /[ab]/"},
        {"schema": {"type": "string", "pattern": "^[bc](a{1000}){1000}$"}},
        {"schema": {"type": "array", "minItems": 10**6, "items": {"type": "null"}}},
    ],
    ids=str,
)
def test_forms_too_large_to_say_end_soon(cria: LanguageModel, form: dict[str, Any]) -> None:
    """They are cut at the limit of tokens or fail; the model goes on answering others."""
    try:
        done = cria.generate("The", max_tokens=20, **form)
    except PunaError as error:
        assert "too" in str(error) or "limit" in str(error)
    else:
        assert done.finish == "length"
    assert cria.generate("The", max_tokens=3, choice=["a"]).text == "a"


def test_a_form_needs_a_tokenizer(tmp_path: Path) -> None:
    save_tiny(tmp_path)
    with pytest.raises(TokenizerError, match="no tokenizer"):
        puna.load(tmp_path).generate([1, 2], regex="a")


def test_without_llguidance_the_error_names_the_extra(
    cria: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cria.tokenizer is not None
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(UsageError, match="llguidance") as error:
        Grammars(cria.tokenizer, cria.spec.vocab, (2,))
    assert "puna[structured]" in str(error.value.remedy)
