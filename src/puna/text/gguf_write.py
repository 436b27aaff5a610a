"""A tokenizer as GGUF metadata: pieces, their types, scores or merges, special ids, template."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from puna.errors import TokenizerError
from puna.text.bpe import JsonTokenizer
from puna.text.chat import ChatTemplate
from puna.text.gguf_pre import pre_name
from puna.text.specials import Specials
from puna.text.spm import SentencePieceTokenizer
from puna.text.spm_proto import BPE, read_facts
from puna.text.tokenizer import Tokenizer

Typed = tuple[str, Any]
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6
_BYTE_PIECE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_REMEDY = "export it as safetensors"
# A score so low that no merge makes the piece: those of added tokens and padding.
_NEVER = -10_000.0


@dataclass(frozen=True, slots=True)
class GgufText:
    """The `tokenizer.*` keys of a file, typed, and in words where llama.cpp cuts otherwise."""

    keys: dict[str, Typed]
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Pieces:
    """Pieces by id, filled up to the size of the model's vocabulary."""

    texts: list[str]
    types: list[int]
    scores: list[float]
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of_size(cls, size: int) -> _Pieces:
        return cls([f"[PAD{i}]" for i in range(size)], [_UNUSED] * size, [_NEVER] * size)

    def put(self, token: int, text: str, kind: int, score: float = _NEVER) -> None:
        self.texts[token], self.types[token], self.scores[token] = text, kind, score


def gguf_text(
    tokenizer: Tokenizer | None, template: ChatTemplate | None, specials: Specials, size: int
) -> GgufText:
    """Return a tokenizer as GGUF metadata.

    Args:
        tokenizer: byte-level BPE or BPE with byte pieces (tokenizer.json), or SentencePiece's BPE;
            None writes a file that llama.cpp opens for ids alone.
        template, specials: what goes with it.
        size: rows of the model's embedding; what the tokenizer lacks is filled up.

    Raises:
        TokenizerError: a tokenizer that GGUF has no words for, so that llama.cpp would give
            other ids without a word.
    """
    if tokenizer is None:
        return GgufText({"tokenizer.ggml.model": ("str", "no_vocab")})
    if tokenizer.vocab_size > size:
        raise TokenizerError(
            f"the tokenizer has {tokenizer.vocab_size} pieces and the model {size}", remedy=_REMEDY
        )
    pieces = _Pieces.of_size(size)
    if isinstance(tokenizer, JsonTokenizer):
        keys = _json(tokenizer, pieces)
    elif isinstance(tokenizer, SentencePieceTokenizer):
        keys = _sentencepiece(tokenizer, pieces)
    else:
        raise _no_words("its kind is unknown")
    if len(set(pieces.texts)) != size:
        raise _no_words("two of its pieces are spelled alike")
    keys["tokenizer.ggml.tokens"] = ("[str]", pieces.texts)
    keys["tokenizer.ggml.token_type"] = ("[i32]", pieces.types)
    if keys["tokenizer.ggml.model"][1] == "llama":
        keys["tokenizer.ggml.scores"] = ("[f32]", pieces.scores)
    keys |= _ids(tokenizer, specials) | _ends(tokenizer)
    if template is not None:
        keys["tokenizer.chat_template"] = ("str", template.source)
    return GgufText(keys, tuple(pieces.notes))


def _no_words(reason: str) -> TokenizerError:
    return TokenizerError(f"GGUF has no words for this tokenizer: {reason}", remedy=_REMEDY)


def _json(tokenizer: JsonTokenizer, pieces: _Pieces) -> dict[str, Typed]:
    definition = json.loads(tokenizer._library.to_str())
    model = definition["model"]
    if model.get("type") != "BPE":
        raise _no_words(f"its model is {model.get('type')!r:.40}, not BPE")
    for text, token in model["vocab"].items():
        pieces.put(token, text, _NORMAL)
    merges = [tuple(m.split(" ", 1)) if isinstance(m, str) else tuple(m) for m in model["merges"]]
    if model.get("byte_fallback"):
        keys = _spelled_bytes(definition, merges, pieces)
    else:
        keys = _byte_level(definition, merges)
    for entry in definition["added_tokens"]:
        special = entry["special"] or entry["id"] in tokenizer.special_ids
        pieces.put(entry["id"], entry["content"], _CONTROL if special else _USER_DEFINED)
    return keys


def _byte_level(definition: Mapping[str, Any], merges: Sequence[Any]) -> dict[str, Typed]:
    name = pre_name(definition)
    if name is None:
        raise _no_words("llama.cpp has no name for the way it cuts text (pre_tokenizer)")
    lines = [f"{a} {b}" for a, b in merges]
    if any(line.count(" ") != 1 for line in lines):
        raise _no_words("its merges have spaces in them")
    return {
        "tokenizer.ggml.model": ("str", "gpt2"),
        "tokenizer.ggml.pre": ("str", name),
        "tokenizer.ggml.merges": ("[str]", lines),
    }


def _spelled_bytes(
    definition: Mapping[str, Any], merges: Sequence[Any], pieces: _Pieces
) -> dict[str, Typed]:
    """Return a vocabulary in SentencePiece's spelling; a merge's rank becomes its piece's score."""
    ranks: dict[str, int] = {}
    for rank, (a, b) in enumerate(merges):
        ranks.setdefault(a + b, rank)
    for token, text in enumerate(pieces.texts):
        if pieces.types[token] == _NORMAL:
            kind = _BYTE if _BYTE_PIECE.fullmatch(text) else _NORMAL
            pieces.put(token, text, kind, float(-ranks.get(text, len(ranks))))
    unknown = definition["model"].get("unk_token")
    if unknown in pieces.texts:
        pieces.put(pieces.texts.index(unknown), unknown, _UNKNOWN, 0.0)
    prefix = _space_before(definition)
    if prefix and (definition.get("pre_tokenizer") or {}).get("type") == "Metaspace":
        pieces.notes.append("llama.cpp puts a space before every text, even one that has it")
    return _piece_keys(prefix)


