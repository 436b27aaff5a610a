"""The published pre-tokenizers, as data; `docs/tokenizers.md` shows this table.

The names are those of `tokenizer.ggml.pre` in GGUF files, and of tiktoken's encodings. Where a
model's own tokenizer.json and the tools that read GGUF differ, the tokenizer.json is followed:
it is what the model was trained with.
"""

from __future__ import annotations

from puna.errors import TokenizerError
from puna.text.ids import short
from puna.text.pretokenizer import Digits, PreTokenizer, Punctuation, Split, Step, Words

# Alternatives that many patterns share, named for what they match.
_SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_SIGNS_SLASH = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
_LINES = r"\s*[\r\n]+"
_BLANKS = r"\s+(?!\S)|\s+"
_UPPER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}"
_LOWER = r"\p{Ll}\p{Lm}\p{Lo}\p{M}"


def _any(*alternatives: str) -> str:
    return "|".join(alternatives)


def _gpt_4(digits: str, *, letters: str = _LETTERS, signs: str = _SIGNS) -> str:
    """GPT-4's shape of a pattern; most models of today vary its digits."""
    return _any(_SUFFIX, letters, digits, signs, _LINES, _BLANKS)


def _cased(digits: str, *, suffix: str = "", signs: str = _SIGNS_SLASH, but: str = "") -> str:
    """GPT-4o's shape: a word ends where small letters are followed by a capital."""
    start, upper, lower = r"[^\r\n\p{L}\p{N}]?", f"[{_UPPER}{but}]", f"[{_LOWER}{but}]"
    words = (f"{start}{upper}*{lower}+{suffix}", f"{start}{upper}+{lower}*{suffix}")
    return _any(*words, digits, signs, _LINES, _BLANKS)


def _deepseek_3(*, lines: str = r"[\r\n]*", breaks: str = _LINES) -> str:
    """DeepSeek-V3's last step: an ASCII sign belongs to the letters after it."""
    return _any(
        r"[!-/:-@\[-`{-~][A-Za-z]+",
        r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+",
        r" ?[\p{P}\p{S}]+" + lines,
        breaks,
        _BLANKS,
    )


def _range(codes: str) -> str:
    """The inside of a character class from hexadecimal code points: `41-5a b5`."""
    return "".join("-".join(rf"\x{{{end}}}" for end in code.split("-")) for code in codes.split())


# The cased letters that DeepSeek's first tokenizer knows, as its tokenizer.json lists them.
_DEEPSEEK_LETTERS = _range(
    "41-5a 61-7a b5 c0-d6 d8-f6 f8-1ba 1bc-1bf 1c4-293 295-2af 370-373 376-377 37b-37d 37f 386 "
    "388-38a 38c 38e-3a1 3a3-3f5 3f7-481 48a-52f 531-556 10a0-10c5 13a0-13f5 13f8-13fd 1c90-1cba "
    "1cbd-1cbf 1d00-1d2b 1d6b-1d77 1d79-1d9a 1e00-1f15 1f18-1f1d 1f20-1f45 1f48-1f4d 1f50-1f57 "
    "1f59 1f5b 1f5d 1f5f-1f7d 1f80-1fb4 1fb6-1fbc 1fbe 1fc2-1fc4 1fc6-1fcc 1fd0-1fd3 1fd6-1fdb "
    "1fe0-1fec 1ff2-1ff4 1ff6-1ffc 2102 2107 210a-2113 2115 2119-211d 2124 2126 2128 212a-212d "
    "212f-2134 2139 213c-213f 2145-2149 214e 2183-2184 2c00-2c7b 2c7e-2ce4 2ceb-2cee 2cf2-2cf3 "
    "a640-a66d a680-a69b a722-a76f a771-a787 a78b-a78e ab70-abbf fb00-fb06 fb13-fb17 ff21-ff3a "
    "ff41-ff5a 10400-1044f 104b0-104d3 104d8-104fb 10c80-10cb2 10cc0-10cf2 118a0-118df 1e900-1e943"
)
_DEEPSEEK_SIGNS = _range("21-2f 3a-7e ff01-ff0f ff1a-ff5e 2018-201f 3000-3002")
_DEEPSEEK_EAST = Split(f"[{_range('4e00-9fa5 800-4e00 ac00-d7ff')}]+")
_KANJI_KANA = Split(f"[{_range('4e00-9fa5 3040-309f 30a0-30ff')}]+")
_THREE_DIGITS = Split(r"\p{N}{1,3}")
_NOT_SENTENCE_SIGNS = Split(r" ?[^(\s|.,!?…。，、।۔،)]+")
_WORDS: tuple[Step, ...] = (Words(),)
_DIGIT_WORDS: tuple[Step, ...] = (Digits(single=True), Words())

