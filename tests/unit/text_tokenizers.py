"""Small tokenizers made on the spot, so that the tests of `puna.text` need no download."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from puna.text import Tokenizer, load_tokenizer

CORPUS = (
    "the llama walked up the hill and the hill was high",
    "a cria is a baby llama; her mother hums to her",
    "das Lama läuft über die Brücke – größer als 12 Häuser",
    "ラマは高い山に住んでいます。 лама живёт в горах",
) * 8


def byte_level(folder: Path, specials: Iterable[str], merges: Iterable[str] = ()) -> Tokenizer:
    """Byte-level BPE: 256 bytes, then one id for each merge, then the special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [tuple(merge.split(" ")) for merge in merges]
    pieces = [*alphabet, *(left + right for left, right in pairs)]
    library: Any = tokenizers.Tokenizer(
        models.BPE(vocab={piece: token for token, piece in enumerate(pieces)}, merges=pairs)
    )
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    library.add_special_tokens(list(specials))
    library.save(str(folder / "tokenizer.json"))
    return loaded(folder)


def sentencepiece_bytes() -> bytes:
    """A SentencePiece BPE of 400 pieces with byte fallback, as LLaMA's is made."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=model,
        model_type="bpe",
        vocab_size=400,
        byte_fallback=True,
        character_coverage=0.98,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    return model.getvalue()


def sentencepiece_model(folder: Path, config: Mapping[str, Any] | None = None) -> Tokenizer:
    """The tokenizer of `sentencepiece_bytes`, with a tokenizer_config.json if one is given."""
    (folder / "tokenizer.model").write_bytes(sentencepiece_bytes())
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return loaded(folder)


def loaded(folder: Path) -> Tokenizer:
    """What `load_tokenizer` reads there, which must be something."""
    tokenizer = load_tokenizer(folder)
    assert tokenizer is not None
    return tokenizer
