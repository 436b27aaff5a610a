"""Tokenizers as GGUF metadata, against the vocabularies that llama.cpp publishes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from puna.errors import TokenizerError
from puna.formats import read_gguf, write_gguf_header
from puna.text import ChatTemplate, Specials, Tokenizer, gguf_text, gguf_text_again, load_tokenizer
from puna.text.bpe import load_json
from puna.text.gguf_pre import pre_name
from puna.text.settings import Settings
from puna.text.spm import load_sentencepiece
from puna.text.spm_proto import BPE, read_facts

NONE = Settings({}, (), None, None, None, False)


def specials(tokenizer: Tokenizer) -> Specials:
    eos = tokenizer.eos_id
    return Specials(tokenizer.bos_id, frozenset() if eos is None else frozenset({eos}), None)


def plain(keys: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, (_, value) in keys.items()}


def test_llama_2_is_the_published_vocabulary(shared: Path) -> None:
    folder = shared / "data/tokenizers"
    tokenizer = load_sentencepiece(folder / "llama2_tokenizer.model", NONE, ())
    ours = plain(gguf_text(tokenizer, None, specials(tokenizer), 32_000).keys)
    theirs = read_gguf(folder / "llama.cpp/ggml-vocab-llama-spm.gguf").metadata
    for key in theirs:
        if key.startswith("tokenizer."):
            assert ours[key] == theirs[key], key


def test_gpt_neox_is_the_published_vocabulary(shared: Path) -> None:
    folder = shared / "data/tokenizers"
    roles = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    path = folder / "gpt-neox/20B_tokenizer.json"
    tokenizer = load_json(path, Settings(roles, (), None, None, None, False), ())
    ours = plain(gguf_text(tokenizer, None, specials(tokenizer), 50_432).keys)
    theirs = read_gguf(folder / "llama.cpp/ggml-vocab-gpt-neox.gguf").metadata
    assert ours["tokenizer.ggml.merges"] == theirs["tokenizer.ggml.merges"]
    # The published file names its padding and added tokens otherwise; learned pieces are equal.
    assert ours["tokenizer.ggml.tokens"][:50_254] == theirs["tokenizer.ggml.tokens"][:50_254]
    assert ours["tokenizer.ggml.tokens"][-1] == "[PAD50431]"
    assert ours["tokenizer.ggml.token_type"][-1] == 5
    assert ours["tokenizer.ggml.pre"] == "olmo"  # GPT-2's words after NFC
    assert ours["tokenizer.ggml.bos_token_id"] == theirs["tokenizer.ggml.bos_token_id"]


def test_byte_pieces_of_a_tokenizer_json_get_ranks_for_scores(shared: Path) -> None:
    tokenizer = load_tokenizer(shared / "data/tokenizers/mistral-7b-instruct-v0.3")
    assert tokenizer is not None
    done = gguf_text(tokenizer, None, specials(tokenizer), 32_768)
    keys = plain(done.keys)
    model = shared / "data/tokenizers/mistral/mistral_instruct_tokenizer_240323.model.v3"
    library = sentencepiece.SentencePieceProcessor(model_file=str(model))
    pieces, scores = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.scores"]
    # Behind the control tokens, whose names differ; 771 is the first byte.
    assert pieces[771:] == [library.id_to_piece(i) for i in range(771, 32_768)]
    learned = [i for i in range(32_768) if keys["tokenizer.ggml.token_type"][i] == 1]
    merged = [i for i in learned if len(pieces[i]) > 1]
    order = sorted(merged, key=lambda i: -scores[i])
    assert order == sorted(merged, key=lambda i: -library.get_score(i))
    assert keys["tokenizer.ggml.token_type"][3] == 3  # [INST]
    assert keys["tokenizer.ggml.token_type"][771] == 6
    assert keys["tokenizer.ggml.add_bos_token"] is True
    assert "a space before every text" in done.notes[0]


def test_what_a_sentencepiece_model_says(shared: Path) -> None:
    path = shared / "data/tokenizers/llama2_tokenizer.model"
    facts = read_facts(path.read_bytes())
    assert (facts.kind, len(facts.types), bool(facts.charsmap), facts.folds) == (
        BPE,
        32_000,
        False,
        False,
    )
    assert (facts.types[:3], facts.types[3], facts.types[259]) == ([2, 3, 3], 6, 1)
    tokenizer = load_tokenizer(shared / "data/checkpoints/stories260K-hf")
    assert tokenizer is not None
    notes = gguf_text(tokenizer, None, specials(tokenizer), 512).notes
    assert any("runs of spaces" in note for note in notes)
    for cut in (1, 7, 1000):
        with pytest.raises(TokenizerError, match="broken"):
            read_facts(path.read_bytes()[:-cut])


def test_crias_keys_and_template(cria_folder: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(cria_folder)
    assert tokenizer is not None
    template = ChatTemplate("{{ bos_token }}", bos_token="<|begin|>", eos_token="<|end|>")
    ends = Specials(1, frozenset({2, 5}), 0)
    keys = gguf_text(tokenizer, template, ends, 2050).keys
    ours = plain(keys)
    source = json.loads((cria_folder / "tokenizer.json").read_text())
    by_id = {i: piece for piece, i in source["model"]["vocab"].items()}
    by_id |= {entry["id"]: entry["content"] for entry in source["added_tokens"]}
    assert ours["tokenizer.ggml.tokens"][:2048] == [by_id[i] for i in range(2048)]
    assert ours["tokenizer.ggml.token_type"] == [3] * 6 + [1] * 2042 + [5, 5]
    assert ours["tokenizer.ggml.pre"] == "smollm"  # single digits, then GPT-2's words
    assert ours["tokenizer.ggml.eos_token_id"] == 2
    assert ours["tokenizer.ggml.eot_token_id"] == 5
    assert ours["tokenizer.ggml.add_bos_token"] is True
    assert ours["tokenizer.chat_template"] == "{{ bos_token }}"
    # What was read is written again as it was.
    path = tmp_path / "vocab.gguf"
    path.write_bytes(write_gguf_header(keys, {}))
    once = read_gguf(path).metadata
    path.write_bytes(write_gguf_header(gguf_text_again(once), {}))
    assert read_gguf(path).metadata == once == ours


def broken(folder: Path, cria: Path, change: Any) -> str:
    """Change cria's tokenizer.json; return how its export is refused."""
    source = json.loads((cria / "tokenizer.json").read_text())
    change(source)
    (folder / "tokenizer.json").write_text(json.dumps(source))
    tokenizer = load_tokenizer(folder)
    assert tokenizer is not None
    with pytest.raises(TokenizerError) as caught:
        gguf_text(tokenizer, None, specials(tokenizer), 2048)
    return str(caught.value)


