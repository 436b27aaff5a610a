"""config.json of every family, and GGUF: header, metadata, vocabulary and table of tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from puna.errors import ConfigError, PunaError
from puna.families import (
    gguf_config,
    gguf_metadata,
    gguf_names,
    name_table,
    open_config,
    read_config,
)
from puna.formats import Typed, read_gguf, write_gguf_header
from puna.spec import ModelSpec, MoE, count_parameters
from puna.text import byte_level, text_of_gguf
from tests.attacks.checks import check_message
from tests.fuzz.mutators import GgufMutator, TreeMutator
from tests.fuzz.target import Target, slot
from tests.parity.published import PUBLISHED

_LONGEST_GGUF = 12_288
_SMALL = {
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 4),
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts"), 16),
}
_TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"


def config(folder: Path) -> Target:
    """Configs: whatever they say, a spec of bounded size comes of it, or a ConfigError."""
    put = slot(folder / "config.json")
    seeds = tuple(json.dumps(found).encode() for found in _families().values())

    def one(data: bytes) -> None:
        put(data)
        found, _ = open_config(folder)
        spec = read_config(found)
        if _few_names(spec):
            name_table(spec)
        assert len(spec.layers) <= 1 << 12
        assert count_parameters(spec) <= 1 << 44

    return Target(seeds, one, TreeMutator(seeds))


def _few_names(spec: ModelSpec) -> bool:
    """Tell whether a table of names takes a moment only; what bounds it has a test of its own."""
    experts = max((x.ffn.experts for x in spec.layers if isinstance(x.ffn, MoE)), default=1)
    return len(spec.layers) * experts <= 256


def _families() -> dict[str, dict[str, Any]]:
    """Return a config of each family, of few layers and experts so that reading one is quick."""
    return {found["model_type"]: _small(found) for found, _ in PUBLISHED.values()}


def _small(found: dict[str, Any]) -> dict[str, Any]:
    small = {key: _SMALL.get(key, value) for key, value in found.items()}
    small |= {key: value[:4] for key, value in found.items() if key == "layer_types" and value}
    if "text_config" in found:
        small["text_config"] = _small(found["text_config"])
    try:
        read_config(small)
    except ConfigError:
        return found
    return small


def gguf(folder: Path) -> Target:
    """GGUF files: header to spec and names, and the text parts that the metadata holds."""
    path = folder / "model.gguf"
    put = slot(path)
    seeds = tuple(_gguf_seeds())

    def one(data: bytes) -> None:
        put(data)
        found = read_gguf(path)
        for ref in found.tensors.values():
            assert 0 <= ref.span[0] <= ref.span[1] <= len(data)
        try:
            spec = read_config(gguf_config(found))
            if _few_names(spec):
                gguf_names(spec)
        except PunaError as error:
            check_message(error, "")
        text_of_gguf(found.metadata, {}, path)

    return Target(seeds, one, GgufMutator(seeds), longest=_LONGEST_GGUF, compiles=True)


def _gguf_seeds() -> list[bytes]:
    """Return a file of each architecture, and files with a vocabulary of each kind."""
    files, llama = [], {}
    for kind, found in _families().items():
        spec = read_config(found)
        try:
            metadata = gguf_metadata(spec)
        except ConfigError:
            continue  # llama.cpp has no words for it
        files.append(_file({**metadata, "tokenizer.ggml.model": ("str", "no_vocab")}))
        llama = metadata if kind == "llama" else llama
    return [*files, *(_file({**llama, **vocabulary}) for vocabulary in (_pieces(), _bytes()))]


def _file(metadata: Mapping[str, Typed]) -> bytes:
    tensors = {
        "token_embd.weight": ("F32", (12, 8)),
        "output.weight": ("Q8_0", (1, 32)),
        "rope_freqs.weight": ("F32", (4,)),
    }
    return write_gguf_header(metadata, tensors) + bytes(384 + 64 + 32)


def _pieces() -> dict[str, Typed]:
    """Return a SentencePiece vocabulary with one byte piece, and a template."""
    tokens = ["<unk>", "<s>", "</s>", "<0x0A>", "▁", "a", "b", "▁a", "ab", "▁ab", "é", "<|x|>"]
    return {
        "tokenizer.ggml.model": ("str", "llama"),
        "tokenizer.ggml.tokens": ("[str]", tokens),
        "tokenizer.ggml.scores": ("[f32]", [0.0] * 4 + [-float(n) for n in range(8)]),
        "tokenizer.ggml.token_type": ("[i32]", [2, 3, 3, 6, *[1] * 7, 4]),
        "tokenizer.ggml.bos_token_id": ("u32", 1),
        "tokenizer.ggml.eos_token_id": ("u32", 2),
        "tokenizer.ggml.unknown_token_id": ("u32", 0),
        "tokenizer.ggml.add_bos_token": ("bool", True),
        "tokenizer.ggml.add_space_prefix": ("bool", True),
        "tokenizer.chat_template": ("str", _TEMPLATE),
    }


def _bytes() -> dict[str, Typed]:
    """Return a byte-level vocabulary: the 256 bytes, two merges and an end."""
    pieces = [*sorted(byte_level.BYTE_OF), "th", "the", "<end>"]
    return {
        "tokenizer.ggml.model": ("str", "gpt2"),
        "tokenizer.ggml.pre": ("str", "gpt-2"),
        "tokenizer.ggml.tokens": ("[str]", pieces),
        "tokenizer.ggml.token_type": ("[i32]", [1] * (len(pieces) - 1) + [3]),
        "tokenizer.ggml.merges": ("[str]", ["t h", "th e"]),
        "tokenizer.ggml.eos_token_id": ("u32", len(pieces) - 1),
    }
