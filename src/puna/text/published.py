"""Vocabularies of ranks that are known by their digest or by their tokenizer's class."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from puna.text import byte_level
from puna.text.pretokenizer import PreTokenizer
from puna.text.settings import AddedToken, Settings


@dataclass(frozen=True, slots=True)
class Published:
    """What a published vocabulary of ranks does not say itself: its cutter and special tokens."""

    pre: str
    special: Mapping[str, int]
    bos: str | None = None
    eos: str | None = None


_LLAMA_3 = Published(
    "llama3",
    {
        "<|begin_of_text|>": 128000,
        "<|end_of_text|>": 128001,
        "<|start_header_id|>": 128006,
        "<|end_header_id|>": 128007,
        "<|eot_id|>": 128009,
    },
    bos="<|begin_of_text|>",
    eos="<|end_of_text|>",
)
_QWEN_1 = Published(
    "qwen2",
    {
        **{"<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645},
        **{f"<|extra_{number}|>": 151646 + number for number in range(205)},
    },
    eos="<|endoftext|>",
)
_END = "<|endoftext|>"
_FILL = {"<|fim_prefix|>": 100258, "<|fim_middle|>": 100259, "<|fim_suffix|>": 100260}
# The SHA-256 of published files: Llama 3's tokenizer.model, and OpenAI's encodings.
_BY_DIGEST = {
    "82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55": _LLAMA_3,
    "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930": Published(
        "r50k_base", {_END: 50256}, eos=_END
    ),
    "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069": Published(
        "p50k_base", {_END: 50256}, eos=_END
    ),
    "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7": Published(
        "cl100k_base", {_END: 100257, **_FILL, "<|endofprompt|>": 100276}, eos=_END
    ),
    "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d": Published(
        "o200k_base", {_END: 199999, "<|endofprompt|>": 200018}, eos=_END
    ),
}
# Tokenizer classes, as tokenizer_config.json names them, of models that ship a rank file.
BY_CLASS = {
    "Arcade100kTokenizer": Published("stablelm2", {}),
    "ChatGLM4Tokenizer": Published("glm4", {}),
    "HYTokenizer": Published("hunyuan", {}),
    "QWenTokenizer": _QWEN_1,
    "TikTokenTokenizer": Published("kimi-k2", {}),
}


_QWEN_RANKS = 151_643


def by_name(name: str, ranks: int) -> Published | None:
    """What is known of a rank file that has a model's name and that model's number of ranks."""
    return _QWEN_1 if name == "qwen.tiktoken" and ranks == _QWEN_RANKS else None


def by_digest(ranks: bytes) -> Published | None:
    """What is known of a rank file, by the digest of its bytes."""
    return _BY_DIGEST.get(hashlib.sha256(ranks).hexdigest())


def by_pieces(vocabulary: Mapping[str, int]) -> Published | None:
    """The same of a byte-level vocabulary in another form: the rank file it would have is known."""
    digest = hashlib.sha256()
    for piece, rank in sorted(vocabulary.items(), key=lambda item: item[1]):
        digest.update(b"%s %d\n" % (base64.b64encode(byte_level.read(piece)), rank))
    return _BY_DIGEST.get(digest.hexdigest())


def completed(settings: Settings, known: Published | None, rule: PreTokenizer) -> Settings:
    """The settings with what is known of a vocabulary, where the files give no token an id."""
    if known and not any(token.id is not None for token in settings.added):
        added = tuple(AddedToken(content, t) for content, t in known.special.items())
        roles = {"bos_token": known.bos, "eos_token": known.eos}
        settings = replace(
            settings,
            added=(*added, *(t for t in settings.added if t.content not in known.special)),
            roles={**{role: t for role, t in roles.items() if t}, **settings.roles},
        )
    begins = rule.bos != "no" if settings.add_bos is None else settings.add_bos
    return replace(settings, add_bos=begins)
