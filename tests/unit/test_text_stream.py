"""Text as it comes: whole characters only, the same as decoding at once, and stops wherever cut."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from puna.errors import TokenizerError, UsageError
from puna.text import StopWatch, TextStream, Tokenizer
from tests.unit.text_samples import byte_level, loaded, sentencepiece_model

BROKEN = "\N{REPLACEMENT CHARACTER}"
KINDS = (
    *("byte level", "bytes and more", "sentencepiece", "word piece", "metaspace", "stripped"),
    *("llama", "neox", "mistral"),
)
texts = st.text(
    st.one_of(
        st.sampled_from("aethl mu  \n<>/s[]"),
        st.sampled_from("äß–ラマ山😀👩\N{ZERO WIDTH JOINER}👧ह\N{DEVANAGARI VOWEL SIGN I}"),
        st.characters(codec="utf-8"),
    ),
    max_size=30,
)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    """The small ones made here and, where the shared material is, the real ones."""
    merges = ("t h", "th e", "Ġ the", "Ã ¼", "ð Ł", "ðŁ ĺ")
    made = {
        "byte level": byte_level(tmp_path_factory.mktemp("bpe"), ["<s>", "</s>"], merges),
        "sentencepiece": sentencepiece_model(tmp_path_factory.mktemp("spm")),
    }
    for kind, parts in BY_WINDOW.items():
        folder = tmp_path_factory.mktemp("window")
        (folder / "tokenizer.json").write_text(json.dumps(FRAME | parts))
        made[kind] = loaded(folder)
    bpe = json.loads(made["byte level"].files[0].read_text("utf-8"))
    also = {"type": "Replace", "pattern": {"String": "#"}, "content": "+"}
    bpe["decoder"] = {"type": "Sequence", "decoders": [bpe["decoder"], also]}
    folder = tmp_path_factory.mktemp("window")
    (folder / "tokenizer.json").write_text(json.dumps(bpe))
    made["bytes and more"] = loaded(folder)
    return made


FRAME = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "normalizer": None,
    "post_processor": None,
    "added_tokens": [
        {"id": 0, "content": "[UNK]", "special": True}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    ],
}
UNIGRAM = [["[UNK]", -9.0], *([piece, -2.0] for piece in ("▁", "a", "▁a", "▁the", "😀", "\n"))]
# Decoders that are no map from ids to bytes: what an id says depends on its neighbors.
BY_WINDOW: dict[str, dict[str, Any]] = {
    "word piece": {
        "pre_tokenizer": {"type": "Whitespace"},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": False},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {"[UNK]": 0, "a": 1, "b": 2, "##a": 3, "##b": 4, "ä": 5, "##😀": 6, "the": 7},
        },
    },
    "metaspace": {
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"},
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"},
        "model": {"type": "Unigram", "unk_id": 0, "vocab": UNIGRAM},
    },
    "stripped": {
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"},
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 3, "stop": 0},
            ],
        },
        "model": {"type": "Unigram", "unk_id": 0, "vocab": UNIGRAM},
    },
}


def get(kind: str, tokenizers: dict[str, Tokenizer], request: pytest.FixtureRequest) -> Tokenizer:
    if kind not in tokenizers:
        data: Path = request.getfixturevalue("shared") / "data" / "tokenizers"
        if kind == "mistral":
            tokenizers[kind] = loaded(data / "mistral-7b-instruct-v0.3")
        else:
            file, name = {
                "llama": ("llama2_tokenizer.model", "tokenizer.model"),
                "neox": ("gpt-neox/20B_tokenizer.json", "tokenizer.json"),
            }[kind]
            folder: Path = request.getfixturevalue("tmp_path_factory").mktemp(kind)
            (folder / name).symlink_to(data / file)
            tokenizers[kind] = loaded(folder)
    return tokenizers[kind]


def streamed(
    tokenizer: Tokenizer, ids: Sequence[int], prompt: Sequence[int] = (), *, skip: bool = True
) -> list[str]:
    stream = TextStream(tokenizer, prompt, skip_special=skip)
    return [*(stream.push(token) for token in ids), stream.finish()]


def check(tokenizer: Tokenizer, ids: Sequence[int]) -> None:
    """Streams these ids in each way and holds the result against decoding at once."""
    for skip in (True, False):
        whole = tokenizer.decode(ids, skip_special=skip)
        pieces = streamed(tokenizer, ids, skip=skip)
        assert "".join(pieces) == whole
        # A character is never given in parts: what is broken is broken in the whole, too.
        assert sum(piece.count(BROKEN) for piece in pieces) == whole.count(BROKEN)
        shown = ""
        for piece in pieces:
            shown += piece
            assert whole.startswith(shown)


@pytest.mark.parametrize("kind", KINDS)
def test_stream_of_text_is_its_decoding(
    kind: str, tokenizers: dict[str, Tokenizer], request: pytest.FixtureRequest
) -> None:
    tokenizer = get(kind, tokenizers, request)

    @settings(max_examples=80, deadline=None)
    @given(text=texts)
    @example(text="👩\N{ZERO WIDTH JOINER}👩\N{ZERO WIDTH JOINER}👧 the über-llama\n")
    @example(text="   the")
    @example(text="</s>the<s>")
    def run(text: str) -> None:
        ids = tokenizer.encode(text, add_special=False)
        check(tokenizer, ids)
        if kind in {"byte level", "sentencepiece", "llama"}:  # what has a byte for everything
            plain = tokenizer.encode(text, add_special=False, parse_special=False)
            assert "".join(streamed(tokenizer, plain)) == text

    run()


@pytest.mark.parametrize("kind", KINDS)
def test_stream_of_any_ids_is_their_decoding(
    kind: str, tokenizers: dict[str, Tokenizer], request: pytest.FixtureRequest
) -> None:
    """A model may say bytes that are no text, in any order."""
    tokenizer = get(kind, tokenizers, request)
    low = st.integers(0, min(300, tokenizer.vocab_size - 1))
    ids = st.lists(st.one_of(low, st.integers(0, tokenizer.vocab_size - 1)), max_size=30)

    @settings(max_examples=80, deadline=None)
    @given(ids=ids)
    def run(ids: list[int]) -> None:
        check(tokenizer, ids)

    run()


@pytest.mark.parametrize("kind", KINDS)
def test_prompt_and_answer_are_one_text(
    kind: str, tokenizers: dict[str, Tokenizer], request: pytest.FixtureRequest
) -> None:
    tokenizer = get(kind, tokenizers, request)

    @settings(max_examples=50, deadline=None)
    @given(text=texts, cut=st.integers(0, 40))
    @example(text="the llama", cut=1)
    def run(text: str, cut: int) -> None:
        ids = tokenizer.encode(text, add_special=False)
        prompt, rest = ids[:cut], ids[cut:]
        before = tokenizer.decode(prompt)
        if BROKEN in before:
            return  # the prompt ends within a character, which then belongs to the answer
        assert before + "".join(streamed(tokenizer, rest, prompt)) == tokenizer.decode(ids)

    run()


def test_characters_wait_for_their_last_byte(tokenizers: dict[str, Tokenizer]) -> None:
    spm = tokenizers["sentencepiece"]
    ids = [spm.id_of(piece) for piece in ("▁the", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "▁a")]
    assert None not in ids
    assert streamed(spm, [token for token in ids if token is not None]) == [
        *("the", "", "", "", "😀", " a", "")
    ]
    bpe = tokenizers["byte level"]
    ids = [bpe.id_of(piece) for piece in ("ðŁĺ", "Ģ", "Ã", "the")]
    assert streamed(bpe, [token for token in ids if token is not None]) == [
        *("", "😀", "", f"{BROKEN}the", "")
    ]
    stream = TextStream(bpe)
    assert stream.push(bpe.id_of("Ã") or 0) == ""
    assert stream.finish() == BROKEN


def test_a_word_after_a_prompt_keeps_its_space(tokenizers: dict[str, Tokenizer]) -> None:
    spm = tokenizers["sentencepiece"]
    the = spm.encode("the", add_special=False)
    assert "".join(streamed(spm, the)) == "the"
    assert "".join(streamed(spm, the, the)) == " the"
    # After BOS alone the space is still the tokenizer's own.
    assert "".join(streamed(spm, the, [1])) == "the"


def test_an_id_that_does_not_exist(tokenizers: dict[str, Tokenizer]) -> None:
    for tokenizer in tokenizers.values():
        with pytest.raises(TokenizerError, match="no id 99999999"):
            TextStream(tokenizer).push(99_999_999)


def cut(text: str, marks: Sequence[int]) -> list[str]:
    places = sorted({min(mark, len(text)) for mark in marks} | {0, len(text)})
    return [text[a:b] for a, b in pairwise(places)]


def expected(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """By search, not by automaton: the stop that is complete first, the longest of those."""
    for end in range(1, len(text) + 1):
        met = [stop for stop in stops if text[:end].endswith(stop)]
        if met:
            return text[: end - max(map(len, met))], True
    return text, False


words = st.text("ab", max_size=24)


@settings(max_examples=400, deadline=None)
@given(
    text=words,
    stops=st.lists(st.text("ab", min_size=1, max_size=7), max_size=3),
    marks=st.lists(st.integers(0, 24), max_size=10),
)
@example(text="aab", stops=["ab"], marks=[1, 2])
@example(text="aabaac", stops=["aabaad", "baa"], marks=[5])
@example(text="abab", stops=["b", "ab"], marks=[])
@example(text="aaab", stops=["aab"], marks=[2])
@example(text="abaababaab", stops=["ababaa"], marks=[7])
def test_stops_are_found_however_the_text_is_cut(
    text: str, stops: list[str], marks: list[int]
) -> None:
    want, met = expected(text, stops)
    watch = StopWatch(stops)
    shown = ""
    found = False
    for piece in cut(text, marks):
        part, found = watch.push(piece)
        shown += part
        assert want.startswith(shown)  # nothing is shown that might have to be taken back
    assert found == met
    assert shown + watch.finish() == want
    if met:
        assert watch.push("more") == ("", True)


def test_only_what_may_begin_a_stop_is_held() -> None:
    watch = StopWatch(["\nUser:", "</s>"])
    assert watch.push("Hello") == ("Hello", False)
    assert watch.push("\nUs") == ("", False)
    assert watch.push("age <") == ("\nUsage ", False)
    assert watch.push("b>") == ("<b>", False)
    assert watch.push("\n") == ("", False)
    assert watch.push("\nUser: hi") == ("\n", True)
    assert watch.finish() == ""


def test_one_stop_may_be_given_as_text() -> None:
    assert StopWatch("END").push("at the END.") == ("at the ", True)
    assert StopWatch([]).push("anything") == ("anything", False)


@pytest.mark.parametrize(("stops", "reason"), [([""], "empty"), ([3], "must be text, not int")])
def test_bad_stops(stops: list[str], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        StopWatch(stops)
