"""Metadata of every GGUF architecture with values that no sound file has."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any
from unittest import mock

import hypothesis
import numpy as np
import pytest
from gguf import GGUFWriter
from hypothesis import given, settings
from hypothesis import strategies as st

from puna.errors import ConfigError, FormatError, PunaError, WeightsError
from puna.families import gguf_config, known_architectures, read_config
from puna.formats import Gguf, TensorRef
from puna.loading import load_parts
from puna.spec import ModelSpec

Values = dict[str, Any]
RMS, LAYER = "attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"
_SIZES: Values = {
    "context_length": 64,
    "embedding_length": 32,
    "block_count": 3,
    "feed_forward_length": 128,
    "attention.head_count": 4,
}
_EXPERTS: Values = {
    "expert_count": 8,
    "expert_used_count": 2,
    "expert_feed_forward_length": 16,
}
_LATENT: Values = {
    **_EXPERTS,
    "rope.dimension_count": 4,
    "attention.head_count_kv": 1,
    "attention.key_length": 12,
    "attention.value_length": 8,
    "attention.key_length_mla": 10,
    "attention.value_length_mla": 6,
    "attention.kv_lora_rank": 8,
    "attention.q_lora_rank": 8,
    "expert_shared_count": 1,
    "expert_gating_func": 2,
    "expert_group_count": 4,
    "expert_group_used_count": 2,
    "leading_dense_block_count": 1,
}
OWN: dict[str, Values] = {
    "falcon": {LAYER: 1e-5},
    "bloom": {LAYER: 1e-5},
    "gptneox": {LAYER: 1e-5, "use_parallel_residual": True},
    "gpt2": {LAYER: 1e-5},
    "mpt": {LAYER: 1e-5, "attention.max_alibi_bias": 8.0, "attention.clamp_kqv": 6.0},
    "starcoder2": {LAYER: 1e-5, "attention.sliding_window": 9},
    "olmo": {LAYER: 1e-5, "attention.clamp_kqv": 8.0},
    "granite": {RMS: 1e-5, "logit_scale": 8.0, "attention.scale": 0.1, "residual_scale": 0.2},
    "qwen3moe": {RMS: 1e-6, **_EXPERTS},
    "gemma2": {RMS: 1e-6, "attention.sliding_window": 9, "attn_logit_softcapping": 50.0},
    "gemma3": {RMS: 1e-6, "attention.sliding_window": 9, "rope.freq_base_swa": 1e4},
    "phi3": {RMS: 1e-5, "attention.sliding_window": 9, "rope.scaling.attn_factor": 1.1},
    "gpt-oss": {RMS: 1e-5, **_EXPERTS, "attention.sliding_window": 9},
    "deepseek2": {RMS: 1e-6, **_LATENT},
}
MORE: tuple[str, ...] = (
    "attention.head_count_kv", "attention.key_length", "attention.value_length",
    "rope.dimension_count", "rope.freq_base", "rope.scaling.type", "rope.scaling.factor",
    "rope.scaling.original_context_length", "rope.scaling.yarn_log_multiplier",
    "attention.sliding_window", "attention.sliding_window_pattern", "attention.scale",
    "nextn_predict_layers", "expert_weights_scale", "expert_weights_norm", "vocab_size",
    "final_logit_softcapping", "embedding_scale", "rope.scaling.finetuned",
)  # fmt: skip


def metadata(arch: str) -> Values:
    return {**_SIZES, **OWN.get(arch, {RMS: 1e-5})}


def read(arch: str, values: Values, shapes: Values | None = None, tables: Any = None) -> ModelSpec:
    """Return the spec of metadata and shapes; `tables` are what small tensors hold."""
    keys = {"general.architecture": arch} | {f"{arch}.{k}": v for k, v in values.items()}
    shapes = {"token_embd.weight": (17, 32), **(shapes or {})}
    refs = {n: TensorRef(Path("m.gguf"), "F32", s, (0, 0)) for n, s in shapes.items()}
    found = Gguf((Path("m.gguf"),), 3, keys, refs)

    def floats(_: Gguf, name: str) -> Any:
        return (tables or {}).get(name)

    with mock.patch("puna.families.gguf.convert.read_floats", floats):
        return read_config(gguf_config(found))


@pytest.mark.parametrize("arch", known_architectures())
def test_the_sound_ones_are_read(arch: str) -> None:
    assert len(read(arch, metadata(arch)).layers) == 3


ODD = (-1, 0, 1, 5, 1 << 40, -0.5, 1e-42, 3e38, float("nan"), float("inf"), "", "x", [], [1], True)


@pytest.mark.parametrize("arch", known_architectures())
def test_each_key_with_each_odd_value(arch: str) -> None:
    sound = metadata(arch)
    for key in (*sound, *MORE):
        for value in ODD:
            try:
                read(arch, {**sound, key: value})
            except PunaError as error:
                assert len(str(error).splitlines()) <= 3


VALUES = st.sampled_from(ODD) | st.integers(0, 12) | st.floats()
TABLE = st.none() | st.lists(VALUES.filter(lambda v: isinstance(v, float)), max_size=8)


@settings(max_examples=400, deadline=None)
@given(
    arch=st.sampled_from(known_architectures()),
    changes=st.dictionaries(st.sampled_from((*MORE, *_SIZES, *_LATENT)), VALUES, max_size=6),
    long=TABLE,
    short=TABLE,
)
def test_any_mix_of_values(arch: str, changes: Values, long: Any, short: Any) -> None:
    names = "rope_factors_long.weight", "rope_factors_short.weight"
    tables = {n: t for n, t in zip(names, (long, short), strict=True) if t is not None}
    shapes = {name: (len(table),) for name, table in tables.items()}
    try:
        read(arch, {**metadata(arch), **changes}, shapes, tables)
        hypothesis.event("a spec")
    except PunaError as error:
        hypothesis.event("refused")
        assert len(str(error).splitlines()) <= 3


@pytest.mark.parametrize("arch", ["gemma2", "gemma3", "gpt-oss", "deepseek2"])
def test_a_huge_number_of_layers_builds_nothing(arch: str) -> None:
    tracemalloc.start()
    with pytest.raises(ConfigError, match="at most"):
        read(arch, {**metadata(arch), "block_count": (1 << 40) - 1})
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("arch", "changes", "said"),
    [
        ("gemma2", {"attention.sliding_window_pattern": [True, False]}, "each of 3 layers"),
        ("gemma2", {"attention.sliding_window_pattern": [2, 0, 1]}, "yes or no"),
        ("gemma3", {"rope.scaling.type": "longrope"}, "cannot be computed here"),
        ("granite", {"rope.scaling.finetuned": False}, "rope.scaling.finetuned is False"),
        ("granite", {"logit_scale": 0.0}, "logit_scale must be a number above zero"),
        ("olmo", {LAYER: 1e-6}, "layer_norm_epsilon is 1e-06"),
        ("olmo2", {"attention.sliding_window": 4096}, "sliding_window is 4096"),
        ("mpt", {"feed_forward_length": 100}, "no multiple of the width"),
        ("mpt", {"attention.max_alibi_bias": 0.0}, "max_alibi_bias must be a number above zero"),
        ("gpt2", {"attention.head_count_kv": 2}, "head_count_kv is 2"),
        ("gpt-oss", {"expert_weights_scale": 2.0}, "expert_weights_scale is 2.0"),
        ("qwen3moe", {"expert_used_count": 9}, "cannot pick 9 of 8 experts"),
        ("deepseek2", {"expert_gating_func": 4}, "expert_gating_func is 4"),
        ("deepseek2", {"attention.head_count_kv": 4}, "head_count_kv is 4"),
        ("deepseek2", {"attention.key_length_mla": 3}, "qk_nope_head_dim"),
        ("deepseek2", {"rope.scaling.yarn_log_multiplier": 0.1}, "goes with YaRN"),
        ("deepseek2", {"nextn_predict_layers": 3}, "num_hidden_layers"),
        ("deepseek2", {"expert_group_count": 3}, "of 3 groups of 8 experts"),
        ("deepseek2", {"attention.temperature_length": 8192}, "temperature_length"),
    ],
)
def test_what_the_refusal_names(arch: str, changes: Values, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(arch, {**metadata(arch), **changes})
    assert said in str(caught.value)


def test_one_list_of_factors_alone() -> None:
    shapes = {"rope_factors_long.weight": (4,)}
    with pytest.raises(ConfigError, match="longrope needs one divisor for each frequency"):
        read("phi3", metadata("phi3"), shapes, {"rope_factors_long.weight": [1.0] * 4})


def test_a_correction_of_unknown_scores() -> None:
    values = {k: v for k, v in metadata("deepseek2").items() if k != "expert_gating_func"}
    with pytest.raises(ConfigError, match="does not say what scores"):
        read("deepseek2", values, {"blk.1.exp_probs_b.bias": (8,)})
    assert read("deepseek2", values).family == "deepseek_v2"


def halves(path: Path, **tensors: tuple[int, ...]) -> None:
    """Write a file that holds two halves of a latent's map, and hardly anything else."""
    writer = GGUFWriter(path, "deepseek2")
    for key, value in metadata("deepseek2").items():
        add = writer.add_float32 if isinstance(value, float) else writer.add_uint32
        add(f"deepseek2.{key}", value)
    writer.add_tensor("token_embd.weight", np.zeros((17, 32), np.float32))
    for name, shape in tensors.items():
        writer.add_tensor(f"blk.0.attn_{name}.weight", np.zeros(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"k_b": (4, 8, 6)}, r"'blk\.0\.attn_v_b\.weight' is missing"),
        ({"v_b": (4, 6, 8)}, r"'blk\.0\.attn_k_b\.weight' is missing"),
        ({"k_b": (4, 8, 6), "v_b": (4, 6, 9)}, "no two halves"),
        ({"k_b": (4, 8, 6), "v_b": (5, 6, 8)}, "no two halves"),
        ({"k_b": (4, 48), "v_b": (4, 6, 8)}, "no two halves"),
        ({"k_b": (4, 8, 7), "v_b": (4, 6, 8)}, r"attn_kv_b\.weight' has shape \[52, 8\]"),
        ({"k_b": (4, 8, 6), "v_b": (4, 6, 8), "kv_b": (48, 8)}, "stands there twice"),
    ],
)
def test_halves_that_do_not_fit(
    tensors: dict[str, tuple[int, ...]], said: str, tmp_path: Path
) -> None:
    halves(tmp_path / "m.gguf", **tensors)
    with pytest.raises((WeightsError, FormatError), match=said):
        load_parts(tmp_path / "m.gguf", device="cpu")
