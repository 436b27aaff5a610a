"""Tokenizers rebuilt from GGUF vocabularies: published vectors, the reference libraries, saving."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from puna.errors import TokenizerError
from puna.text import Specials, Tokenizer, load_tokenizer, open_tokenizer, save_tokenizer
from puna.text.gguf_vocab import specials_from_gguf, tokenizer_from_gguf
from puna.text.rebuild import all_splits
from tests.unit.vocabularies import (
    HARD,
    as_metadata,
    gguf_metadata,
    llama_3_2,
    random_texts,
    tiny_gpt2,
    trained,
    vectors,
)

NAMES = ("falcon", "gpt-2", "llama-spm", "mpt", "phi-3")


@pytest.fixture(scope="module")
def rebuilt(shared: Path) -> dict[str, Tokenizer]:
    folder = shared / "data" / "tokenizers" / "llama.cpp"
    return {name: open_tokenizer(folder / f"ggml-vocab-{name}.gguf") for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_published_vectors(name: str, rebuilt: dict[str, Tokenizer], shared: Path) -> None:
    tokenizer, cases = rebuilt[name], vectors(shared, name)
    assert len(cases) == 47
    for text, ids in cases:
        assert tokenizer.encode(text, add_special=False) == ids
        assert tokenizer.decode(ids) == text


def swift(shared: Path, name: str) -> Any:
    folder = shared / "data" / "tokenizers" / "swift-transformers-vectors"
    return json.loads((folder / f"{name}.json").read_text("utf-8"))


def test_published_vectors_of_long_texts(rebuilt: dict[str, Tokenizer], shared: Path) -> None:
    for name, file in (("falcon", "falcon_encoded"), ("llama-spm", "llama_encoded")):
        case = swift(shared, file)
        assert rebuilt[name].encode(case["text"]) == case["token_ids"]
        assert rebuilt[name].decode(case["token_ids"]) == case["text"]
    case = swift(shared, "gpt2_encoded_tokens")
    pieces = [rebuilt["gpt-2"].piece(t) for t in rebuilt["gpt-2"].encode(case["text"])]
    assert pieces == case["bpe_tokens"]
    suites = swift(shared, "tokenizer_tests")
    for name, suite in (
        ("gpt-2", "distilgpt2"),
        ("falcon", "tiiuae/falcon-7b"),
        ("llama-spm", "coreml-projects/Llama-2-7b-chat-coreml"),
    ):
        assert len(suites[suite]) >= 18
        for case in suites[suite]:
            assert rebuilt[name].encode(case["input"]) == case["encoded"]["input_ids"]


def test_the_same_vocabulary_in_two_forms(rebuilt: dict[str, Tokenizer], shared: Path) -> None:
    folder = shared / "data" / "tokenizers"
    pairs = {
        "mpt": open_tokenizer(folder / "gpt-neox" / "20B_tokenizer.json"),
        "llama-spm": open_tokenizer(folder / "llama2_tokenizer.model"),
    }
    for name, other in pairs.items():
        for text in [*HARD[:-2], *random_texts(400)]:
            ids = other.encode(text, add_special=False)
            assert rebuilt[name].encode(text, add_special=False) == ids
            assert rebuilt[name].decode(ids) == other.decode(ids)


@pytest.mark.parametrize("name", NAMES)
def test_spans_are_the_characters_of_each_id(
    name: str, rebuilt: dict[str, Tokenizer], shared: Path
) -> None:
    tokenizer = rebuilt[name]
    for text in [*(text for text, _ in vectors(shared, name)), *HARD]:
        if tokenizer.decode(tokenizer.encode(text, add_special=False)) != text:
            continue  # NFC changes it, or Falcon has no piece for a control character in it
        ids, spans = tokenizer.encode_spans(text)
        assert ids == tokenizer.encode(text, add_special=False)
        at = 0
        for start, end in spans:
            assert start <= at <= end
            at = end
        assert at == len(text)


def test_neox_does_not_say_how_it_cuts_and_need_not(shared: Path) -> None:
    metadata = gguf_metadata(shared, "gpt-neox")
    assert "tokenizer.ggml.pre" not in metadata
    tokenizer = tokenizer_from_gguf(metadata, "x")
    for text, ids in vectors(shared, "mpt"):
        assert tokenizer.encode(text, add_special=False) == ids


def test_pieces_of_llama_3_say_how_they_are_cut(shared: Path) -> None:
    merges = (shared / "data" / "tokenizers" / "llama3.2" / "merges.txt").read_text("utf-8")
    pieces = [*llama_3_2(shared), "<|begin_of_text|>"]
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.token_type": [1] * 128000 + [3],
        "tokenizer.ggml.merges": merges.splitlines(),
        "tokenizer.ggml.bos_token_id": 128000,
    }
    case = swift(shared, "llama_3.2_encoded")
    assert tokenizer_from_gguf(metadata, "x").encode(case["text"]) == case["token_ids"]
    metadata["tokenizer.ggml.tokens"] = [*pieces[:-2], "<another>", pieces[-1]]
    with pytest.raises(TokenizerError, match="does not say how its tokenizer cuts text"):
        tokenizer_from_gguf(metadata, "x")


def test_scores_that_are_all_the_same_say_no_order(shared: Path) -> None:
    metadata = gguf_metadata(shared, "llama-spm")
    path = shared / "data" / "tokenizers" / "mistral-7b-instruct-v0.3" / "tokenizer.json"
    metadata["tokenizer.ggml.scores"] = [-1000.0] * 32000
    with pytest.raises(TokenizerError, match="the order of merges is lost"):
        tokenizer_from_gguf(metadata, "x")
    published = json.loads(path.read_text("utf-8"))
    vocabulary = published["model"]["vocab"]
    merges = [
        merge if isinstance(merge, str) else " ".join(merge)
        for merge in published["model"]["merges"]
    ]
    metadata |= {
        "tokenizer.ggml.tokens": sorted(vocabulary, key=vocabulary.__getitem__),
        "tokenizer.ggml.scores": [-1000.0] * 32768,
        "tokenizer.ggml.token_type": [2, *[3] * 770, *[6] * 256, *[1] * (32768 - 1027)],
        "tokenizer.ggml.merges": merges,
    }
    other, tokenizer = open_tokenizer(path), tokenizer_from_gguf(metadata, "x")
    for text in HARD:
        if not text.startswith(" ") and "<" not in text:
            assert tokenizer.encode(text) == other.encode(text)


def test_scores_merge_as_sentencepiece_does(shared: Path) -> None:
    path = shared / "data" / "tokenizers" / "mistral" / "tokenizer.model.v1"
    tokenizer = tokenizer_from_gguf(as_metadata(path.read_bytes(), "llama"), "x")
    library: Any = sentencepiece.SentencePieceProcessor(model_file=str(path))
    for text in [*HARD, *random_texts(2000)]:
        ids = library.encode(text)
        assert tokenizer.encode(text, add_special=False, parse_special=False) == ids


@pytest.mark.parametrize("typed", [True, False])
def test_white_space_pieces_without_a_space_before_the_text(typed: bool) -> None:
    """Gemma's shape. Some converters write its white space as user-defined, some as ordinary."""
    runs = [*("\n" * n for n in range(1, 8)), *("▁" * n for n in range(2, 8))]
    model = trained(
        model_type="bpe",
        vocab_size=420,
        byte_fallback=True,
        character_coverage=0.98,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        user_defined_symbols=[*runs, "<table>"],
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
    )
    metadata = as_metadata(model, "llama")
    if not typed:
        tokens, kinds = (metadata[f"tokenizer.ggml.{key}"] for key in ("tokens", "token_type"))
        metadata["tokenizer.ggml.token_type"] = [
            1 if piece in runs else kind for piece, kind in zip(tokens, kinds, strict=True)
        ]
    tokenizer = tokenizer_from_gguf(metadata, "x")
    library: Any = sentencepiece.SentencePieceProcessor(model_proto=model)
    texts = (text for text in random_texts(2000) if typed or " " * 8 not in text)
    for text in (*texts, "the<table>  \n\n   hill <table>", "\n\n\n\n the   hill"):
        if not typed and "\n" * 8 in text:
            continue
        ids = tokenizer.encode(text, add_special=False)
        assert ids == library.encode(text)
        assert tokenizer.decode(ids) == text
    assert tokenizer.encode("a")[0] == 2