def _space_before(definition: Mapping[str, Any]) -> bool:
    """Tell whether a space is put before a text, in either spelling of that rule."""
    normalizer = definition.get("normalizer") or {}
    steps = normalizer.get("normalizers", [normalizer] if normalizer else [])
    kinds = [step.get("type") for step in steps]
    cutter = definition.get("pre_tokenizer") or {}
    replaces = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    if kinds in (["Prepend", "Replace"], ["Replace"]) and steps[-1] == replaces and not cutter:
        return bool(kinds[0] == "Prepend")
    if not steps and cutter.get("type") == "Metaspace" and not cutter.get("split"):
        return cutter.get("prepend_scheme") in ("always", "first")
    raise _no_words("its normalizer is not SentencePiece's")


def _sentencepiece(tokenizer: SentencePieceTokenizer, pieces: _Pieces) -> dict[str, Typed]:
    model = tokenizer._model
    facts = read_facts(model.serialized_model_proto())
    if facts.kind != BPE:
        raise _no_words("it is not SentencePiece's BPE")
    if facts.folds:
        pieces.notes.append("llama.cpp keeps runs of spaces, of which this tokenizer makes one")
    if facts.charsmap:
        pieces.notes.append("llama.cpp does not normalize text, as this tokenizer does")
    for token, sort in enumerate(facts.types):
        pieces.put(token, model.id_to_piece(token), sort, model.get_score(token))
    for text, added in tokenizer._tokens.items():
        if added.id is not None and pieces.types[added.id] not in (_UNKNOWN, _CONTROL):
            pieces.put(added.id, text, _CONTROL if added.special else _USER_DEFINED)
    prefix = model.encode("a", out_type=str)[0].startswith("▁")
    if prefix and not tokenizer._legacy:
        pieces.notes.append("llama.cpp puts a space before text that follows a special token")
    return _piece_keys(prefix, folds=facts.folds, charsmap=facts.charsmap)


def _piece_keys(prefix: bool, *, folds: bool = False, charsmap: bytes = b"") -> dict[str, Typed]:
    """Return what else is said of SentencePiece; llama.cpp leaves the last two unread."""
    keys: dict[str, Typed] = {
        "tokenizer.ggml.model": ("str", "llama"),
        "tokenizer.ggml.pre": ("str", "default"),
        "tokenizer.ggml.add_space_prefix": ("bool", prefix),
    }
    if folds:
        keys["tokenizer.ggml.remove_extra_whitespaces"] = ("bool", True)
    if charsmap:
        keys["tokenizer.ggml.precompiled_charsmap"] = ("[u8]", list(charsmap))
    return keys


def _ids(tokenizer: Tokenizer, specials: Specials) -> dict[str, Typed]:
    """Return the special ids; other ends of generation take the places for ends of turns."""
    eos = tokenizer.eos_id if tokenizer.eos_id is not None else min(specials.eos, default=None)
    others = sorted(specials.eos - {eos})
    if len(others) > 2:
        raise _no_words(f"GGUF has room for three ids that end a text, not {len(others) + 1}")
    unknown = (
        tokenizer._unk
        if isinstance(tokenizer, JsonTokenizer)
        else tokenizer._model.unk_id()
        if isinstance(tokenizer, SentencePieceTokenizer)
        else None
    )
    found = {
        "bos": specials.bos,
        "eos": eos,
        "padding": specials.pad,
        "unknown": unknown,
        **dict(zip(("eot", "eom"), others, strict=False)),
    }
    return {
        f"tokenizer.ggml.{role}_token_id": ("u32", token)
        for role, token in found.items()
        if token is not None
    }


def _ends(tokenizer: Tokenizer) -> dict[str, Typed]:
    """Return whether BOS and EOS are put around a text, by trying."""
    bare, whole = tokenizer.encode("a", add_special=False), tokenizer.encode("a")
    before = len(whole) > len(bare) and whole[0] == tokenizer.bos_id
    after = len(whole) > len(bare) and whole[-1] == tokenizer.eos_id
    if len(whole) != len(bare) + before + after:
        raise _no_words("it puts more around a text than BOS and EOS")
    return {
        "tokenizer.ggml.add_bos_token": ("bool", before),
        "tokenizer.ggml.add_eos_token": ("bool", after),
    }


def gguf_text_again(metadata: Mapping[str, Any]) -> dict[str, Typed]:
    """Return the `tokenizer.*` keys of a file that was read, typed, for another file."""
    return {
        key: _typed(key, value) for key, value in metadata.items() if key.startswith("tokenizer.")
    }


def _typed(key: str, value: Any) -> Typed:
    if isinstance(value, list):
        if key.endswith("precompiled_charsmap"):
            return "[u8]", [byte & 0xFF for byte in value]
        return f"[{_typed(key, value[0])[0] if value else 'i32'}]".replace("u32", "i32"), value
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, int):
        return ("u32" if 0 <= value < 1 << 32 else "i64"), value
    return ("f32" if isinstance(value, float) else "str"), value