TABLE: tuple[PreTokenizer, ...] = (
    PreTokenizer(
        (
            *("gpt-2", "gpt2", "r50k_base", "p50k_base", "phi-2", "gigachat", "a.x-4.0"),
            *("mellum", "exaone4", "trillion", "granite-docling", "jais"),
        ),
        "GPT-2, GPT-J, GPT-Neo, OPT, Phi-1 and 2, EXAONE 4, Jais",
        _WORDS,
    ),
    PreTokenizer(
        ("roberta-bpe", "jina-v1-en", "jina-v2-code"),
        "RoBERTa and embedding models made of it",
        _WORDS,
        bos="default",
        eos=True,
    ),
    PreTokenizer(
        ("mpt", "gpt-neox", "olmo"),
        "GPT-NeoX, Pythia, MPT, OLMo 1",
        _WORDS,
        normalizer="NFC",
    ),
    PreTokenizer(
        (
            *("starcoder", "refact", "smollm", "codeshell", "exaone", "minerva-7b"),
            *("minerva", "mellum2"),
        ),
        "StarCoder 1 and 2, Refact, SmolLM 1 and 2, Granite, EXAONE 3, Minerva",
        _DIGIT_WORDS,
    ),
    PreTokenizer(("command-r",), "Command R, Aya", _DIGIT_WORDS, normalizer="NFC"),
    PreTokenizer(
        ("falcon",),
        "Falcon 7B, 40B, 180B",
        (Punctuation(), Words(), Digits(single=False), Split("[0-9][0-9][0-9]")),
    ),
    PreTokenizer(
        ("default",),
        "GGUF files that say `default`",
        (
            Split(r"[\p{P}$+<=>^~|]+"),
            Split(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"),
            Digits(single=False),
            Split("[0-9][0-9][0-9]"),
        ),
    ),
    PreTokenizer(
        ("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"),
        "Llama 3, 3.1, 3.2, 3.3, Falcon 3, Pixtral, LFM2",
        (Split(_gpt_4(r"\p{N}{1,3}")),),
        whole=True,
        bos="default",
    ),
    PreTokenizer(
        ("dbrx", "smaug-bpe", "glm4", "chatglm-bpe"),
        "DBRX, Smaug, GLM-4",
        (Split(_gpt_4(r"\p{N}{1,3}")),),
    ),
    PreTokenizer(
        ("cl100k_base",),
        "GPT-4 and GPT-3.5, as tiktoken reads them",
        (
            Split(
                _any(
                    r"'(?i:[sdmt]|ll|ve|re)",
                    _LETTERS,
                    r"\p{N}{1,3}",
                    _SIGNS,
                    r"\s+\z|\s*[\r\n]|\s+(?!\S)|\s",
                )
            ),
        ),
        whole=True,
    ),
    PreTokenizer(
        ("qwen2", "qwen", "deepseek-r1-qwen", "megrez"),
        "Qwen 1, 1.5, 2, 2.5 and 3, DeepSeek-R1 distilled from Qwen, Megrez",
        (Split(_gpt_4(r"\p{N}")),),
        normalizer="NFC",
    ),
    PreTokenizer(
        ("stablelm2",),
        "StableLM 2",
        (Split(_gpt_4(r"\p{N}")),),
        normalizer="NFC",
    ),
    PreTokenizer(
        ("hunyuan", "grok-2", "kormo", "solar-open"),
        "Hunyuan, Grok 2, KORMo, Solar Open",
        (Split(_gpt_4(r"\p{N}")),),
    ),
    PreTokenizer(
        ("qwen35",),
        "Qwen 3.5",
        (
            Split(
                _gpt_4(
                    r"\p{N}",
                    letters=r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+",
                    signs=r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*",
                )
            ),
        ),
        normalizer="NFC",
    ),
    PreTokenizer(
        ("ufakzeka",),
        "Ufakzeka",
        (Split(_any(_LETTERS, r"\p{N}", _SIGNS, _LINES, _BLANKS)),),
    ),
    PreTokenizer(
        (
            *("gpt-4o", "o200k_base", "o200k_harmony", "gpt-oss", "llama4", "kanana2"),
            *("talkie", "minimax-m2"),
        ),
        "GPT-4o, gpt-oss, Llama 4, MiniMax M2",
        (Split(_cased(r"\p{N}{1,3}", suffix=_SUFFIX + "?")),),
    ),
    PreTokenizer(
        ("tiny_aya", "cohere2moe"),
        "Tiny Aya",
        (
            Split(r"\d{1,3}(?=(?:\d{3})*\b)"),
            Split(_cased(r"\p{N}{1,3}", suffix=_SUFFIX + "?")),
        ),
    ),
    PreTokenizer(
        ("tekken",),
        "Mistral NeMo, Ministral, Mistral Small 3",
        (Split(_cased(r"\p{N}")),),
        whole=True,
        bos="default",
    ),
    PreTokenizer(
        ("kimi-k2",),
        "Kimi K2",
        (
            Split(
                r"\p{Han}+|"
                + _cased(r"\p{N}{1,3}", suffix=_SUFFIX + "?", signs=_SIGNS, but=r"&&[^\p{Han}]")
            ),
        ),
        whole=True,
    ),
    PreTokenizer(
        ("deepseek-llm",),
        "DeepSeek LLM, DeepSeek-V2",
        (
            Split("[\r\n]"),
            Split(rf"\s?[{_DEEPSEEK_LETTERS}]+"),
            Split(rf"\s?[{_DEEPSEEK_SIGNS}]+"),
            Split(r"\s+$"),
            _DEEPSEEK_EAST,
            Digits(single=True),
        ),
    ),
    PreTokenizer(
        ("deepseek-coder",),
        "DeepSeek Coder",
        (
            Split("[\r\n]"),
            Split(r"\s?\p{L}+"),
            Split(r"\s?\p{P}+"),
            _DEEPSEEK_EAST,
            Digits(single=True),
        ),
    ),
    PreTokenizer(
        ("deepseek-v3", "hunyuan-dense", "hy_v4", "joyai-llm"),
        "DeepSeek-V3, R1, Hunyuan dense",
        (_THREE_DIGITS, _KANJI_KANA, Split(_deepseek_3())),
    ),
    PreTokenizer(
        ("spark2_5",),
        "Spark 2.5",
        (
            _THREE_DIGITS,
            _KANJI_KANA,
            Split(_deepseek_3(lines="", breaks=r"[\r\n]")),
            Digits(single=True),
        ),
    ),
    PreTokenizer(
        ("youtu",),
        "Youtu",
        (
            Split(
                _any(
                    f"[{_range('ac00-d7a3 3131-318e')}]+",
                    f"[{_range('ff01 2026 201c 201d 2018 2019 2014 ff1a ff1b ff0c')}"
                    f"{_range('3001-303f fe30-fe4f')}]+",
                    f"[{_range('3105-312f')}]+",
                    _KANJI_KANA.pattern,
                )
            ),
            Split(_cased(r"\p{N}", suffix=_SUFFIX + "?")),
        ),
        whole=True,
    ),
    PreTokenizer(
        ("minicpm5",),
        "MiniCPM 5",
        (_THREE_DIGITS, Split(_gpt_4(r"\p{N}+"))),
        whole=True,
    ),
    PreTokenizer(
        ("bailingmoe", "bailingmoe2", "llada-moe"),
        "Ling, Ring, LLaDA-MoE",
        (Split(_any(r"'(?i:[sdmt]|ll|ve|re)", _LETTERS, r"\p{N}", _SIGNS, r"\s*[\r\n]", _BLANKS)),),
    ),
    PreTokenizer(
        ("seed-coder",),
        "Seed-Coder",
        (Split(_gpt_4(r"\p{N}", signs=r" ?[^\s\p{L}\p{N}\r\n]+")),),
    ),
    PreTokenizer(
        ("exaone-moe",),
        "EXAONE MoE",
        (
            Split(
                _any(
                    _SUFFIX,
                    r"[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+",
                    r"\p{N}",
                    r" ?[^\s\p{L}\p{N}]+[\r\n/]?",
                    r"\s*[\r\n]",
                    _BLANKS,
                )
            ),
        ),
    ),
    PreTokenizer(
        ("jais-2",),
        "Jais 2",
        (
            Split(
                _any(
                    *(_SUFFIX, _LETTERS, r"\p{N}{1,3}", _SIGNS, _LINES),
                    *(rf"\s{{{2**power}}}(?!\S)" for power in range(9, 1, -1)),
                    r"\s{1,2}(?!\S)|\s{1}",
                )
            ),
        ),
    ),
    PreTokenizer(
        ("bloom", "poro-chat", "gpt3-finnish"), "BLOOM, Poro, GPT-3 Finnish", (_NOT_SENTENCE_SIGNS,)
    ),
    PreTokenizer(("viking",), "Viking", (_NOT_SENTENCE_SIGNS, Digits(single=True))),
    PreTokenizer(
        ("superbpe",),
        "SuperBPE",
        (Split(r"\p{N}+"), Split(r"(?=(\d{3})+(?!\d))")),
    ),
    PreTokenizer(
        ("chameleon",),
        "Chameleon",
        (
            Split("<sentinel:[0-9]+>"),
            Split("(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z"),
            Split(r"([\t\n]|    |  )"),
            Digits(single=True),
            Split(r"[\p{P}!-/:-@\[-`{-~]"),
            Words(),
        ),
        bos="default",
    ),
    PreTokenizer(
        ("gemma4",),
        "Gemma 4",
        (),
        bos="always",
        spelling="plain",
    ),
    PreTokenizer(("sarvam-moe",), "Sarvam", (), spelling="plain"),
)
_BY_NAME = {name: rule for rule in TABLE for name in rule.names}


def pretokenizer(name: str, where: str) -> PreTokenizer:
    """The pre-tokenizer of a name.

    Raises:
        TokenizerError: a name that is not in the table; lists those that are.
    """
    rule = _BY_NAME.get(name)
    if rule is None:
        raise TokenizerError(
            f"the pre-tokenizer {short(repr(name))} is not known",
            where=where,
            remedy=choices(),
        )
    return rule


def byte_level_pretokenizer(name: str, what: str, where: str) -> PreTokenizer:
    """The pre-tokenizer of a name, for a vocabulary spelled in bytes.

    Raises:
        TokenizerError: as in `pretokenizer`, or one that does not spell in bytes.
    """
    rule = pretokenizer(name, where)
    if rule.spelling != "byte level":
        raise TokenizerError(
            f"the pre-tokenizer {rule.name} is not one for {what}",
            where=where,
            remedy=choices(),
        )
    return rule


def refuse(pre: str | None, what: str, where: str) -> None:
    """Refuse the name of a pre-tokenizer for a form that says by itself how text is cut.

    Raises:
        TokenizerError: a name was given.
    """
    if pre is not None:
        raise TokenizerError(
            f"{what[:120]} says itself how text is cut: {short(repr(pre))} would change nothing",
            where=where,
            remedy="leave out --pre",
        )


def choices() -> str:
    """The remedy that lists the names."""
    names = ", ".join(rule.name for rule in TABLE)
    return f"name the one the model was trained with (--pre NAME): {names}"
