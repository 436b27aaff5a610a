"""The tokenizer inside a GGUF file, rebuilt from its metadata.

`tokenizer.ggml.model` names the kind: `gpt2` is byte-level BPE cut as `tokenizer.ggml.pre` says,
`gemma4` BPE over plain text, `llama` SentencePiece's BPE (pieces with scores), `t5` its unigram
model, `bert` word pieces. Other kinds are refused by name. After a special token, `llama` puts
the space that begins a text again, as llama.cpp does and as these models' tokenizer.json files do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from puna.errors import TokenizerError
from puna.text import gguf_fields as fields
from puna.text.bpe import JsonTokenizer
from puna.text.gguf_fields import Type, Vocabulary
from puna.text.ids import short
from puna.text.pretokenizer import PreTokenizer
from puna.text.pretokenizers import choices, pretokenizer, refuse
from puna.text.published import by_pieces
from puna.text.rebuild import (
    SPACE,
    Merge,
    Origin,
    Spaces,
    all_splits,
    byte_level_bpe,
    plain_bpe,
    unigram,
    word_piece,
)
from puna.text.settings import AddedToken, Settings
from puna.text.specials import Specials

_PRE = "tokenizer.ggml.pre"
_KNOWN = "llama, gpt2, gemma4, t5, bert"
# Architectures whose published checkpoints are all cut one way; old files do not say it.
_PRE_OF = {
    "bloom": "bloom",
    "falcon": "falcon",
    "gpt2": "gpt-2",
    "gptj": "gpt-2",
    "gptneox": "gpt-neox",
    "mpt": "mpt",
    "starcoder": "starcoder",
    "starcoder2": "starcoder",
}
_DEFAULT_IDS = {
    "llama": {"bos": 1, "eos": 2, "unknown": 0},
    "t5": {"eos": 1, "unknown": 2, "padding": 0},
    "bert": {"bos": 101, "eos": 102, "unknown": 100, "padding": 0},
}
_ROLES = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}
_ENDS = ("eos", "eot", "eom")
# Phi-3 takes the white space after its special tokens with them, except after these. A GGUF
# file has no place to say so; its name is all there is.
_PHI_3 = ("phi-3", "phi3")
_PHI_3_KEEP = frozenset({"<unk>", "<s>", "<|endoftext|>"})


def tokenizer_from_gguf(
    metadata: Mapping[str, Any], where: str = "the GGUF file", *, pre: str | None = None
) -> JsonTokenizer:
    """Rebuilds the tokenizer of a GGUF file.

    Args:
        metadata: the file's key-value pairs; arrays as any sequence (a NumPy array will do).
        where: the file, for errors.
        pre: the pre-tokenizer's name, for a file that does not say it; it wins over the file's.

    Raises:
        TokenizerError: no vocabulary, one of a kind that is not known, or one that is broken.
    """
    kind = fields.text(metadata, fields.MODEL, where)
    if kind is None:
        raise TokenizerError(
            "the file holds no tokenizer", where=where, remedy="give the model's own folder"
        )
    build = _BUILDERS.get(kind)
    if build is None:
        raise TokenizerError(
            f"tokenizers of the kind {short(repr(kind))} are not supported",
            where=f"{where}, {fields.MODEL}",
            remedy=f"the kinds that are: {_KNOWN}; or use the model's tokenizer.json",
        )
    if kind not in _CUT:
        refuse(pre, f"a vocabulary of the kind {kind!r:.60}", where)
    return build(metadata, fields.vocabulary(metadata, where), where, pre)


def specials_from_gguf(metadata: Mapping[str, Any], where: str = "the GGUF file") -> Specials:
    """The ids that begin, end and fill a sequence; `eos` has the end of a turn where one is named.

    Raises:
        TokenizerError: an id outside the vocabulary.
    """
    kind = fields.text(metadata, fields.MODEL, where) or ""
    size = len(fields.vocabulary(metadata, where).pieces)
    ids = _ids(metadata, kind, size, where)
    ends = (ids.get(end) for end in _ENDS)
    return Specials(ids.get("bos"), frozenset(t for t in ends if t is not None), ids.get("padding"))


def _gpt2(
    metadata: Mapping[str, Any], vocabulary: Vocabulary, where: str, pre: str | None
) -> JsonTokenizer:
    rule = _rule(metadata, vocabulary, where, pre)
    if rule.spelling == "plain":
        return _plain(metadata, vocabulary, where, rule)
    settings = _settings(metadata, "gpt2", vocabulary, where, rule)
    return byte_level_bpe(
        vocabulary.ids, _merges(metadata, where), rule, settings, Origin("the file", where)
    )


def _gemma4(
    metadata: Mapping[str, Any], vocabulary: Vocabulary, where: str, pre: str | None
) -> JsonTokenizer:
    return _plain(metadata, vocabulary, where, pretokenizer(pre or "gemma4", where))


def _plain(
    metadata: Mapping[str, Any], vocabulary: Vocabulary, where: str, rule: PreTokenizer
) -> JsonTokenizer:
    settings = _settings(metadata, "gemma4", vocabulary, where, rule)
    unknown = settings.roles.get("unk_token")
    origin = Origin("the file", where)
    return plain_bpe(vocabulary.ids, _merges(metadata, where), unknown, settings, origin)


def _llama(
    metadata: Mapping[str, Any], vocabulary: Vocabulary, where: str, pre: str | None
) -> JsonTokenizer:
    scores = fields.scores(metadata, len(vocabulary.pieces), where)
    _check_bytes(vocabulary, where)
    normal = [t for t, kind in enumerate(vocabulary.types) if kind == Type.NORMAL]
    # Pieces are learned in the order of their ids, so the id decides between equal scores.
    normal.sort(key=lambda token: (-scores[token], token))
    ranked = [vocabulary.pieces[token] for token in normal]
    merges = all_splits(ranked, dict.fromkeys(ranked))
    if len({scores[token] for token in normal}) == 1 and len(merges) > 1:
        merges = _stated_merges(metadata, where)
    settings = _settings(metadata, "llama", vocabulary, where, None)
    unknown = settings.roles.get("unk_token")
    # llama.cpp reads neither; files that hold them are of models whose own tokenizer does it.
    folds = fields.flag(metadata, "tokenizer.ggml.remove_extra_whitespaces", where)
    spaces = Spaces(fields.charsmap(metadata, where), folds is True)
    origin = Origin("the file", where)
    return plain_bpe(vocabulary.ids, merges, unknown, settings, origin, spaces)


def _t5(
    metadata: Mapping[str, Any], vocabulary: Vocabulary, where: str, pre: str | None
) -> JsonTokenizer:
    scores = fields.scores(metadata, len(vocabulary.pieces), where)
    settings = _settings(metadata, "t5", vocabulary, where, None)
    unknown = vocabulary.ids.get(settings.roles.get("unk_token") or "")
    if unknown is None:
        raise TokenizerError("a unigram vocabulary needs its unknown token", where=where)
    collapse = fields.flag(metadata, "tokenizer.ggml.remove_extra_whitespaces", where)
    spaces = Spaces(fields.charsmap(metadata, where), collapse is not False)
    pieces = list(zip(vocabulary.pieces, scores, strict=True))
    return unigram(pieces, unknown, spaces, settings, Origin("the file", where))


def _bert(
    metadata: Mapping[str, Any], vocabulary: Vocabulary, where: str, pre: str | None
) -> JsonTokenizer:
    # The file marks the pieces that begin a word; the model's own marks those that go on.
    pieces = [
        piece if kind != Type.NORMAL else piece[1:] if piece.startswith(SPACE) else f"##{piece}"
        for piece, kind in zip(vocabulary.pieces, vocabulary.types, strict=True)
    ]
    ids = {piece: token for token, piece in enumerate(pieces)}
    if len(ids) < len(pieces):
        raise TokenizerError("a piece has two ids", where=f"{where}, tokenizer.ggml.tokens")
    settings = _settings(metadata, "bert", Vocabulary(pieces, vocabulary.types, ids), where, None)
    lowercase = fields.flag(metadata, "tokenizer.ggml.normalizer.lowercase", where)
    unknown = settings.roles.get("unk_token") or "[UNK]"
    origin = Origin("the file", where)
    return word_piece(ids, unknown, lowercase is not False, settings, origin)


_CUT = ("gpt2", "gemma4")  # the kinds whose text is cut before pieces are merged
_BUILDERS = {"llama": _llama, "gpt2": _gpt2, "gemma4": _gemma4, "t5": _t5, "bert": _bert}


def _rule(
    metadata: Mapping[str, Any], vocabulary: Vocabulary, where: str, pre: str | None
) -> PreTokenizer:
    architecture = fields.text(metadata, "general.architecture", where) or ""
    name = pre or fields.text(metadata, _PRE, where) or _PRE_OF.get(architecture)
    if name is None:
        # The first files of Llama 3 do not say it; their pieces do.
        pairs = zip(vocabulary.pieces, vocabulary.types, strict=True)
        known = by_pieces({p: t for t, (p, kind) in enumerate(pairs) if kind == Type.NORMAL})
        name = known.pre if known else None
    if name is None:
        raise TokenizerError(
            "the file does not say how its tokenizer cuts text",
            where=f"{where}, {_PRE}",
            remedy=choices(),
        )
    return pretokenizer(name, where if pre else f"{where}, {_PRE}")


def _merges(metadata: Mapping[str, Any], where: str) -> list[Merge]:
    key = "tokenizer.ggml.merges"
    merges: list[Merge] = []
    for number, line in enumerate(fields.texts(metadata, key, where)):
        # The first character may be a space of its own.
        cut = line.find(" ", 1)
        if cut < 0 or cut == len(line) - 1:
            raise TokenizerError(
                f"merge {number}, {short(repr(line))}, is not two pieces", where=f"{where}, {key}"
            )
        merges.append((line[:cut], line[cut + 1 :]))
    return merges


def _stated_merges(metadata: Mapping[str, Any], where: str) -> list[Merge]:
    """The merges of a file whose scores say nothing: some converters write one score for all."""
    if "tokenizer.ggml.merges" not in metadata:
        raise TokenizerError(
            "all pieces have the same score, so the order of merges is lost",
            where=f"{where}, tokenizer.ggml.scores",
            remedy="convert the model again from a folder that has its tokenizer.model",
        )
    return _merges(metadata, where)


def _check_bytes(vocabulary: Vocabulary, where: str) -> None:
    """A vocabulary spells all bytes or none."""
    have = [piece for piece in fields.BYTES if piece in vocabulary.ids]
    if have and len(have) < len(fields.BYTES):
        missing = next(piece for piece in fields.BYTES if piece not in vocabulary.ids)
        raise TokenizerError(f"the vocabulary has no piece for the byte {missing}", where=where)


def _ids(metadata: Mapping[str, Any], kind: str, size: int, where: str) -> dict[str, int]:
    """The ids of roles as the file numbers them, else the kind's own defaults."""
    ids = {role: t for role, t in _DEFAULT_IDS.get(kind, {}).items() if t < size}
    for role in (*_ROLES, "eot", "eom", "seperator"):  # the format's own spelling
        token = fields.identifier(metadata, f"tokenizer.ggml.{role}_token_id", size, where)
        if token is not None:
            ids[role] = token
    if kind == "bert":
        ids["eos"] = ids.pop("seperator", ids.get("eos", 0))  # BERT ends a text with [SEP]
    return ids


