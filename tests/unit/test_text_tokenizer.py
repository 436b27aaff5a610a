"""Tokenizers against published vectors, against the reference libraries, and there and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from puna.errors import TokenizerError
from puna.text import Specials, Tokenizer, read_specials, save_tokenizer
from tests.unit.text_samples import byte_level, loaded, sentencepiece_model

Folder = Callable[..., Path]
VECTORS = Path("llama.cpp")
SEPARATOR = "\n__ggml_vocab_test__\n"
CONVERSATIONS = (
    "<s>[INST] Hi there[/INST] Hello</s>[INST] again  \n x[/INST]",
    "a</s> b",
    " </s> ",
    "<unk>x",
    "naïve café 😀👩‍👩‍👧 \N{ZERO WIDTH SPACE} nul\0byte \ufeff",
    "日本語 और हिन्दी",
)


@pytest.fixture(scope="module")
def data(shared: Path) -> Path:
    return shared / "data" / "tokenizers"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Lays files out as a checkpoint's folder has them."""

    def make(config: dict[str, Any] | None = None, **files: Path) -> Path:
        place = tmp_path_factory.mktemp("tokenizer")
        for name, source in files.items():
            (place / name.replace("_", ".")).symlink_to(source)
        if config is not None:
            (place / "tokenizer_config.json").write_text(json.dumps(config))
        return place

    return make


@pytest.fixture(scope="module")
def llama(data: Path, folder: Folder) -> Tokenizer:
    return loaded(folder(tokenizer_model=data / "llama2_tokenizer.model"))


@pytest.fixture(scope="module")
def neox(data: Path, folder: Folder) -> Tokenizer:
    return loaded(folder(tokenizer_json=data / "gpt-neox" / "20B_tokenizer.json"))


@pytest.fixture(scope="module")
def mistral(data: Path) -> Tokenizer:
    return loaded(data / "mistral-7b-instruct-v0.3")


def vectors(data: Path, name: str) -> list[tuple[str, list[int]]]:
    texts = (data / VECTORS / f"ggml-vocab-{name}.gguf.inp").read_text("utf-8").split(SEPARATOR)
    lines = (data / VECTORS / f"ggml-vocab-{name}.gguf.out").read_text("utf-8").split("\n")
    return [
        (text, [int(number) for number in line.split()])
        for text, line in zip(texts, lines, strict=True)
    ]


@pytest.mark.parametrize(("fixture", "name"), [("llama", "llama-spm"), ("neox", "mpt")])
def test_published_vectors(
    fixture: str, name: str, data: Path, request: pytest.FixtureRequest
) -> None:
    tokenizer: Tokenizer = request.getfixturevalue(fixture)
    cases = vectors(data, name)
    assert len(cases) == 47
    for text, ids in cases:
        assert tokenizer.encode(text, add_special=False) == ids
        assert tokenizer.decode(ids) == text


def test_llama_2_vectors_with_bos(llama: Tokenizer, data: Path) -> None:
    folder = data / "swift-transformers-vectors"
    long = json.loads((folder / "llama_encoded.json").read_text("utf-8"))
    assert llama.encode(long["text"]) == long["token_ids"]
    assert [llama.piece(token) for token in long["token_ids"][1:]] == long["bpe_tokens"]
    assert llama.decode(long["token_ids"]) == long["text"]
    suite = json.loads((folder / "tokenizer_tests.json").read_text("utf-8"))
    cases = suite["coreml-projects/Llama-2-7b-chat-coreml"]
    assert len(cases) == 18
    for case in cases:
        ids = case["encoded"]["input_ids"]
        assert llama.encode(case["input"]) == ids
        assert llama.decode(ids) == case["decoded_without_special"]
        assert llama.decode(ids, skip_special=False) == case["decoded_with_special"]


def test_sentencepiece_library_agrees(llama: Tokenizer, data: Path) -> None:
    library: Any = sentencepiece.SentencePieceProcessor(
        model_file=str(data / "llama2_tokenizer.model")
    )
    texts = [text for text, _ in vectors(data, "llama-spm")]
    for text in [*texts, CONVERSATIONS[4], CONVERSATIONS[5]]:
        ids = library.encode(text)
        assert llama.encode(text, add_special=False) == ids
        assert llama.decode(ids) == library.decode(ids)
        # The library never reads control tokens from text, so neither may untrusted text.
    for text in CONVERSATIONS[:3]:
        assert llama.encode(text, add_special=False, parse_special=False) == library.encode(text)


@pytest.mark.parametrize("fixture", ["mistral", "neox"])
def test_transformers_agrees(
    fixture: str, data: Path, folder: Folder, request: pytest.FixtureRequest
) -> None:
    transformers = pytest.importorskip("transformers")
    ours: Tokenizer = request.getfixturevalue(fixture)
    reference = (
        transformers.AutoTokenizer.from_pretrained(data / "mistral-7b-instruct-v0.3")
        if fixture == "mistral"
        else transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(data / "gpt-neox" / "20B_tokenizer.json")
        )
    )
    texts = [text for text, _ in vectors(data, "llama-spm")]
    for text in [*texts, *CONVERSATIONS, "<|endoftext|>x <|padding|>"]:
        ids = reference(text)["input_ids"]
        assert ours.encode(text) == ids
        assert ours.encode(text, add_special=False) == reference.encode(
            text, add_special_tokens=False
        )
        for skip in (True, False):
            assert ours.decode(ids, skip_special=skip) == reference.decode(
                ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False
            )


