"""Tiktoken files, and folders of vocab.json and merges.txt, against the reference libraries."""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from puna.errors import TokenizerError
from puna.text import Tokenizer, byte_level, load_tokenizer, open_tokenizer, save_tokenizer
from puna.text.published import by_name
from tests.unit.text_samples import byte_level as tiny
from tests.unit.vocabularies import (
    HARD,
    gguf_metadata,
    llama_3_2,
    random_texts,
    rank_file,
    ranks_of,
)

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {
    "llama3": rf"{_WORDS}|\p{{N}}{{1,3}}{_REST}",
    "qwen2": rf"{_WORDS}|\p{{N}}{_REST}",
}
OPENAI = {
    "gpt-2": "r50k_pat_str",
    "cl100k_base": r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+|"""
    r""" ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s""",
    "o200k_base": "|".join(
        (
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        )
    ),
}
SMALL = {piece: rank for rank, piece in enumerate([*sorted(byte_level.BYTE_OF), "th", "he", "the"])}


@pytest.fixture(scope="module")
def llama(shared: Path) -> dict[str, int]:
    return llama_3_2(shared)


def put(folder: Path, name: str, vocabulary: Mapping[str, int], **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(rank_file(vocabulary))
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder / name


@pytest.mark.parametrize("name", [*PATTERNS, *OPENAI])
def test_tiktoken_agrees(name: str, llama: dict[str, int], tmp_path: Path) -> None:
    tiktoken = pytest.importorskip("tiktoken")
    openai = pytest.importorskip("tiktoken_ext.openai_public")
    pattern = PATTERNS.get(name) or getattr(openai, OPENAI[name], OPENAI[name])
    first = {piece: rank for piece, rank in llama.items() if rank < 8_000}
    ours = open_tokenizer(put(tmp_path, "any.tiktoken", first), pre=name)
    theirs = tiktoken.Encoding(
        f"test-{name}", pat_str=pattern, mergeable_ranks=ranks_of(first), special_tokens={}
    )
    for text in [*HARD, *random_texts(800)]:
        read = unicodedata.normalize("NFC", text) if name == "qwen2" else text
        ids = theirs.encode_ordinary(read)
        assert ours.encode(text) == ids
        assert ours.decode(ids) == read


def test_llama_3_is_known_by_its_digest(
    llama: dict[str, int], shared: Path, tmp_path: Path
) -> None:
    path = put(tmp_path / "ranks", "tokenizer.model", llama)
    (tmp_path / "slow").mkdir()
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(shared / "data" / "tokenizers" / "llama3.2" / name, tmp_path / "slow")
    vectors = shared / "data" / "tokenizers" / "swift-transformers-vectors"
    case = json.loads((vectors / "llama_3.2_encoded.json").read_text("utf-8"))
    suite = json.loads((vectors / "tokenizer_tests.json").read_text("utf-8"))
    for tokenizer in (open_tokenizer(path), open_tokenizer(tmp_path / "slow")):
        assert tokenizer.encode(case["text"]) == case["token_ids"]
        for short in suite["pcuenq/Llama-3.2-1B-Instruct-tokenizer"]:
            ids = short["encoded"]["input_ids"]
            assert tokenizer.encode(short["input"]) == ids
            assert tokenizer.decode(ids) == short["input"]
        assert tokenizer.encode("a<|eot_id|>") == [128000, 64, 128009]


def test_tokens_of_the_files_beside_the_ranks(tmp_path: Path) -> None:
    tokens = {"259": {"content": "<s>", "special": True}, "260": {"content": "<e>", "special": 1}}
    tokens["260"]["special"] = True
    config = {"added_tokens_decoder": tokens, "bos_token": "<s>", "eos_token": "<e>"}
    put(tmp_path, "tokenizer.model", SMALL, **config, add_eos_token=True, chat_template="x")
    tokenizer = load_tokenizer(tmp_path, pre="llama3")
    assert tokenizer is not None
    assert tokenizer.encode("the<e>") == [259, 258, 260, 260]
    assert tokenizer.decode([259, 258, 260]) == "the"
    written = save_tokenizer(tokenizer, tmp_path / "saved")
    assert {path.name for path in written} == {"tokenizer.json", "tokenizer_config.json"}
    saved = json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())
    assert saved["chat_template"] == "x"
    again = load_tokenizer(tmp_path / "saved")
    assert again is not None
    assert again.encode("the<e>") == [259, 258, 260, 260]
    assert (again.bos_id, again.eos_id) == (259, 260)


def test_the_class_of_a_tokenizer_says_how_it_cuts(tmp_path: Path) -> None:
    put(tmp_path, "qwen.tiktoken", SMALL, tokenizer_class="QWenTokenizer", auto_map={"x": "y"})
    with pytest.raises(TokenizerError, match="rank 259 is missing"):
        load_tokenizer(tmp_path)  # a Qwen has 151,643 ranks before its special tokens
    many = SMALL | {byte_level.spell(b"\x80%d" % n): n for n in range(259, 151643)}
    put(tmp_path, "qwen.tiktoken", many)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer is not None
    assert tokenizer.encode("12 the<|im_end|>") == [*tokenizer.encode("12 the"), 151645]
    assert tokenizer.piece(151850) == "<|extra_204|>"
    assert tokenizer.eos_id == 151643
    assert by_name("qwen.tiktoken", 151643) is not None
    save_tokenizer(tokenizer, tmp_path / "saved")
    assert "auto_map" not in (tmp_path / "saved" / "tokenizer_config.json").read_text()


def test_a_special_token_in_a_gap_of_the_ranks(tmp_path: Path) -> None:
    gap = {piece: rank + (rank > 256) for piece, rank in SMALL.items()}
    path = put(tmp_path, "a.tiktoken", gap)
    with pytest.raises(TokenizerError, match="rank 257 is missing, so tokens are lost"):
        open_tokenizer(path, pre="gpt-2")
    put(tmp_path, "a.tiktoken", gap, added_tokens_decoder={"257": {"content": "<e>"}})
    assert open_tokenizer(path, pre="gpt-2").encode("he<e>the") == [258, 257, 259]


def gpt_2_folder(shared: Path, folder: Path, **config: Any) -> Path:
    """GPT-2's own vocab.json and merges.txt, from the GGUF that was made of them."""
    metadata = gguf_metadata(shared, "gpt-2")
    pieces = metadata["tokenizer.ggml.tokens"]
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({p: t for t, p in enumerate(pieces)}))
    merges = "\n".join(["#version: 0.2", *metadata["tokenizer.ggml.merges"], ""])
    (folder / "merges.txt").write_text(merges)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def test_transformers_agrees_on_vocab_and_merges(shared: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    end = "<|endoftext|>"
    config = {"tokenizer_class": "GPT2Tokenizer", "eos_token": end, "bos_token": end}
    folder = gpt_2_folder(shared, tmp_path / "gpt-2", **config, unk_token=end)
    ours = open_tokenizer(folder)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    save_tokenizer(ours, tmp_path / "saved")
    saved = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path / "saved")
    for text in [*HARD, *random_texts(60)]:
        ids = theirs.encode(text)
        assert ours.encode(text) == ids
        assert saved.encode(text) == ids
        assert ours.decode(ids, skip_special=False) == theirs.decode(ids)
    assert ours.eos_id == theirs.eos_token_id == 50256
    assert open_tokenizer(folder / "merges.txt").encode(HARD[4]) == ours.encode(HARD[4])
    named = {path.name for path in (tmp_path / "saved").iterdir()}
    assert named == {"vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json"}