def test_plain_bpe_with_merges_as_transformers_has_it() -> None:
    """Gemma 4's shape: the merges are written down, and new lines are merged like all else."""
    transformers = pytest.importorskip("transformers")
    model = trained(model_type="bpe", vocab_size=400, byte_fallback=True, pad_id=0, eos_id=1,
                    bos_id=2, unk_id=3, normalization_rule_name="identity")  # fmt: skip
    learned = as_metadata(model, "llama")
    lines = ["\n", "\n\n", "\n\n\n", "\n\n\n\n", "<turn|>"]
    pieces = [*learned["tokenizer.ggml.tokens"], *lines]
    ids = {piece: token for token, piece in enumerate(pieces)}
    merges = all_splits(pieces[3 + 256 :], ids)
    metadata = learned | {
        "tokenizer.ggml.model": "gemma4",
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.token_type": [*learned["tokenizer.ggml.token_type"], *[1] * 4, 3],
        "tokenizer.ggml.merges": [" ".join(merge) for merge in merges],
        "tokenizer.ggml.add_bos_token": False,  # as early converters wrote it, wrongly
    }
    del metadata["tokenizer.ggml.scores"], metadata["tokenizer.ggml.add_space_prefix"]
    ours = tokenizer_from_gguf(metadata, "x")
    theirs = transformers.GemmaTokenizer(vocab=ids, merges=merges)
    texts = [text for text in HARD if "<unk>" not in text]  # which the other side always reads
    for text in (*texts, *random_texts(500), "the  llama\n\n\n\n\n\nhill \n walked", "\t\t"):
        plain = ours.encode(text, add_special=False, parse_special=False)
        assert plain == theirs.backend_tokenizer.encode(text, add_special_tokens=False).ids
        assert ours.decode(plain) == text
    assert ours.encode("the<turn|>\n") == [2, *ours.encode("the", add_special=False), 404, 400]


