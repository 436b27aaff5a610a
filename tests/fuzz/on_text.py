"""Chat templates in both languages, tokenizer.json with its settings, SentencePiece models."""

from __future__ import annotations

import io
import json
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from puna.errors import TemplateError
from puna.text import ChatTemplate, Limits, format_names, load_tokenizer
from puna.text.formats import read_format
from puna.text.gotmpl import functions
from tests.attacks.checks import check_message
from tests.fuzz.mutators import TreeMutator, WordMutator, mutate_proto, two_parts
from tests.fuzz.mutators.trees import cut_parts, join_parts
from tests.fuzz.target import Target, slot
from tests.unit.text_samples import CHATML, CORPUS, TOOL, TOOLS, assistant, system, user

_LIMITS = Limits(steps=400, output=8_000, seconds=5.0, size=8_000, memory=80_000)
_NOW = datetime(2026, 11, 24)
_ATTACKS = Path(__file__).resolve().parents[1] / "attacks"
_TALK = [system("Be brief."), user("Hi <s> é"), assistant("Hey"), user("and?")]
_TEXTS = ("ab", "a" * 40 + "b", "Hé <s> 世界 \n\0 ab")
_JINJA_WORDS = (
    *("{{", "}}", "{%", "%}", "{%-", "-%}", "{#", "#}", "for", "in", "if", "elif", "else", "endif"),
    *("endfor", "set", "endset", "macro", "endmacro", "call", "endcall", "filter", "endfilter"),
    *("generation", "endgeneration", "break", "continue", "recursive", "loop", "loop.index0"),
    *("namespace", "messages", "message", "tools", "content", "role", "bos_token", "eos_token"),
    *("raise_exception", "strftime_now", "tojson", "trim", "join", "map", "selectattr", "length"),
    *("list", "dict", "range", "cycler", "joiner", "is", "not", "defined", "mapping", "string"),
    *("'a'", "'%9d'", "''", "0", "1", "-1", "9999999", "1.5", "**", "*", "~", "+", "//", "%", "|"),
    *("(", ")", "[", "]", ".", ",", ":", "=", "==", "__class__", "__mro__", "format", "replace"),
    *("upper", "split", "items", "first", "last", "sort", "groupby", "batch", "slice", "indent"),
    *("attr", "default", "round", "sum", "reverse", "unique", "center", "wordcount", "raw"),
    *("endraw", "with", "endwith", "none", "true", "caller", "varargs", "self", "_", "\n", "é"),
)
_GO_WORDS = (
    *functions.NAMES,
    *("{{", "}}", "{{-", "-}}", "{{/*", "*/}}", "if", "else", "end", "range", "with", "define"),
    *("template", "block", "break", "continue", ".", "$", "$x", ":=", "=", "|", "(", ")", ","),
    *(".Messages", ".Role", ".Content", ".Tools", ".System", ".Prompt", ".Response", ".ToolCalls"),
    *(".Function", ".Arguments", ".Name", ".Think", "$.", "$i", "true", "nil", "0", "1", "-1"),
    *("'a'", '"user"', '"%99999d"', "`x`", "1e9", "0x10", "99999999999999999999", "é", "\n", " "),
)
_GO = (
    "{{ if .System }}<|system|>{{ .System }}{{ end }}<|user|>{{ .Prompt }}<|bot|>{{ .Response }}",
    "{{- range $i, $m := .Messages }}{{ if eq .Role \"user\" }}U {{ .Content }}{{ else }}"
    "A {{ .Content }}{{ range .ToolCalls }}{{ .Function.Name }} {{ .Function.Arguments }}{{ end }}"
    "{{ end }}{{ if eq (len (slice $.Messages $i)) 1 }}!{{ end }}{{ end }}",
    "{{ $last := \"\" }}{{ range .Messages }}{{ $last = printf \"%s%-9q\" .Role .Content }}"
    "{{ end }}{{ with $last }}{{ . }}{{ else }}{{ json .Tools }}{{ end }}"
    "{{ define \"x\" }}y{{ end }}",
)  # fmt: skip


def jinja(folder: Path) -> Target:
    """Templates in Jinja, compiled in the sandbox and rendered with and without tools."""
    texts = [CHATML, *(read_format(name, bos=True) for name in format_names())]
    attacks = sorted((_ATTACKS / "templates").glob("*.jinja"))
    words = WordMutator([text.encode() for text in texts], _JINJA_WORDS, r"\{[%{].*?[%}]\}")
    # Few turns of loops: here the forms count, and what is large has tests of its own.
    seeds = [path.read_bytes().replace(b"00000", b"00") for path in attacks]
    seeds += [text.encode() for text in texts]
    one = partial(_render, "jinja")
    return Target(
        tuple(seed for seed in seeds if len(seed) <= 768),
        one,
        words,
        tuple(word.encode() for word in _JINJA_WORDS),
        longest=1024,
        compiles=True,
    )


