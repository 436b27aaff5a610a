"""Broken and hostile vocabularies: GGUF metadata, tiktoken ranks, vocab.json with merges.txt."""

from __future__ import annotations

import base64
import json
import random
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from puna.errors import PunaError, TokenizerError
from puna.text import byte_level, load_tokenizer, open_tokenizer
from puna.text.gguf_vocab import tokenizer_from_gguf
from puna.text.pretokenizers import TABLE
from tests.attacks.checks import check_message, peak_memory
from tests.unit.vocabularies import HARD, as_metadata, rank_file, tiny_gpt2, trained

MOST_MEMORY = 600 * 2**20
BYTES = sorted(byte_level.BYTE_OF)
SIZE = 259


def check(error: PunaError, reason: str) -> None:
    check_message(error, reason)
    assert error.where


def llama(**more: Any) -> dict[str, Any]:
    """A SentencePiece vocabulary: three specials, 256 bytes, and `a`, `b`, `ab`."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), "a", "b", "ab"]
    metadata = {
        "model": "llama",
        "tokens": pieces,
        "token_type": [2, 3, 3, *[6] * 256, 1, 1, 1],
        "scores": [0.0] * 259 + [-3.0, -2.0, -1.0],
    }
    return {f"tokenizer.ggml.{key}": value for key, value in (metadata | more).items()}


def t5(**more: Any) -> dict[str, Any]:
    metadata = {
        "model": "t5",
        "tokens": ["<pad>", "</s>", "<unk>", "▁a", "b"],
        "token_type": [3, 3, 2, 1, 1],
        "scores": [0.0, 0.0, 0.0, -1.0, -2.0],
    }
    return {f"tokenizer.ggml.{key}": value for key, value in (metadata | more).items()}


PIECES = tiny_gpt2()["tokenizer.ggml.tokens"]
GGUF: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "nothing": ("the file holds no tokenizer", dict),
    "kind is a number": ("model must be text", lambda: tiny_gpt2(model=3)),
    "kind is plamo2": ("kind 'plamo2' are not", lambda: tiny_gpt2(model="plamo2")),
    "kind is rwkv": ("kind 'rwkv' are not supported", lambda: tiny_gpt2(model="rwkv")),
    "kind moves the cursor": ("are not supported", lambda: tiny_gpt2(model="\x1b[2J")),
    "no tokens": ("has no tokenizer.ggml.tokens", lambda: tiny_gpt2(tokens=None)),
    "tokens are text": ("must be an array", lambda: tiny_gpt2(tokens="abc")),
    "tokens are numbers": ("entry 0 is not text", lambda: tiny_gpt2(tokens=[1, 2])),
    "tokens are bytes": ("entry 0 is not text", lambda: tiny_gpt2(tokens=[b"a"])),
    "tokens are none": ("of 0 pieces cannot be one", lambda: tiny_gpt2(tokens=[])),
    "too many tokens": ("pieces cannot be one", lambda: tiny_gpt2(tokens=["a"] * 2_000_001)),
    "lone surrogate": ("is not UTF-8", lambda: tiny_gpt2(tokens=[*PIECES[:-1], "\udfff"])),
    "a piece twice": (
        "'the' has two ids: 257 and 258",
        lambda: tiny_gpt2(tokens=[*PIECES[:-1], "the"]),
    ),
    "a piece as long as a book": (
        "has 5,000,000 characters",
        lambda: tiny_gpt2(tokens=[*PIECES[:-1], "a" * 5_000_000]),
    ),
    "too few types": ("1 entries for 259", lambda: tiny_gpt2(token_type=[1])),
    "too many types": ("260 entries for 259", lambda: tiny_gpt2(token_type=[1] * 260)),
    "a type of nine": ("the unknown type 9", lambda: tiny_gpt2(token_type=[9] * SIZE)),
    "a type of -1": ("the unknown type -1", lambda: tiny_gpt2(token_type=[-1] * SIZE)),
    "types are text": ("is no whole number", lambda: tiny_gpt2(token_type=["1"] * SIZE)),
    "types are true": ("is no whole number", lambda: tiny_gpt2(token_type=[True] * SIZE)),
    "no merges": ("has no tokenizer.ggml.merges", lambda: tiny_gpt2(merges=None)),
    "merges are numbers": ("entry 1 is not text", lambda: tiny_gpt2(merges=["t h", 5])),
    "a merge of one": ("merge 0, 'th', is not two", lambda: tiny_gpt2(merges=["th"])),
    "a merge of nothing": ("merge 0, '', is not two", lambda: tiny_gpt2(merges=[""])),
    "a merge with half": ("is not two pieces", lambda: tiny_gpt2(merges=["t "])),
    "a merge of strangers": (
        "do not fit its vocabulary",
        lambda: tiny_gpt2(merges=["Ω Ω"]),
    ),
    "a merge into nothing": ("do not fit its vocabulary", lambda: tiny_gpt2(merges=["t t"])),
    "an unknown cutter": ("'nonsense' is not known", lambda: tiny_gpt2(pre="nonsense")),
    "a cutter of numbers": ("pre must be text", lambda: tiny_gpt2(pre=[1])),
    "no cutter": ("does not say how its tokenizer cuts text", lambda: tiny_gpt2(pre=None)),
    "eos outside": ("the id 259 is outside", lambda: tiny_gpt2(eos_token_id=259)),
    "eos below": ("the id -1 is outside", lambda: tiny_gpt2(eos_token_id=-1)),
    "eos far outside": ("is outside the vocabulary", lambda: tiny_gpt2(eos_token_id=2**64)),
    "eos is text": ("is no whole number", lambda: tiny_gpt2(eos_token_id="2")),
    "eos is nan": ("is no whole number", lambda: tiny_gpt2(eos_token_id=float("nan"))),
    "add_bos is a number": ("must be true or false", lambda: tiny_gpt2(add_bos_token=1)),
    "no scores": ("the vocabulary has no scores", lambda: llama(scores=None)),
    "too few scores": ("2 entries for 262 pieces", lambda: llama(scores=[0.0, 1.0])),
    "scores are nan": ("the score of piece 0 is no number", lambda: llama(scores=[np.nan] * 262)),
    "scores have no end": ("is not finite", lambda: llama(scores=[-np.inf] * 262)),
    "scores are text": ("is no number", lambda: llama(scores=["0"] * 262)),
    "a byte is missing": (
        "no piece for the byte <0x0A>",
        lambda: llama(tokens=[p if p != "<0x0A>" else "c" for p in llama()[TOKENS]]),
    ),
    "space prefix is text": ("must be true or false", lambda: llama(add_space_prefix="yes")),
    "unigram without unknown": ("needs its unknown", lambda: t5(tokens=["a", "b"], **PAIR)),
    "a word piece twice": (
        "a piece has two ids",
        lambda: t5(
            model="bert", tokens=["[UNK]", "▁a", "##a", "a", "▁##a"], token_type=[3, *[1] * 4]
        ),
    ),
    "normalization is text": ("must be an array", lambda: t5(precompiled_charsmap="x")),
    "normalization of words": ("array of bytes", lambda: t5(precompiled_charsmap=["x"])),
    "normalization of noise": (
        "no unigram vocabulary that can be used",
        lambda: t5(precompiled_charsmap=[255] * 40),
    ),
    "normalization cut": (
        "no unigram vocabulary that can be used",
        lambda: t5(precompiled_charsmap=[4, 0, 0]),
    ),
}
TOKENS = "tokenizer.ggml.tokens"
PAIR = {"token_type": [1, 1], "scores": [0.0, 0.0], "unknown_token_id": None}


@pytest.mark.parametrize("name", GGUF)
def test_gguf(name: str) -> None:
    reason, make = GGUF[name]
    metadata = make()
    before = peak_memory()
    with pytest.raises(TokenizerError) as caught:
        tokenizer_from_gguf(metadata, "model.gguf")
    check(caught.value, reason)
    assert "model.gguf" in (caught.value.where or "")
    assert peak_memory() - before < MOST_MEMORY


def test_what_looks_odd_and_is_right() -> None:
    for metadata in (tiny_gpt2(), llama(), t5()):
        assert tokenizer_from_gguf(metadata, "x").encode("ab", add_special=False)
    padded = tiny_gpt2(tokens=[*PIECES[:-2], "", "[PAD258]"], merges=["t h"], eos_token_id=None)
    tokenizer = tokenizer_from_gguf(padded, "x")
    assert tokenizer.piece(257) == "[EMPTY_257]"
    assert 258 not in tokenizer.encode("[PAD258]")
    arrays = llama(scores=np.array(llama()["tokenizer.ggml.scores"], np.float32))
    arrays["tokenizer.ggml.token_type"] = np.array(arrays["tokenizer.ggml.token_type"], np.int32)
    arrays["tokenizer.ggml.eos_token_id"] = np.uint32(2)
    assert tokenizer_from_gguf(arrays, "x").encode("ab") == [1, 3 + 0xE2, 3 + 0x96, 3 + 0x81, 261]
    signs = tiny_gpt2(tokens=[*PIECES[:-1], "$B:7"], bos_token_id=258, add_bos_token=True)
    assert tokenizer_from_gguf(signs, "x").encode("the") == [258, 257]


def test_a_hundred_thousand_special_tokens() -> None:
    pieces = [*BYTES, *(f"<c{number}>" for number in range(100_000))]
    types = [1] * 256 + [3] * 100_000
    metadata = tiny_gpt2(tokens=pieces, token_type=types, merges=[], eos_token_id=256)
    tokenizer = tokenizer_from_gguf(metadata, "x")
    assert tokenizer.encode("<c99999>a<c0>") == [100_255, BYTES.index("a"), 256]


def test_normalizations_of_noise(capfd: pytest.CaptureFixture[str]) -> None:
    metadata = as_metadata(
        trained(model_type="unigram", vocab_size=75, pad_id=0, eos_id=1, unk_id=2, bos_id=-1), "t5"
    )
    key = "tokenizer.ggml.precompiled_charsmap"
    whole, source, refused = metadata[key], random.Random(0), 0
    for number in range(60):
        data = whole[: source.randrange(len(whole))] if number % 3 == 0 else list(whole)
        for _ in range(source.choice((1, 5, 200)) if number % 3 else 0):
            data[source.randrange(len(data))] = source.randrange(256)
        try:
            tokenizer_from_gguf(metadata | {key: data}, "x").encode("the ﬁne ①  Ｆｕｌｌ \n é")
        except TokenizerError as error:
            check(error, "") if error.where else None
            refused += 1
    assert refused > 15
    capfd.readouterr()  # what the library says of its own


def line(token: bytes, rank: object) -> bytes:
    return base64.b64encode(token) + f" {rank}\n".encode()


GOOD = rank_file({piece: rank for rank, piece in enumerate([*BYTES, "th"])})
RANKS: dict[str, tuple[str, bytes]] = {
    "bad base64": ("line 258", GOOD + b"a=b= 257\n"),
    "base64 of the wrong length": ("is not a token in base64", GOOD + b"YWI 257\n"),
    "no rank": ("is not a token in base64", GOOD + b"YWI=\n"),
    "a rank of letters": ("is not a token in base64", GOOD + b"YWI= x\n"),
    "a rank below zero": ("is not a token in base64", GOOD + b"YWI= -1\n"),
    "a rank of nine digits": ("is not a token in base64", GOOD + b"YWI= 123456789\n"),
    "a rank of seven digits": ("cannot be one", GOOD + b"YWI= 9999999\n"),
    "three fields": ("is not a token in base64", GOOD + b"YWI= 257 3\n"),
    "an empty token": ("is not a token in base64", GOOD + b" 257\n"),
    "two ranks of one token": ("comes twice", GOOD + line(b"th", 257)),
    "two tokens of one rank": (
        "rank 256 comes twice, first on line 257",
        GOOD + line(b"x\xff", 256),
    ),
    "a gap": ("rank 257 is missing", GOOD + line(b"zz", 258)),
    "a missing byte": ("the single byte 0x", GOOD.split(b"\n", 1)[1]),
    "a huge line": ("is not a token in base64", GOOD + b"A" * 20_000_000 + b" 257\n"),
    "a huge token": ("cannot be one", GOOD + line(b"z" * 1_200, 257)),
    "noise after ranks": ("is not a token in base64", GOOD + bytes(range(128, 256)) + b"\n"),
    "control characters": ("is not a token in base64", GOOD + b"\x1b[2J 1\n"),
    "nothing but a line": ("the single byte 0x00", line(b"a", 0)),
}


@pytest.mark.parametrize("name", RANKS)
def test_ranks(name: str, tmp_path: Path) -> None:
    reason, data = RANKS[name]
    path = tmp_path / "a.tiktoken"
    path.write_bytes(data)
    before = peak_memory()
    with pytest.raises(TokenizerError) as caught:
        open_tokenizer(path, pre="gpt-2")
    check(caught.value, reason)
    assert peak_memory() - before < MOST_MEMORY


def test_ranks_against_the_files_beside_them(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(GOOD)
    for number, content, reason in (
        (5, "<s>", "special token '<s>' has id 5"),
        (257, "th", "special token 'th' has id 257"),
        (400, "<s>", "rank 257 is missing"),
    ):
        config = {"added_tokens_decoder": {str(number): {"content": content, "special": True}}}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        with pytest.raises(TokenizerError) as caught:
            load_tokenizer(tmp_path, pre="gpt-2")
        check(caught.value, reason)


def test_ranks_cut_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    for size in range(0, len(GOOD), 41):
        path.write_bytes(GOOD[:size])
        with pytest.raises(TokenizerError):
            open_tokenizer(path, pre="gpt-2")
    path.write_bytes(GOOD)
    assert open_tokenizer(path, pre="gpt-2").encode("th") == [256]


def test_more_than_one_rank_file(tmp_path: Path) -> None:
    for name in ("a.tiktoken", "b.tiktoken"):
        (tmp_path / name).write_bytes(GOOD)
    with pytest.raises(TokenizerError) as caught:
        load_tokenizer(tmp_path, pre="gpt-2")
    check(caught.value, "holds 2 tiktoken files")


@pytest.mark.parametrize("form", ["ranks", "slow"])
def test_a_rule_that_is_not_one_for_bytes(form: str, tmp_path: Path) -> None:
    if form == "ranks":
        (tmp_path / "a.tiktoken").write_bytes(GOOD)
    else:
        write_slow(tmp_path, {c: n for n, c in enumerate(BYTES)}, "")
    with pytest.raises(TokenizerError) as caught:
        load_tokenizer(tmp_path, pre="gemma4")
    check(caught.value, "the pre-tokenizer gemma4 is not one for")


def write_slow(folder: Path, vocabulary: Any, merges: str | bytes) -> None:
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    raw = merges if isinstance(merges, bytes) else merges.encode()
    (folder / "merges.txt").write_bytes(raw)


VOCABULARY = {piece: token for token, piece in enumerate([*BYTES, "th"])}
SLOW: dict[str, tuple[str, Any, str | bytes]] = {
    "a list": ("must hold a JSON object", [1], ""),
    "text ids": ("'1' is not a token id", VOCABULARY | {"x": "1"}, ""),
    "a negative id": ("-1 is not a token id", VOCABULARY | {"xx": -1}, ""),
    "a huge id": ("is not a token id", VOCABULARY | {"xx": 2**40}, ""),
    "true as an id": ("True is not a token id", VOCABULARY | {"xx": True}, ""),
    "two pieces of one id": ("id 256 belongs to 'th' and to 'xx'", VOCABULARY | {"xx": 256}, ""),
    "a lone surrogate": ("lone surrogate", VOCABULARY | {"\udfff": 257}, ""),
    "nothing": ("no piece is the single byte 0x20", {}, ""),
    "a merge of one": ("line 2", VOCABULARY, "t h\nth\n"),
    "a merge of three": ("is not two pieces", VOCABULARY, "t h e\n"),
    "a merge with a hole": ("is not two pieces", VOCABULARY, "t  h\n"),
    "a merge of strangers": ("do not fit its vocabulary", VOCABULARY, "Ω Ω\n"),
    "a merge into nothing": ("do not fit its vocabulary", VOCABULARY, "h t\n"),
    "merges that are no text": ("is not UTF-8", VOCABULARY, b"t h\n\xff\xfe"),
    "a merge that moves the cursor": ("is not two pieces", VOCABULARY, "\x1b[2J\n"),
}


@pytest.mark.parametrize("name", SLOW)
def test_slow(name: str, tmp_path: Path) -> None:
    reason, vocabulary, merges = SLOW[name]
    write_slow(tmp_path, vocabulary, merges)
    with pytest.raises(TokenizerError) as caught:
        load_tokenizer(tmp_path, pre="gpt-2")
    check(caught.value, reason)
    assert str(tmp_path) in (caught.value.where or "")


def test_files_too_large_to_be_read(tmp_path: Path) -> None:
    write_slow(tmp_path, VOCABULARY, "")
    with (tmp_path / "merges.txt").open("r+b") as file:
        file.truncate(300 << 20)  # a hole: no disk is filled
    before = peak_memory()
    with pytest.raises(TokenizerError) as caught:
        load_tokenizer(tmp_path, pre="gpt-2")
    check(caught.value, "too many for a vocabulary")
    assert peak_memory() - before < MOST_MEMORY // 4


@pytest.mark.parametrize("rule", TABLE, ids=lambda rule: rule.name)
def test_every_rule_meets_hard_texts(rule: Any) -> None:
    """No rule is slow or loses a byte on long runs of what its pattern repeats."""
    if rule.spelling == "plain":
        return
    tokenizer = tokenizer_from_gguf(tiny_gpt2(), "x", pre=rule.name)
    nfc = rule.normalizer == "NFC"
    runs = (" " * 20_000, "\n" * 20_000, "a" * 20_000, "a " * 5_000, "1" * 5_000, "e\u0301" * 3_000)
    for text in (*HARD, *runs, "!" * 20_000, "我" * 5_000, " \n" * 5_000):
        plain = tokenizer.encode(text, add_special=False, parse_special=False)
        assert tokenizer.decode(plain) == (unicodedata.normalize("NFC", text) if nfc else text)
