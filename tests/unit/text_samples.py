"""What the tests of `puna.text` share: small tokenizers made on the spot, and conversations."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from puna.text import ChatTemplate, Tokenizer, load_tokenizer

Messages = list[dict[str, Any]]
SPECIALS = (
    *("<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|user|>", "<|assistant|>", "<|system|>"),
    *("<|end|>", "<start_of_turn>", "<end_of_turn>", "<|start_header_id|>", "<|end_header_id|>"),
    *("<|eot_id|>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[ARGS]", "<|start|>", "<|message|>"),
    *("<|channel|>", "<|return|>", "<|call|>"),
)
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Says <what> the weather & 'wind' are – für alle",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["a", "b"]}},
            "required": ["city"],
        },
    },
}
CALL = {
    "id": "abcdefghi",
    "type": "function",
    "function": {"name": "get_weather", "arguments": {"city": "a"}},
}
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CORPUS = (
    "the llama walked up the hill and the hill was high",
    "a cria is a baby llama; her mother hums to her",
    "das Lama läuft über die Brücke – größer als 12 Häuser",
    "ラマは高い山に住んでいます。 лама живёт в горах",
) * 8


def byte_level(folder: Path, specials: Iterable[str], merges: Iterable[str] = ()) -> Tokenizer:
    """Byte-level BPE: 256 bytes, then one id for each merge, then the special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [(left, right) for left, right in (merge.split(" ") for merge in merges)]
    pieces = [*alphabet, *(left + right for left, right in pairs)]
    library: Any = tokenizers.Tokenizer(
        models.BPE(vocab={piece: token for token, piece in enumerate(pieces)}, merges=pairs)
    )
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    library.add_special_tokens(list(specials))
    library.save(str(folder / "tokenizer.json"))
    return loaded(folder)


def sentencepiece_bytes(symbols: Iterable[str] = ()) -> bytes:
    """A SentencePiece BPE of 400 pieces with byte fallback, as LLaMA's is made.

    `symbols` are pieces that the library itself reads from text, whoever wrote it.
    """
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
        user_defined_symbols=list(symbols),
        minloglevel=2,
    )
    return model.getvalue()


def sentencepiece_model(
    folder: Path, config: Mapping[str, Any] | None = None, *, symbols: Iterable[str] = ()
) -> Tokenizer:
    """The tokenizer of `sentencepiece_bytes`, with a tokenizer_config.json if one is given."""
    (folder / "tokenizer.model").write_bytes(sentencepiece_bytes(symbols))
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return loaded(folder)


def loaded(folder: Path) -> Tokenizer:
    """What `load_tokenizer` reads there, which must be something."""
    tokenizer = load_tokenizer(folder)
    assert tokenizer is not None
    return tokenizer


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def system(content: str) -> dict[str, Any]:
    return {"role": "system", "content": content}


ONE = [user("Hello  \n")]
TWO = [user(" Hi <b>"), assistant('Hey & "you"'), user("what's up?"), assistant("bye")]
SYSTEM = [system("Be ünkind."), user("Hi"), assistant("Hey"), user("x"), assistant("bye ")]
TOOLS = [
    user("weather?"),
    assistant("", tool_calls=[CALL]),
    {"role": "tool", "name": "get_weather", "tool_call_id": "abcdefghi", "content": '{"t": 3}'},
    assistant("3 degrees"),
]
THINK = [user("Hi"), assistant("<think>\nhm\n</think>\n\nHey"), user("and?")]
SAME = [user("a"), user("b")]


def published_templates(shared: Path) -> dict[str, str]:
    """Templates of real models by name."""
    folder = shared / "data" / "chat_templates"
    paths = [
        *folder.glob("llama.cpp/*.jinja"),
        *(folder / "mistral-common" / "chat_templates" / f"v{n}.jinja" for n in (1, 3, 7, 15)),
        folder / "mistral-common" / "chat_templates" / "v3_spm.jinja",
    ]
    sources = {path.stem: path.read_text("utf-8") for path in sorted(paths)}
    index = json.loads((folder / "ollama" / "template" / "index.json").read_text("utf-8"))
    return sources | {f"{n}-{entry['name']}": entry["template"] for n, entry in enumerate(index)}


def made(source: str, **more: Any) -> ChatTemplate:
    return ChatTemplate(source, bos_token="<s>", eos_token="</s>", **more)