def go(folder: Path) -> Target:
    """Templates in Go's language, parsed and walked."""
    attacks = sorted((_ATTACKS / "gotmpl").glob("*.gotmpl"))
    texts = [text.encode() for text in _GO]
    words = WordMutator(texts, _GO_WORDS, r"\{\{.*?\}\}")
    seeds = [*texts, *(path.read_bytes() for path in attacks)]
    one = partial(_render, "go")
    return Target(
        tuple(seed for seed in seeds if len(seed) <= 2048),
        one,
        words,
        tuple(word.encode() for word in _GO_WORDS),
        longest=2048,
    )


def _render(language: Any, data: bytes) -> None:
    template = ChatTemplate(
        data.decode("utf-8", "replace"),
        bos_token="<s>",
        eos_token="</s>",
        limits=_LIMITS,
        language=language,
        clock=lambda: _NOW,
    )
    try:
        # Calls of tools make Jinja's templates run eight times more, to see how they want them.
        template.render_text(TOOLS if language == "go" else _TALK, tools=[TOOL])
    except TemplateError as error:  # many a sound template has no place for tools
        check_message(error, "")
    text = template.render_text(_TALK, add_generation_prompt=True)
    assert len(text) <= _LIMITS.output


def tokenizer(folder: Path) -> Target:
    """tokenizer.json and tokenizer_config.json, loaded and put to every use."""
    settings = {
        "bos_token": "<s>", "eos_token": {"content": "</s>", "special": True},
        "add_bos_token": True, "tokenizer_class": "PreTrainedTokenizerFast",
        "added_tokens_decoder": {"3": {"content": "<x>", "special": False, "lstrip": True}},
    }  # fmt: skip
    config = json.dumps(settings).encode()
    seeds = [join_parts(text.encode(), config) for text in _libraries()]
    trees = TreeMutator(cut_parts(seed)[0] for seed in seeds)
    put_whole, put_beside = (slot(folder / f"tokenizer{end}.json") for end in ("", "_config"))

    def one(data: bytes) -> None:
        whole, beside = cut_parts(data)
        put_whole(whole)
        put_beside(beside or b"{}")
        _use(folder)

    mutate = two_parts(trees, TreeMutator([config]))
    return Target(tuple(seeds), one, mutate, longest=8192)


def _libraries() -> list[str]:
    """Return a tokenizer.json of each kind of model, with every kind of part between them."""
    pieces = ["<unk>", "<s>", "</s>", "<x>", "a", "b", "ab", "▁", "▁a", "Ġ", "Ġa", "<0x0A>", "##b"]
    table = {piece: number for number, piece in enumerate(pieces)}
    bpe = tokenizers.Tokenizer(
        models.BPE(table, [("a", "b")], unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    bpe.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁"), normalizers.NFC()]
    )
    bpe.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    level = tokenizers.Tokenizer(models.BPE(table, [("a", "b"), ("Ġ", "a")]))
    level.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(r"\p{N}{1,3}|\s+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    level.decoder = decoders.ByteLevel()
    level.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    word = tokenizers.Tokenizer(models.WordPiece(table, unk_token="<unk>"))
    word.normalizer = normalizers.BertNormalizer()
    word.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    word.decoder = decoders.WordPiece()
    uni = tokenizers.Tokenizer(models.Unigram([(p, -float(n)) for n, p in enumerate(pieces)], 0))
    uni.pre_tokenizer = pre_tokenizers.Metaspace()
    uni.decoder = decoders.Metaspace()
    level_words = tokenizers.Tokenizer(models.WordLevel(table, unk_token="<unk>"))
    level_words.pre_tokenizer = pre_tokenizers.Whitespace()
    made = (bpe, level, word, uni, level_words)
    for library in made:
        library.add_special_tokens(["<s>", "</s>"])
        library.add_tokens(["<x>"])
    return [library.to_str() for library in made]


def sentencepiece_model(**options: Any) -> bytes:
    """Return a small SentencePiece model."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS[:2] * 4), model_writer=model, minloglevel=2,
        hard_vocab_limit=False, **options
    )  # fmt: skip
    return model.getvalue()


def sentencepiece_(folder: Path) -> Target:
    """SentencePiece models, loaded and put to every use."""
    put = slot(folder / "tokenizer.model")
    plain = {"normalization_rule_name": "identity", "vocab_size": 40}
    seeds = tuple(
        sentencepiece_model(**{**plain, **options})
        for options in (
            {"model_type": "bpe"},
            {"model_type": "unigram"},
            {"model_type": "char"},
            {"model_type": "bpe", "user_defined_symbols": "<x>", "remove_extra_whitespaces": False},
        )
    )

    def one(data: bytes) -> None:
        put(data)
        _use(folder)

    return Target(seeds, one, mutate_proto, longest=8192)


def _use(folder: Path) -> None:
    tokenizer_ = load_tokenizer(folder)
    assert tokenizer_ is not None
    for text in _TEXTS:
        ids = tokenizer_.encode(text)
        tokenizer_.decode(ids)
        ids, spans = tokenizer_.encode_spans(text, add_special=True)
        assert len(ids) == len(spans)
        tokenizer_.encode(text, parse_special=False)
        stream = tokenizer_.detokenizer(skip_special=False)
        for token in ids:
            stream.push(token)
        stream.finish()
