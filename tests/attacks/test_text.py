"""Hostile chat templates and tokenizers meet the real loaders; each must end in a clean refusal.

The inputs lie in `templates/` and `tokenizers/`. A file named `x.tokenizer_config.json` takes its
place beside `good.tokenizer.json`. What only exists in bulk is made here.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from puna.errors import TemplateError, TokenizerError
from puna.text import ChatTemplate, Limits, load_template, load_tokenizer, read_specials
from tests.attacks.checks import check_message, peak_memory
from tests.unit.text_samples import sentencepiece_bytes

HERE = Path(__file__).parent
MESSAGES = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
# A rendering may hold 512 million characters by default; one byte each in these templates.
MOST_MEMORY = 600 * 2**20
# The same attacks, stopped sooner: the default limits are met by the first of each kind.
TIGHT = Limits(steps=100_000, size=1_000_000)
AT_DEFAULT_LIMITS = {"endless_printing", "endless_silent", "capture_doubling"}
SLOW = ("endless_", "laughs", "capture_", "list_doubling", "recursive_macro_pair")

TEMPLATES = {
    "it reaches for the attribute": """
        class_escape class_escape_attr class_escape_item class_escape_map class_escape_silent
        format_escape format_map_escape globals_escape globals_escape_function int_to_bytes
        loop_escape macro_escape mutation mutation_dict self_escape translate_bomb
        undefined_escape""",
    "it makes a value of more than": """
        batch_bomb center_filter center_method dict_fill expandtabs expandtabs_keyword
        format_map_width format_nested_width format_precision format_safe_width format_width
        indent_bomb indent_text_bomb join_bomb join_method_bomb laughs laughs_batch laughs_tojson
        laughs_varargs list_doubling printf_filter printf_precision printf_repeated printf_width
        repeat_list repeat_list_of_text repeat_text repeat_text_constant replace_bomb
        replace_empty_bomb slice_bomb text_as_list text_batched text_doubling text_doubling_plus
        text_grouped text_joined text_sorted text_split text_split_at text_split_lines text_spread
        text_spread_filter text_titled tojson_separators zfill_method zfill_through_attr""",
    "steps: an endless loop?": """
        capture_endless endless_filtered endless_filtered_silent endless_map endless_printing
        endless_silent recursive_macro_pair""",
    "it makes more than 512,000,000 characters of values": "capture_doubling",
    "it makes a whole number of more than 64 bits": "huge_number power_squaring power_tower",
    "it calls itself without end": "recursive_caller recursive_loop recursive_macro",
    "it nests lists more than 100 deep": "deep_list deep_tuple_hash",
    "which a chat template may not": "autoescape block extends from_import import include",
    "it sets the attribute": "long_private_name namespace_private namespace_private_init",
    "was left by break": "generation_left generation_nested",
    "it names an attribute of more than 200 characters": "attribute_path",
    "it formats more than 10,000 fields": "format_repeated",
    "it takes the width of a % format": "printf_star",
    "it rounds to more than 300 digits": "round_bomb",
    "a format that is too long": "strftime_bomb",
    "it sums something other than numbers": "sum_of_lists",
    "it indents JSON by more than 64": "tojson_indent",
    "has a syntax error": "syntax unclosed unknown_filter unknown_tag",
    "is undefined": "lorem undefined_attribute undefined_call",
    "refuses this conversation: this model wants another role": "refuses",
    "refuses this conversation: \N{REPLACEMENT CHARACTER} \N{REPLACEMENT CHARACTER}[2J": (
        "control_characters"
    ),
    "refuses this conversation: no no": "long_refusal",
    "Range too big": "range_too_big",
    "not JSON serializable": "laughs_namespace",
    "non-namespace object": "namespace_as_input",
    "can only concatenate str": "wrong_types",
    "division by zero": "zero_division",
}
REASON = {name: reason for reason, names in TEMPLATES.items() for name in names.split()}

# Sources that are too long, or too dull, to be files.
BULK = {
    "long": ("it is longer than 100,000 characters", "x" * 100_001),
    "brackets": ("it nests too deep", "{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}"),
    "sums": ("it nests too deep", "{{ 1" + "+1" * 30_000 + " }}"),
    "attributes": ("it nests too deep", "{{ a" + ".a" * 30_000 + " }}"),
    "filters": ("it nests too deep", "{{ a" + "|e" * 30_000 + " }}"),
    "conditions": ("it nests too deep", "{% if 1 %}" * 4_000 + "{% endif %}" * 4_000),
    "loops": ("nested blocks", "{% for x in [1] %}" * 25 + "{% endfor %}" * 25),
    "digits": ("limit (4300 digits)", "{{ " + "9" * 5_000 + " }}"),
}

TOKENIZERS = {
    "is not a tokenizer.json": """
        a_list.tokenizer.json a_number.tokenizer.json broken_regex.tokenizer.json
        charsmap.tokenizer.json deep.tokenizer.json deep_normalizers.tokenizer.json
        dropout_of_seven.tokenizer.json empty.tokenizer.json float_id.tokenizer.json
        huge_id.tokenizer.json merge_of_nothing.tokenizer.json merge_of_numbers.tokenizer.json
        merge_of_one.tokenizer.json negative_id.tokenizer.json no_model.tokenizer.json
        nul_bytes.tokenizer.json truncated.tokenizer.json unknown_model.tokenizer.json
        unknown_outside.tokenizer.json vocabulary_list.tokenizer.json""",
    "is not UTF-8": "bad_utf8.tokenizer.json utf16.tokenizer.json",
    "has no vocabulary": "no_vocabulary.tokenizer.json",
    "replaces a character by up to": """
        decoder_bomb.tokenizer.json prepend_bomb.tokenizer.json replace_bomb.tokenizer.json""",
    "the text cannot be encoded": """
        chunks_of_nothing.tokenizer.json regex_without_end.tokenizer.json
        special_missing.tokenizer.json unknown_missing.tokenizer.json""",
    "the ids cannot be decoded": "strip_outside.tokenizer.json",
    "the tokenizer has no id 4000000000": "special_outside.tokenizer.json",
    "adds text of its own": "text_twice.tokenizer.json",
    "is not JSON": "not_json.tokenizer_config.json broken.chat_template.json",
    "cannot be read as JSON": "deep.tokenizer_config.json huge_number.tokenizer_config.json",
    "must hold a JSON object": "a_list.tokenizer_config.json a_list.special_tokens_map.json",
    "must be true or false": "not_a_flag.tokenizer_config.json long_flag.tokenizer_config.json",
    "a token must be text": """
        bos_number.tokenizer_config.json bos_list.tokenizer_config.json
        extra_nested.tokenizer_config.json""",
    "lone surrogate": """
        bos_surrogate.tokenizer_config.json added_surrogate.tokenizer_config.json
        surrogate.added_tokens.json""",
    "must be an object": "added_list.tokenizer_config.json",
    "is not a token id": """
        added_negative.tokenizer_config.json added_superscript.tokenizer_config.json
        flag.added_tokens.json negative.added_tokens.json text.added_tokens.json""",
    "in the files beside it": """
        added_conflict.tokenizer_config.json added_gap.tokenizer_config.json""",
    "has two ids": "added_two_ids.tokenizer_config.json",
    "has no content": "added_without_content.tokenizer_config.json",
    "must be a list of tokens": "extra_number.tokenizer_config.json",
    "must be a token id": """
        flag.generation_config.json nested.generation_config.json text.generation_config.json""",
    "must be text or a list of named texts": """
        nameless.chat_template.json number.chat_template.json""",
    "but no default": "no_default.chat_template.json",
    "is not a whole SentencePiece model": """
        empty.tokenizer.model pickle.tokenizer.model""",
    "nothing says how its tokenizer cuts text": "tiktoken.tokenizer.model",
}
FAULT = {name: reason for reason, names in TOKENIZERS.items() for name in names.split()}


def render(folder: Path, limits: Limits | None = None) -> str:
    template = load_template(folder, None, limits=limits)
    assert template is not None
    return template.render_text(MESSAGES)


@pytest.mark.parametrize("name", sorted(REASON))
def test_hostile_template(name: str, tmp_path: Path) -> None:
    shutil.copy(HERE / "templates" / f"{name}.jinja", tmp_path / "chat_template.jinja")
    tight = name.startswith(SLOW) and name not in AT_DEFAULT_LIMITS
    before = peak_memory()
    with pytest.raises(TemplateError) as caught:
        render(tmp_path, TIGHT if tight else None)
    check_message(caught.value, REASON[name])
    assert caught.value.where is not None
    assert str(tmp_path / "chat_template.jinja") in caught.value.where
    assert peak_memory() - before < MOST_MEMORY


@pytest.mark.parametrize("name", BULK)
def test_hostile_template_in_bulk(name: str, tmp_path: Path) -> None:
    reason, source = BULK[name]
    (tmp_path / "chat_template.jinja").write_text(source)
    with pytest.raises(TemplateError) as caught:
        render(tmp_path)
    check_message(caught.value, reason)


def test_every_hostile_file_is_tried() -> None:
    assert {path.stem for path in (HERE / "templates").iterdir()} == set(REASON)
    assert {path.name for path in (HERE / "tokenizers").iterdir()} == {
        *FAULT,
        "good.tokenizer.json",
    }


def test_errors_tell_the_line(tmp_path: Path) -> None:
    shutil.copy(HERE / "templates" / "syntax.jinja", tmp_path / "chat_template.jinja")
    with pytest.raises(TemplateError) as caught:
        render(tmp_path)
    assert (caught.value.where or "").endswith("chat_template.jinja, line 2")
    (tmp_path / "chat_template.jinja").write_text("one\ntwo\n{% set x = 1 / 0 %}\n")
    with pytest.raises(TemplateError) as caught:
        render(tmp_path)
    assert (caught.value.where or "").endswith("chat_template.jinja, line 3")


def test_time_is_limited_where_steps_are_few_but_long(tmp_path: Path) -> None:
    source = "{% set t = 'a' * 15000000 %}{% for i in range(20000) %}{{ t.find('b') }}{% endfor %}"
    (tmp_path / "chat_template.jinja").write_text(source)
    with pytest.raises(TemplateError) as caught:
        render(tmp_path, Limits(seconds=0.1))
    check_message(caught.value, "it takes longer than 0.1 seconds")


def test_output_is_limited(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text(
        "{% for i in range(9) %}{{ 'a' * 40 }}{% endfor %}"
    )
    with pytest.raises(TemplateError) as caught:
        render(tmp_path, Limits(output=300))
    check_message(caught.value, "it writes more than 300 characters")
    assert render(tmp_path, Limits(output=360)) == "a" * 360


def test_a_stopped_template_works_again() -> None:
    source = "{% if messages | length > 1 %}{{ 'x' * 10 ** 9 }}{% endif %}{{ messages[0].content }}"
    template = ChatTemplate(source, bos_token=None, eos_token=None)
    with pytest.raises(TemplateError):
        template.render_text(MESSAGES)
    assert template.render_text(MESSAGES[:1]) == "Hello"


def test_messages_are_the_template_s_own_copy() -> None:
    messages = [{"role": "user", "content": "x", "tool_calls": [{"name": "f"}]}]
    template = ChatTemplate(
        "{{ messages[0].pop('role') }}", bos_token=None, eos_token=None, limits=TIGHT
    )
    with pytest.raises(TemplateError, match="reaches for the attribute 'pop'"):
        template.render_text(messages)
    assert messages == [{"role": "user", "content": "x", "tool_calls": [{"name": "f"}]}]


def put(name: str, folder: Path) -> None:
    """Lays a hostile file under the name that a checkpoint has it by."""
    _, kind = name.split(".", 1)
    if kind != "tokenizer.model":
        shutil.copy(HERE / "tokenizers" / "good.tokenizer.json", folder / "tokenizer.json")
    shutil.copy(HERE / "tokenizers" / name, folder / kind)


def use(folder: Path) -> None:
    """Loads everything that is in the folder, and puts the tokenizer to all its uses."""
    tokenizer = load_tokenizer(folder)
    assert tokenizer is not None
    read_specials(folder, {}, tokenizer)
    load_template(folder, tokenizer)
    for text in ("ab", "a" * 40 + "b", "Hé <s> 世界 \n\0 ab"):
        for special in (True, False):
            ids = tokenizer.encode(text, add_special=special, parse_special=special)
            tokenizer.decode(ids, skip_special=special)
        ids, spans = tokenizer.encode_spans(text, add_special=True)
        assert len(ids) == len(spans)


@pytest.mark.parametrize("name", sorted(FAULT))
def test_hostile_tokenizer(name: str, tmp_path: Path) -> None:
    put(name, tmp_path)
    before = peak_memory()
    with pytest.raises((TokenizerError, TemplateError)) as caught:
        use(tmp_path)
    check_message(caught.value, FAULT[name])
    if caught.value.where is not None:
        assert str(tmp_path) in caught.value.where
    assert peak_memory() - before < MOST_MEMORY


def test_the_good_tokenizer_is_good(tmp_path: Path) -> None:
    put("good.tokenizer.json", tmp_path)
    use(tmp_path)


def test_no_tokenizer_and_no_template_are_no_error(tmp_path: Path) -> None:
    assert load_tokenizer(tmp_path) is None
    assert load_template(tmp_path, None) is None


def test_a_template_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_bytes(b"{{ messages }}\xff")
    with pytest.raises(TemplateError) as caught:
        load_template(tmp_path, None)
    check_message(caught.value, "chat_template.jinja is not UTF-8 (byte 14)")


def damaged(whole: bytes) -> Iterator[bytes]:
    """SentencePiece files cut short, changed in a few bytes, and made of noise."""
    random_ = random.Random(0)
    yield from (whole[:size] for size in range(0, len(whole), 97))
    for _ in range(150):
        copy = bytearray(whole)
        for _ in range(random_.choice((1, 2, 8))):
            copy[random_.randrange(len(copy))] = random_.randrange(256)
        yield bytes(copy)
    yield from (random_.randbytes(random_.randrange(1, 2000)) for _ in range(50))


def test_damaged_sentencepiece_models(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = sentencepiece_bytes()
    refused = 0
    for data in damaged(whole):
        (tmp_path / "tokenizer.model").write_bytes(data)
        try:
            use(tmp_path)
        except TokenizerError as error:
            check_message(error, "")
            refused += 1
    assert refused > 150
    capfd.readouterr()  # the library's own log
    for size in (0, 1, len(whole) // 2, len(whole) - 1):
        (tmp_path / "tokenizer.model").write_bytes(whole[:size])
        with pytest.raises(TokenizerError, match="not a whole SentencePiece model"):
            load_tokenizer(tmp_path)