def test_unigram_with_its_normalization_as_sentencepiece_has_it() -> None:
    model = trained(model_type="unigram", vocab_size=75, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    metadata = as_metadata(model, "t5")
    assert len(metadata["tokenizer.ggml.precompiled_charsmap"]) > 100_000
    tokenizer = tokenizer_from_gguf(metadata, "x")
    library: Any = sentencepiece.SentencePieceProcessor(model_proto=model)
    texts = ("the ﬁne ①  Ｆｕｌｌ \n hill", " the  hill ", "ラマ\tは 😀", *random_texts(1000))
    for text in texts:
        # Here T5's published tokenizer.json, which is followed, differs from SentencePiece.
        if "\x85" in text or any(unicodedata.combining(c) for c in text):
            continue
        assert tokenizer.encode(text) == [*library.encode(text), 1]
    assert tokenizer.decode(tokenizer.encode("the llama hums")) == "the llama hums"


def test_word_pieces_as_bert_has_them() -> None:
    implementations = pytest.importorskip("tokenizers.implementations")
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "the",
        "llama",
        "##s",
        "hum",
        "e",
        "##e",
        "!",
        "日",
    ]
    pieces = [
        word if word.startswith("[") else word[2:] if word.startswith("##") else f"▁{word}"
        for word in words
    ]
    ids = {"padding": 0, "unknown": 1, "bos": 2, "seperator": 3}
    metadata = {
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.token_type": [3] * 4 + [1] * 8,
        **{f"tokenizer.ggml.{role}_token_id": token for role, token in ids.items()},
    }
    tokenizer = tokenizer_from_gguf(metadata, "x")
    library = implementations.BertWordPieceTokenizer(dict(zip(words, range(12), strict=True)))
    for text in ("The llamas hum!!", "théé 日日 llama\tS", *HARD[:-2]):
        assert tokenizer.encode(text, parse_special=False) == library.encode(text).ids
    assert tokenizer.encode("hums") == [2, 7, 6, 3]
    assert tokenizer.decode(tokenizer.encode("The llamas hum!")) == "the llamas hum!"


