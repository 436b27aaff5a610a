"""Tokenizers of the `tokenizers` library, built from a vocabulary that lies in another form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from puna.text.bpe import JsonTokenizer, from_library, guard
from puna.text.files import read_object
from puna.text.pretokenizer import PreTokenizer, cutter, normalizer
from puna.text.settings import CONFIG, AddedToken, Settings

SPACE = "▁"
Merge = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Origin:
    """What a tokenizer is rebuilt from: its name and place for errors, its files for copying.

    `config` is the tokenizer_config.json beside it; a new one is written where it is saved, so it
    is not among the files.
    """

    name: str
    where: str
    files: tuple[Path, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


def origin_of(path: Path, files: Iterable[Path]) -> Origin:
    """The origin of a vocabulary file with others beside it.

    Raises:
        TokenizerError: a tokenizer_config.json that is not JSON.
    """
    beside = tuple(files)
    config = next((read_object(file) for file in beside if file.name == CONFIG), {})
    return Origin(path.name, str(path), tuple(f for f in beside if f.name != CONFIG), config)


def byte_level_bpe(
    vocabulary: Mapping[str, int],
    merges: Sequence[Merge],
    rule: PreTokenizer,
    settings: Settings,
    origin: Origin,
) -> JsonTokenizer:
    """Byte-level BPE, cut by `rule`.

    Raises:
        TokenizerError: merges and vocabulary do not fit each other.
    """
    model = _bpe(vocabulary, merges, origin, ignore_merges=rule.whole)
    library: Any = tokenizers.Tokenizer(model)
    if (normal := normalizer(rule)) is not None:
        library.normalizer = normal
    library.pre_tokenizer = cutter(rule, prefix_space=settings.prefix_space is True)
    library.decoder = decoders.ByteLevel()
    return _finish(library, settings, origin)


@dataclass(frozen=True, slots=True)
class Spaces:
    """What SentencePiece does with a text before it looks at the pieces.

    `charsmap`: its compiled normalization, or empty. `collapse`: runs of spaces become one, and
    none stays at the ends.
    """

    charsmap: bytes
    collapse: bool


NO_SPACES = Spaces(b"", collapse=False)


def plain_bpe(
    vocabulary: Mapping[str, int],
    merges: Sequence[Merge],
    unknown: str | None,
    settings: Settings,
    origin: Origin,
    spaces: Spaces = NO_SPACES,
) -> JsonTokenizer:
    """BPE over plain text with `▁` for a space, as SentencePiece has it.

    Text that the vocabulary cannot spell becomes its bytes (`<0x0A>`), or `unknown` if it has no
    bytes. With `settings.prefix_space` every run of ordinary text gets a space before it.

    Raises:
        TokenizerError: merges and vocabulary do not fit each other.
    """
    options = {"unk_token": unknown, "fuse_unk": True, "byte_fallback": "<0x00>" in vocabulary}
    library: Any = tokenizers.Tokenizer(_bpe(vocabulary, merges, origin, **options))
    before = _before(spaces, origin)
    steps: list[Any] = [
        decoders.Replace(SPACE, " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
    ]
    if settings.prefix_space:
        before.append(normalizers.Prepend(SPACE))
        steps.append(decoders.Strip(" ", 1, 0))
    spaced = normalizers.Replace(" ", SPACE)
    library.normalizer = normalizers.Sequence([*before, spaced]) if before else spaced
    library.decoder = decoders.Sequence(steps)
    return _finish(library, settings, origin)


def _before(spaces: Spaces, origin: Origin) -> list[Any]:
    """What is done to a text before a space is put in front of it."""
    steps: list[Any] = []
    if spaces.charsmap:
        failure = f"{origin.name} holds no normalization that can be used"
        compiled = partial(normalizers.Precompiled, spaces.charsmap)
        steps.append(guard(compiled, failure, origin.where))
    if spaces.collapse:
        steps.append(normalizers.Replace(tokenizers.Regex(r"\A +| +\z"), ""))
        steps.append(normalizers.Replace(tokenizers.Regex(" {2,}"), " "))
    return steps


def unigram(
    pieces: Sequence[tuple[str, float]],
    unknown: int,
    spaces: Spaces,
    settings: Settings,
    origin: Origin,
) -> JsonTokenizer:
    """A unigram language model of pieces (Kudo 2018), as T5 has it.

    Raises:
        TokenizerError: the library refuses the pieces or the normalization.
    """
    failure = f"{origin.name} holds no unigram vocabulary that can be used"
    build = partial(models.Unigram, list(pieces), unknown, "<0x00>" in dict(pieces))
    library: Any = tokenizers.Tokenizer(guard(build, failure, origin.where))
    if spaces.charsmap:
        compiled = partial(normalizers.Precompiled, spaces.charsmap)
        library.normalizer = guard(compiled, failure, origin.where)
    scheme = "always" if settings.prefix_space else "never"
    words = pre_tokenizers.Metaspace(SPACE, prepend_scheme=scheme)
    library.pre_tokenizer = (
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), words])
        if spaces.collapse
        else words
    )
    library.decoder = decoders.Metaspace(SPACE, prepend_scheme=scheme)
    return _finish(library, settings, origin)


def word_piece(
    vocabulary: Mapping[str, int],
    unknown: str,
    lowercase: bool,
    settings: Settings,
    origin: Origin,
) -> JsonTokenizer:
    """BERT's words in pieces (Devlin et al. 2019): each the longest that fits, `##` inside a word.

    Raises:
        TokenizerError: the library refuses the vocabulary.
    """
    failure = f"{origin.name} holds no vocabulary of word pieces that can be used"
    options: dict[str, Any] = {"unk_token": unknown, "max_input_chars_per_word": 100}
    build = partial(models.WordPiece, dict(vocabulary), **options)
    library: Any = tokenizers.Tokenizer(guard(build, failure, origin.where))
    library.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.decoder = decoders.WordPiece()
    return _finish(library, settings, origin)


def all_splits(ranked: Iterable[str], known: Mapping[str, Any]) -> list[Merge]:
    """The merges of a vocabulary whose pieces are ranked but whose merges nobody wrote down.

    A learner that merges the neighbors whose joint piece ranks best is BPE with a merge for each
    way to halve a piece, ranked as the piece. The order among the halvings of one piece does not
    matter: whatever surrounds it, a piece is only ever completed from the two halves that its
    own text ends in when it stands alone.

    Args:
        ranked: the pieces that can be made, best first.
        known: the pieces that can be halves.
    """
    return [
        (piece[:cut], piece[cut:])
        for piece in ranked
        for cut in range(1, len(piece))
        if piece[:cut] in known and piece[cut:] in known
    ]


def _bpe(
    vocabulary: Mapping[str, int], merges: Sequence[Merge], origin: Origin, **options: Any
) -> Any:
    failure = f"the merges of {origin.name} do not fit its vocabulary"
    given = {key: value for key, value in options.items() if value is not None}
    build = partial(models.BPE, vocab=dict(vocabulary), merges=list(merges), **given)
    return guard(build, failure, origin.where)


def _finish(library: Any, settings: Settings, origin: Origin) -> JsonTokenizer:
    _add(library, settings.added)
    roles = settings.roles
    before = roles.get("bos_token") if settings.add_bos else None
    after = roles.get("eos_token") if settings.add_eos else None
    # The names stand for the pieces, whose own characters could mean something in a template.
    around = [
        {"id": name, "ids": [library.token_to_id(piece)], "tokens": [piece]}
        for name, piece in (("bos", before), ("eos", after))
        if piece and library.token_to_id(piece) is not None
    ]
    names = [entry["id"] for entry in around]
    if names:
        parts = [part for part in ("bos", "$A", "eos") if part in (*names, "$A")]
        library.post_processor = processors.TemplateProcessing(single=parts, special_tokens=around)
    return from_library(
        library,
        settings,
        origin.files,
        name=origin.name,
        where=origin.where,
        config=origin.config,
    )


def _add(library: Any, added: Iterable[AddedToken]) -> None:
    """Adds tokens that the vocabulary has, all at once: one by one takes quadratic time."""
    entries = [
        tokenizers.AddedToken(
            token.content,
            single_word=token.whole,
            lstrip=token.lstrip,
            rstrip=token.rstrip,
            normalized=False,
            special=token.special,
        )
        for token in added
    ]
    library.add_special_tokens([entry for entry in entries if entry.special])
    library.add_tokens([entry for entry in entries if not entry.special])