@pytest.mark.parametrize(
    ("name", "size", "inst"),
    [
        ("tokenizer.model.v1", 32000, None),
        ("mistral_instruct_tokenizer_240216.model.v2", 32768, 3),
        ("mistral_instruct_tokenizer_240323.model.v3", 32768, 3),
        ("mistral_instruct_tokenizer_241114.model.v7", 32768, 3),
    ],
)
def test_mistral_s_own_models(
    name: str, size: int, inst: int | None, data: Path, folder: Folder
) -> None:
    tokenizer = loaded(folder(tokenizer_model=data / "mistral" / name))
    assert (tokenizer.vocab_size, tokenizer.bos_id, tokenizer.eos_id) == (size, 1, 2)
    assert tokenizer.id_of("[INST]") == inst
    if inst is not None:
        assert tokenizer.encode("[INST]", add_special=False) == [inst]
        assert inst in tokenizer.special_ids
        ids = tokenizer.encode("[INST]", add_special=False, parse_special=False)
        assert not tokenizer.special_ids.intersection(ids)
        assert tokenizer.decode(ids) == "[INST]"


def test_two_readers_of_one_vocabulary_agree(
    mistral: Tokenizer, data: Path, folder: Folder
) -> None:
    """Mistral v0.3 is published in both forms; they differ on a leading space alone."""
    model = loaded(
        folder(tokenizer_model=data / "mistral" / "mistral_instruct_tokenizer_240323.model.v3")
    )
    assert model.vocab_size == mistral.vocab_size
    texts = [*(text for text, _ in vectors(data, "llama-spm")), *CONVERSATIONS]
    for text in texts:
        if text.startswith(" "):
            continue
        ids, spans = model.encode_spans(text)
        others, other_spans = mistral.encode_spans(text)
        assert ids == others
        assert spans[1:] == other_spans[1:]  # a space put before the text has no place in it
        assert model.encode(text) == mistral.encode(text)
        assert model.decode(ids) == mistral.decode(ids)


@pytest.mark.parametrize("fixture", ["llama", "mistral", "neox"])
def test_spans_are_the_characters_of_each_id(
    fixture: str, data: Path, request: pytest.FixtureRequest
) -> None:
    tokenizer: Tokenizer = request.getfixturevalue(fixture)
    for text in [*(text for text, _ in vectors(data, "llama-spm")), *CONVERSATIONS]:
        ids, spans = tokenizer.encode_spans(text)
        assert ids == tokenizer.encode(text, add_special=False)
        assert len(spans) == len(ids)
        at = 0
        for token, (start, end) in zip(ids, spans, strict=True):
            # In order and without a hole; the bytes of one character share its span.
            assert at >= start
            assert end >= at
            at = end
            whole = tokenizer.decode([token], skip_special=False)
            if "\N{REPLACEMENT CHARACTER}" not in whole and start > 0:
                said = text[start:end]
                assert said in {whole, f" {whole}"}
        assert at == len(text)


def test_spans_of_bytes_bos_and_eos(tmp_path: Path) -> None:
    tokenizer = sentencepiece_model(tmp_path, {"add_eos_token": True})
    ids, spans = tokenizer.encode_spans("a 😀b", add_special=True)
    assert ids == [1, *tokenizer.encode("a 😀b", add_special=False), 2]
    assert (ids[0], spans[0]) == (tokenizer.bos_id, (0, 0))
    assert (ids[-1], spans[-1]) == (tokenizer.eos_id, (4, 4))
    emoji = [token for token, span in zip(ids, spans, strict=True) if span == (2, 3)]
    assert [tokenizer.piece(token) for token in emoji] == ["<0xF0>", "<0x9F>", "<0x98>", "<0x80>"]


def test_byte_level_round_trip_and_spans(tmp_path: Path) -> None:
    tokenizer = byte_level(tmp_path, ["<end>"], ["t h", "th e"])
    ids, spans = tokenizer.encode_spans("theü<end>")
    assert [tokenizer.piece(token) for token in ids] == ["the", "Ã", "¼", "<end>"]
    assert spans == [(0, 3), (3, 4), (3, 4), (4, 9)]
    assert tokenizer.decode(ids) == "theü"
    assert tokenizer.decode(ids, skip_special=False) == "theü<end>"
    assert tokenizer.decode(ids[:2]) == "the\N{REPLACEMENT CHARACTER}"


