"""What fuzzing found, made small, and counts and sizes beyond all measure."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from puna.adapter import read_adapter
from puna.errors import AdapterError, ConfigError, FormatError, PunaError, TokenizerError
from puna.families import name_table, read_config
from puna.formats import read_header, read_index
from puna.reading import describe
from puna.source import resolve
from puna.text import load_tokenizer
from tests.attacks.checks import check_message, peak_memory
from tests.attacks.test_configs import MODELS
from tests.unit.tiny import LLAMA, tiny

HUGE = 10**400  # a whole number that no float holds


def refused_config(config: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(config)
    check_message(caught.value, reason)


# --- configs -----------------------------------------------------------------------------------


def test_whole_numbers_that_no_float_holds() -> None:
    refused_config({**LLAMA, "rms_norm_eps": HUGE}, "must be a number above zero")
    refused_config({**LLAMA, "rope_theta": HUGE}, "must be a number above zero")


@pytest.mark.parametrize("odd", [{}, {"a": 1}, "olmo", [1], -1.0, float("nan"), HUGE])
@pytest.mark.parametrize("key", ["mscale", "mscale_all_dim"])
def test_gains_of_yarn_that_are_no_numbers(key: str, odd: Any) -> None:
    rope = {"rope_type": "yarn", "factor": 4.0, "mscale": 1.0, "mscale_all_dim": 1.0, key: odd}
    config = {**LLAMA, "rope_scaling": rope}
    if not odd:
        read_config(config)  # as good as absent
    else:
        refused_config(config, f"{key} must be a number above zero")


@pytest.mark.parametrize("kind", ["linear", "dynamic", "yarn"])
def test_a_scaling_that_makes_the_context_infinite(kind: str) -> None:
    rope = {"rope_type": kind, "factor": 1e308}
    refused_config({**LLAMA, "rope_scaling": rope}, "the numbers of config.json make no model")


@pytest.mark.parametrize("key", ["a\x7fb", "a\nb\x1b[2J", "x" * 100_000, "\ud800", "é" * 500])
def test_unknown_keys_that_no_terminal_should_see(key: str) -> None:
    refused_config({**LLAMA, key: 1}, "is unknown and could change")


def test_experts_by_the_million() -> None:
    """Few parameters, and a name and a module for each of seventeen million experts."""
    mixtral = {
        **MODELS["mixtral"],
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "num_hidden_layers": 4096,
        "num_local_experts": 4096,
    }
    refused_config(mixtral, "16777216 experts in all")
    read_config({**mixtral, "num_hidden_layers": 16})


def test_thousands_of_layers_of_which_few_have_experts() -> None:
    """Names are spelled out for all of them: sixteen million from a file of a kilobyte."""
    small = dict.fromkeys(("hidden_size", "intermediate_size", "moe_intermediate_size"), 8)
    ranks = {"q_lora_rank": 8, "kv_lora_rank": 8, "n_group": 1, "topk_group": 1}
    config = {**MODELS["deepseek_v3"], **small, **ranks, "n_routed_experts": 4096}
    config |= {"num_attention_heads": 1, "num_key_value_heads": 1, "vocab_size": 64}
    many = {"num_hidden_layers": 4096, "first_k_dense_replace": 4080}
    refused_config({**config, **many}, "4096 layers of up to 4096 experts")
    before = peak_memory()
    few = read_config({**config, "num_hidden_layers": 16, "first_k_dense_replace": 0})
    assert len(name_table(few).places) > 1 << 16
    assert peak_memory() - before < 1 << 30


# --- tokenizers --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [2_000_000, (1 << 31) - 1, 1 << 31, (1 << 32) - 1])
def test_a_vocabulary_with_one_id_far_out(number: int, tmp_path: Path) -> None:
    """The library walks every id below the largest one, and keeps what it finds missing."""
    good = Path(__file__).parent / "tokenizers" / "good.tokenizer.json"
    described = json.loads(good.read_text())
    described["model"]["vocab"]["far"] = number
    (tmp_path / "tokenizer.json").write_text(json.dumps(described))
    before = peak_memory()
    with pytest.raises(TokenizerError) as caught:
        load_tokenizer(tmp_path)
    check_message(caught.value, f"the id {number:,}; ids are below 2,000,000")
    assert peak_memory() - before < 64 << 20


PIECES = {"a": 0, "b": 1, "Ġ": 2, "ab": 3, "é": 4}


@pytest.mark.parametrize("merge", [["a", "Ġ"], ["Ġ", "é"], ["a", "b"], "a Ġ", [], 7, ["a", 7]])
@pytest.mark.parametrize("key", ["continuing_subword_prefix", "\\u0063ontinuing_subword_prefix"])
@pytest.mark.parametrize("prefix", ["B", "##", "a Ġ"])
def test_merges_of_which_the_library_dies(
    prefix: str, key: str, merge: Any, tmp_path: Path
) -> None:
    """It makes text that is not UTF-8 of them, and takes the process with it as it says so."""
    described = {"model": {"type": "BPE", "PREFIX": prefix, "vocab": PIECES, "merges": [merge]}}
    text = json.dumps(described).replace("PREFIX", key)
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(TokenizerError) as caught:
        load_tokenizer(tmp_path)
    check_message(caught.value, "whose second piece does not begin with")


def test_merges_of_pieces_within_words_are_read(tmp_path: Path) -> None:
    pieces = {"a": 0, "##b": 1, "ab": 2}
    model = {"type": "BPE", "vocab": pieces, "merges": [["a", "##b"]]}
    described = {"model": {**model, "continuing_subword_prefix": "##"}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(described))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer is not None
    assert tokenizer.encode("ab") == [2]


def test_a_prefix_that_stands_twice(tmp_path: Path) -> None:
    twice = '{"model": {"type": "BPE", "continuing_subword_prefix": "B", "vocab": {"a": 0}, '
    twice += '"merges": [], "continuing_subword_prefix": ""}}'
    (tmp_path / "tokenizer.json").write_text(twice)
    with pytest.raises(TokenizerError) as caught:
        load_tokenizer(tmp_path)
    check_message(caught.value, "a name stands twice")


@pytest.mark.parametrize("kind", ["BPE", "WordLevel"])
def test_an_id_of_two_pieces(kind: str, tmp_path: Path) -> None:
    model = {"type": kind, "vocab": {"a": 0, "b": 1, "Ġ": 1}, "unk_token": "a"}
    model |= {"merges": []} if kind == "BPE" else {}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": model}))
    with pytest.raises(TokenizerError) as caught:
        load_tokenizer(tmp_path)
    check_message(caught.value, "the id 1 in tokenizer.json belongs to 'b' and 'Ġ'")


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
BETWEEN = {"type": "Replace", "pattern": {"String": ""}, "content": "x"}
AGAIN = [{"Sequence": {"id": "A", "type_id": 0}}] * 2
TWICE = {"type": "TemplateProcessing", "single": AGAIN, "pair": AGAIN, "special_tokens": {}}


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("pre_tokenizer", {"type": "Sequence", "pretokenizers": [BYTES] * 40}),
        ("normalizer", {"type": "Sequence", "normalizers": [{"type": "ByteLevel"}] * 40}),
        ("normalizer", {"type": "Sequence", "normalizers": [BETWEEN] * 40}),
        ("post_processor", {"type": "Sequence", "processors": [TWICE] * 40}),
        ("post_processor", {**TWICE, "single": AGAIN * 5000}),
    ],
)
def test_steps_that_double_a_text_again_and_again(part: str, change: Any, tmp_path: Path) -> None:
    """Forty steps, each of which makes two characters or tokens of one, in two kilobytes."""
    good = Path(__file__).parent / "tokenizers" / "good.tokenizer.json"
    (tmp_path / "tokenizer.json").write_text(
        json.dumps({**json.loads(good.read_text()), part: change})
    )
    with pytest.raises(TokenizerError) as caught:
        load_tokenizer(tmp_path)
    check_message(caught.value, "replaces a character by up to")


def test_a_tokenizer_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "tokenizer.json").open("wb") as file:
        file.truncate(1 << 40)  # a hole: it takes no room
    with pytest.raises(TokenizerError) as caught:
        load_tokenizer(tmp_path)
    check_message(caught.value, "1,099,511,627,776 bytes, too many to be one")


# --- adapters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"r": HUGE}, "r must be a number above zero"),
        ({"lora_alpha": HUGE}, "lora_alpha must be a number above zero"),
        ({"lora_alpha": float("nan")}, "lora_alpha must be a number above zero"),
        ({"alpha_pattern": ["q_proj"]}, "alpha_pattern must be an object"),
        ({"alpha_pattern": {"q_proj": "4"}}, "alpha_pattern must be an object"),
        ({"alpha_pattern": {"q_proj": HUGE}}, "alpha_pattern must be an object"),
        ({"alpha_pattern": 7}, "alpha_pattern must be an object"),
        ({"a\x7fb\x1b[2J": 1}, "the adapter sets 'a\\x7fb\\x1b[2J' = 1"),
        ({"x" * 9000: 1}, "which is not supported"),
    ],
)
def test_settings_of_an_adapter(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    spec, model = tiny()
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, **change}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(AdapterError) as caught:
        read_adapter(tmp_path, model, name_table(spec))
    check_message(caught.value, said)


# --- counts and depths -------------------------------------------------------------------------


def test_an_index_of_a_million_shards(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {f"{n}": f"{n}.x" for n in range(1_000_000)}}))
    with pytest.raises(FormatError) as caught:
        read_index(path)
    check_message(caught.value, "more than 10,000 shards")


def test_an_index_of_a_million_tensors_in_one_shard(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"x")
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {f"{n}": "one" for n in range(1_000_000)}}))
    before = peak_memory()
    assert set(read_index(path).values()) == {tmp_path / "one"}
    assert peak_memory() - before < (256 << 20) + 64 * path.stat().st_size


@pytest.mark.parametrize("size", [1 << 30, (1 << 60) - 1, 1 << 60, 1 << 64, HUGE])
@pytest.mark.parametrize("axes", [1, 8, 9, 100_000])
def test_shapes_that_overflow(size: int, axes: int, tmp_path: Path) -> None:
    entry = {"dtype": "F32", "shape": [size] * axes, "data_offsets": [0, 4]}
    text = json.dumps({"a": entry}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    with pytest.raises(FormatError) as caught:
        read_header(path)
    check_message(caught.value, "model.safetensors is not a sound safetensors file")


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json"])
@pytest.mark.parametrize("opening", ['{"a":', "["])
def test_nesting_without_end(name: str, opening: str, tmp_path: Path) -> None:
    good = Path(__file__).parent / "tokenizers" / "good.tokenizer.json"
    (tmp_path / "tokenizer.json").write_bytes(good.read_bytes())
    (tmp_path / name).write_text(opening * 100_000)
    read = (lambda folder: describe(resolve(folder))) if name == "config.json" else load_tokenizer
    with pytest.raises(PunaError) as caught:
        read(tmp_path)
    check_message(caught.value, name)