def _settings(
    metadata: Mapping[str, Any],
    kind: str,
    vocabulary: Vocabulary,
    where: str,
    rule: PreTokenizer | None,
) -> Settings:
    ids = _ids(metadata, kind, len(vocabulary.pieces), where)
    bos = fields.flag(metadata, "tokenizer.ggml.add_bos_token", where)
    last = "sep" if kind == "bert" else "eos"
    eos = fields.flag(metadata, f"tokenizer.ggml.add_{last}_token", where)
    prefix = fields.flag(metadata, "tokenizer.ggml.add_space_prefix", where)
    begins = kind in ("llama", "bert") if rule is None else rule.bos != "no"
    ends = kind in ("t5", "bert") if rule is None else rule.eos
    if rule is not None and rule.bos == "always":
        bos = True
    name = (fields.text(metadata, "general.name", where) or "").lower()
    strips = kind == "llama" and any(mark in name for mark in _PHI_3)
    return Settings(
        roles={_ROLES[role]: vocabulary.pieces[t] for role, t in ids.items() if role in _ROLES},
        added=tuple(_added(vocabulary, strips=strips)),
        add_bos=begins if bos is None else bos,
        add_eos=ends if eos is None else eos,
        prefix_space=rule is None if prefix is None else prefix,
        legacy=False,
    )


def _added(vocabulary: Vocabulary, *, strips: bool) -> list[AddedToken]:
    return [
        AddedToken(
            piece,
            token,
            special=kind != Type.USER_DEFINED,
            rstrip=strips and piece not in _PHI_3_KEEP,
        )
        for token, (piece, kind) in enumerate(zip(vocabulary.pieces, vocabulary.types, strict=True))
        if kind in (Type.UNKNOWN, Type.CONTROL, Type.USER_DEFINED)
    ]