def test_special_tokens_are_text_if_nobody_vouches_for_them(
    llama: Tokenizer, mistral: Tokenizer, neox: Tokenizer
) -> None:
    for tokenizer, token in ((llama, "</s>"), (mistral, "[/INST]"), (neox, "<|endoftext|>")):
        text = f"say {token} twice: {token}"
        trusted = tokenizer.encode(text, add_special=False)
        assert [tokenizer.piece(id_) for id_ in trusted].count(token) == 2
        plain = tokenizer.encode(text, add_special=False, parse_special=False)
        assert not tokenizer.special_ids.intersection(plain)
        assert tokenizer.decode(plain) == text


def test_symbols_that_sentencepiece_reads_itself(tmp_path: Path) -> None:
    config = {"additional_special_tokens": ["<tool>"]}
    tokenizer = sentencepiece_model(tmp_path, config, symbols=["<tool>", "<word>"])
    tool, word = tokenizer.id_of("<tool>"), tokenizer.id_of("<word>")
    assert tool in tokenizer.special_ids
    assert word not in tokenizer.special_ids
    text = "the <tool><tool> and <word>"
    assert tokenizer.encode(text).count(tool or 0) == 2
    plain = tokenizer.encode(text, parse_special=False, add_special=False)
    assert tool not in plain
    assert word in plain
    assert tokenizer.decode(plain) == text


def test_files_beside_the_model_add_tokens(data: Path, folder: Folder) -> None:
    config = {
        "bos_token": {"content": "<s>"},
        "eos_token": "<|im_end|>",
        "pad_token": "<pad>",
        "add_bos_token": False,
        "added_tokens_decoder": {
            "32000": {"content": "<|im_end|>", "special": True, "rstrip": True},
            "32001": {"content": "<pad>", "special": True},
            "32002": {"content": "zzplain", "special": False, "single_word": True},
        },
    }
    place = folder(config, tokenizer_model=data / "llama2_tokenizer.model")
    tokenizer = loaded(place)
    assert tokenizer.vocab_size == 32003
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (1, 32000, 32001)
    assert tokenizer.special_ids == {0, 1, 2, 32000, 32001}
    ids, spans = tokenizer.encode_spans("Hi<|im_end|> \n x zzplain zzplainer")
    assert [token for token in ids if token >= 32000] == [32000, 32002]
    assert spans[ids.index(32000)] == (2, 15)  # white space after it goes with it
    assert tokenizer.decode(ids) == "Hix zzplain zzplainer"
    (place / "generation_config.json").write_text('{"eos_token_id": [2, 32000]}')
    specials = read_specials(place, {"eos_token_id": 7, "bos_token_id": 9}, tokenizer)
    assert specials == Specials(1, frozenset({2, 7, 32000}), 32001)
    assert read_specials(place, {"pad_token_id": -1}, None) == Specials(
        None, frozenset({2, 32000}), None
    )


def test_legacy_puts_a_space_after_special_tokens(data: Path, folder: Folder) -> None:
    model = data / "llama2_tokenizer.model"
    new = loaded(folder({"legacy": False}, tokenizer_model=model))
    old = loaded(folder({"legacy": True}, tokenizer_model=model))
    assert [new.piece(token) for token in new.encode("a</s>b")] == ["<s>", "▁a", "</s>", "b"]
    assert [old.piece(token) for token in old.encode("a</s>b")] == ["<s>", "▁a", "</s>", "▁b"]


def test_dropout_of_training_is_not_used(tmp_path: Path) -> None:
    byte_level(tmp_path, [], ["a b"])
    path = tmp_path / "tokenizer.json"
    value = json.loads(path.read_text("utf-8"))
    value["model"]["dropout"] = 0.5
    path.write_text(json.dumps(value))
    tokenizer = loaded(tmp_path)
    assert {tuple(tokenizer.encode("abab")) for _ in range(50)} == {(256, 256)}


def test_what_cannot_be_encoded_or_decoded(llama: Tokenizer, neox: Tokenizer) -> None:
    for tokenizer in (llama, neox):
        with pytest.raises(TokenizerError, match=r"lone surrogate \(U\+D800\) at character 2"):
            tokenizer.encode("ab\ud800")
        with pytest.raises(TokenizerError, match="lone surrogate"):
            tokenizer.encode_spans("\udfff")
        for token in (-1, tokenizer.vocab_size, 2**40):
            with pytest.raises(TokenizerError, match=f"no id {token}"):
                tokenizer.decode([token])
            with pytest.raises(TokenizerError, match=f"no id {token}"):
                tokenizer.piece(token)
        assert tokenizer.encode("", add_special=False) == []
        assert tokenizer.decode([]) == ""
        assert tokenizer.id_of("no such piece") is None


def test_saved_files_are_the_same_bytes(mistral: Tokenizer, data: Path, tmp_path: Path) -> None:
    written = save_tokenizer(mistral, tmp_path)
    source = data / "mistral-7b-instruct-v0.3"
    names = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}
    assert {path.name for path in written} == names
    for path in written:
        assert path.read_bytes() == (source / path.name).read_bytes()
    again = loaded(tmp_path)
    assert again.encode(CONVERSATIONS[0]) == mistral.encode(CONVERSATIONS[0])