def test_a_tokenizer_that_gguf_cannot_name_is_refused(tmp_path: Path, cria_folder: Path) -> None:
    def cut(source: Any) -> None:
        source["pre_tokenizer"] = {"type": "Whitespace"}

    def digits(source: Any) -> None:
        source["pre_tokenizer"]["pretokenizers"][0]["individual_digits"] = False

    def lower(source: Any) -> None:
        source["normalizer"] = {"type": "Lowercase"}

    def spaced(source: Any) -> None:
        source["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = True

    for change in (cut, digits, lower, spaced):
        assert "no name for the way it cuts text" in broken(tmp_path, cria_folder, change)


def test_names_are_given_for_exact_patterns_only() -> None:
    three = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )

    def named(pattern: str, *, whole: bool = False, normalizer: str | None = None) -> str | None:
        split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}
        bytes_ = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
        cut = {"type": "Sequence", "pretokenizers": [{**split, "invert": False}, bytes_]}
        model = {"type": "BPE", "ignore_merges": whole}
        how = {"type": normalizer} if normalizer else None
        return pre_name({"model": model, "pre_tokenizer": cut, "normalizer": how})

    assert named(three, whole=True) == "llama-bpe"  # Llama 3
    assert named(three) == "smaug-bpe"  # the same cut, and merges as always
    assert named(three.replace("{1,3}", ""), normalizer="NFC") == "qwen2"
    assert named(three.replace("{1,3}", "{1,2}")) is None
    assert named(three, whole=True, normalizer="NFKC") is None