def test_roberta_ends_a_text_too() -> None:
    metadata = tiny_gpt2(pre="roberta-bpe", bos_token_id=0)
    assert tokenizer_from_gguf(metadata, "x").encode("the") == [0, 257, 258]


def test_white_space_after_phi_3_s_special_tokens_goes_with_them(
    rebuilt: dict[str, Tokenizer],
) -> None:
    tokenizer = rebuilt["phi-3"]
    ids = tokenizer.encode("<|user|>\nHi<|end|>\n<|assistant|>\n<s>\n")
    pieces = [tokenizer.piece(token) for token in ids]
    assert pieces[:5] == ["<s>", "<|user|>", "▁Hi", "<|end|>", "<|assistant|>"]
    assert pieces[5:] == ["<s>", "▁", "<0x0A>"]
    padding = tokenizer.encode("[PAD32011]", add_special=False)
    assert 32011 not in padding
    assert tokenizer.decode(padding) == "[PAD32011]"


def test_what_the_file_says_of_special_tokens() -> None:
    tokenizer = tokenizer_from_gguf(tiny_gpt2(), "x")
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.vocab_size) == (None, 258, 259)
    assert tokenizer.encode("the<end>") == [257, 258]
    assert 258 not in tokenizer.encode("the<end>", parse_special=False)
    both = tiny_gpt2(bos_token_id=258, add_bos_token=True, add_eos_token=True)
    assert tokenizer_from_gguf(both, "x").encode("the") == [258, 257, 258]
    assert specials_from_gguf(tiny_gpt2(eot_token_id=256, padding_token_id=0), "x") == Specials(
        None, frozenset({256, 258}), 0
    )
    user = tokenizer_from_gguf(tiny_gpt2(token_type=[1] * 258 + [4], eos_token_id=None), "x")
    assert user.special_ids == frozenset()
    assert user.encode("the<end>", parse_special=False) == [257, 258]
    pieces = [*tiny_gpt2()["tokenizer.ggml.tokens"][:-1], "ü▁"]
    letter = tiny_gpt2(tokens=pieces, token_type=[1] * 258 + [4], eos_token_id=None)
    assert tokenizer_from_gguf(letter, "x").encode("theü▁the") == [257, 258, 257]
    assert tokenizer_from_gguf(letter, "x").decode([257, 258]) == "theü▁"


@pytest.mark.parametrize("name", ["llama-spm", "phi-3", "falcon", "mpt"])
def test_saved_folders_are_read_alike(
    name: str, rebuilt: dict[str, Tokenizer], tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    ours = rebuilt[name]
    written = {path.name for path in save_tokenizer(ours, tmp_path)}
    assert written == {"tokenizer.json", "tokenizer_config.json"}
    again = load_tokenizer(tmp_path)
    assert again is not None
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path)
    roles = (ours.bos_id, ours.eos_id, ours.pad_id)
    assert roles == (again.bos_id, again.eos_id, again.pad_id)
    assert roles == (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id)
    for text in [*HARD, *random_texts(100), "<|user|>\nHi<|end|>", ">>TITLE<< x"]:
        ids = ours.encode(text)
        assert again.encode(text) == ids
        assert theirs(text)["input_ids"] == ids
        assert auto(text)["input_ids"] == ids
        assert theirs.decode(ids, skip_special_tokens=True) == ours.decode(ids)
        plain = ours.encode(text, parse_special=False)
        assert again.encode(text, parse_special=False) == plain