def test_a_class_or_a_name_is_needed(shared: Path, tmp_path: Path) -> None:
    folder = gpt_2_folder(shared, tmp_path / "a", tokenizer_class="PreTrainedTokenizerFast")
    with pytest.raises(TokenizerError, match="PreTrainedTokenizerFast does not say") as caught:
        open_tokenizer(folder)
    assert "starcoder" in str(caught.value)
    digits = open_tokenizer(folder, pre="starcoder").encode("1234", add_special=False)
    assert digits == [16, 17, 18, 19]
    assert open_tokenizer(folder, pre="gpt-2").encode("1234", add_special=False) == [1065, 2682]
    with pytest.raises(TokenizerError, match="'gpt-9' is not known"):
        open_tokenizer(folder, pre="gpt-9")


def test_single_files_by_their_first_bytes(shared: Path, tmp_path: Path) -> None:
    data = shared / "data" / "tokenizers"
    known: list[Tokenizer] = [
        open_tokenizer(data / "mistral" / "mistral_instruct_tokenizer_240216.model.v2"),
        open_tokenizer(data / "mistral-7b-instruct-v0.3" / "tokenizer.json"),
    ]
    assert [tokenizer.vocab_size for tokenizer in known] == [32768, 32768]
    assert known[0].encode("Hello") == known[1].encode("Hello")
    tiny(tmp_path, ["<end>"])
    (tmp_path / "tokenizer.json").rename(tmp_path / "other.json")
    assert open_tokenizer(tmp_path / "other.json").encode("<end>") == [256]
    for name in ("nothing", "SOURCE"):
        (tmp_path / "SOURCE").write_text("plain text")
        with pytest.raises(TokenizerError, match=r"no file or folder|no tokenizer of a known form"):
            open_tokenizer(tmp_path / name)
