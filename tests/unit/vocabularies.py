"""What the tests of rebuilt tokenizers share: vectors, hard texts, and vocabularies as metadata."""

from __future__ import annotations

import base64
import io
import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import sentencepiece

from puna.formats.gguf import read_gguf
from puna.text import byte_level
from tests.unit.text_samples import CORPUS

SEPARATOR = "\n__ggml_vocab_test__\n"
HARD = (
    "",
    " ",
    "  two  spaces  ",
    " leading and trailing ",
    "\n\n\n line \r\n tabs\t\tand\t ends\n",
    "1 12 123 1234 12345 1234567 3.14 1,000,000 ٣٤٥ ½ Ⅷ ²",
    "I'll don't WE'VE 'tis it's 'S ſ's",
    "日本語 テスト 我想在apple工作 안녕하세요 កាន់តែ नमस्ते",
    "😀👩‍👩‍👧 🏳️‍🌈 😶‍🌫️",
    "שלום עולם \u202eمرحبا\u202c",
    "e\u0301 a\u0300\u0327 ñ n\u0303 \u0344 Å Å",
    "nul\0 bell\x07 esc\x1b[2J del\x7f \x85 \x1c",
    "\u00a0nbsp\u00a0 \u200bzero \u3000wide \ufeffbom",
    "HTTPServer camelCase snake_case kebab-case ++i; // x\n/* y */",
    "``` ```` '''' \"\"\"\" ------ ====== !!!??? … — “q”",
    "</s><s> <unk> <|endoftext|> <|eot_id|>x [INST] <0x0A>",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" + " " * 70 + "b",
)
_PARTS = (
    *("Hello", " world", "don't", "I'LL", "'S", "ſ'ſ", " ", "  ", "   ", "\n", "\r\n", "\t"),
    *(
        "\n\n",
        "123",
        "4567890",
        "٣٤",
        "½",
        "日本語",
        "テスト",
        "안녕",
        "नमस्ते",
        "é",
        "e\u0301",
        "😀",
    ),
    *("👩‍👩‍👧", "\u00a0", "\u200b", "\u3000", "\x85", "\x1c", "\0", "שלום", "عربي", "HTTPServer"),
    *("camelCase", "ǅ", "ʰ", "...", "!!!", "/", "//\n", "---", "_", "$", "€", "K", "İ", "ß", "ﬁ"),
)


def random_texts(count: int, seed: int = 5) -> Iterator[str]:
    """Texts put together from hard parts, from any characters, and from one part repeated."""
    source = random.Random(seed)
    ranges = ((32, 127), (0x80, 0x3000), (0x3000, 0xD800), (0xE000, 0x110000))
    for _ in range(count):
        kind = source.random()
        if kind < 0.6:
            yield "".join(source.choice(_PARTS) for _ in range(source.randrange(1, 25)))
        elif kind < 0.8:
            spans = [source.choice(ranges) for _ in range(source.randrange(1, 30))]
            yield "".join(chr(source.randrange(*span)) for span in spans)
        else:
            yield source.choice(_PARTS) * source.randrange(1, 60)


def vectors(shared: Path, name: str) -> list[tuple[str, list[int]]]:
    """The published texts and ids of one of llama.cpp's vocabularies."""
    stem = shared / "data" / "tokenizers" / "llama.cpp" / f"ggml-vocab-{name}.gguf"
    with open(f"{stem}.inp", encoding="utf-8", newline="") as file:
        texts = file.read().split(SEPARATOR)
    lines = Path(f"{stem}.out").read_text("utf-8").split("\n")
    return [
        (text, [int(number) for number in line.split()])
        for text, line in zip(texts, lines, strict=True)
    ]


def gguf_metadata(shared: Path, name: str) -> dict[str, Any]:
    """The metadata of one of llama.cpp's vocabularies."""
    folder = shared / "data" / "tokenizers" / "llama.cpp"
    return dict(read_gguf(folder / f"ggml-vocab-{name}.gguf").metadata)


def rank_file(vocabulary: Mapping[str, int]) -> bytes:
    """A byte-level vocabulary as the tiktoken file it would be."""
    ranks = sorted(vocabulary.items(), key=lambda item: item[1])
    return b"".join(
        b"%s %d\n" % (base64.b64encode(byte_level.read(piece)), rank) for piece, rank in ranks
    )


def ranks_of(vocabulary: Mapping[str, int]) -> dict[bytes, int]:
    """The same as tiktoken's own argument."""
    return {byte_level.read(piece): rank for piece, rank in vocabulary.items()}


def llama_3_2(shared: Path) -> dict[str, int]:
    """The published vocab.json of Llama 3.2."""
    path = shared / "data" / "tokenizers" / "llama3.2" / "vocab.json"
    vocabulary: dict[str, int] = json.loads(path.read_text("utf-8"))
    return vocabulary


def trained(**options: Any) -> bytes:
    """A SentencePiece model trained on the spot."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=model, minloglevel=2, **options
    )
    return model.getvalue()


def as_metadata(model: bytes, kind: str) -> dict[str, Any]:
    """What a converter to GGUF writes of a SentencePiece model."""
    from sentencepiece import sentencepiece_model_pb2

    proto: Any = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model)
    normal, trainer = proto.normalizer_spec, proto.trainer_spec
    metadata = {
        "model": kind,
        "tokens": [piece.piece for piece in proto.pieces],
        "scores": [piece.score for piece in proto.pieces],
        "token_type": [piece.type for piece in proto.pieces],
        "add_space_prefix": normal.add_dummy_prefix,
        "remove_extra_whitespaces": normal.remove_extra_whitespaces,
        "unknown_token_id": trainer.unk_id,
        "eos_token_id": trainer.eos_id,
    }
    if trainer.bos_id >= 0:
        metadata["bos_token_id"] = trainer.bos_id
    if normal.precompiled_charsmap:
        metadata["precompiled_charsmap"] = list(normal.precompiled_charsmap)
    return {f"tokenizer.ggml.{key}": value for key, value in metadata.items()}


def tiny_gpt2(**more: Any) -> dict[str, Any]:
    """A byte-level vocabulary of 256 bytes, `th`, `the` and an end, as GGUF metadata."""
    pieces = [*sorted(byte_level.BYTE_OF), "th", "the", "<end>"]
    metadata = {
        "model": "gpt2",
        "pre": "gpt-2",
        "tokens": pieces,
        "token_type": [1] * (len(pieces) - 1) + [3],
        "merges": ["t h", "th e"],
        "eos_token_id": len(pieces) - 1,
    }
    return {f"tokenizer.ggml.{key}": value for key, value in (metadata | more).items()}
