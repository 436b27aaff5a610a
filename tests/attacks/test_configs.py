"""Hostile config.json files: refused as configs, before anything is made of them."""

from __future__ import annotations

from typing import Any

import pytest

from puna.errors import ConfigError
from puna.families import read_config
from tests.parity.published import PUBLISHED

# One config of each family.
MODELS = {config["model_type"]: config for config, _ in PUBLISHED.values()}
_SIZES = {
    "vocab_size",
    "hidden_size",
    "n_embed",
    "intermediate_size",
    "num_hidden_layers",
    "n_layer",
    "num_local_experts",
    "num_experts",
    "n_routed_experts",
    "moe_intermediate_size",
    "kv_lora_rank",
    "n_embd",
    "d_model",
    "n_layers",
    "num_layers",
    "ffn_dim",
    "expansion_ratio",
}
# Keys that a published model has no use for: no layer of it is dense.
_UNUSED = {("qwen3_moe", "intermediate_size")}
_ODD = (None, "", -1, 0, 1 << 39, 1 << 70, 1e300, float("nan"), [], {}, [[]], {"a": {}}, True)


@pytest.mark.parametrize("kind", MODELS)
def test_no_value_of_any_key_does_more_than_refuse(kind: str) -> None:
    config = MODELS[kind]
    inner = config.get("text_config", {})
    changed = [{**config, key: odd} for key in config for odd in _ODD]
    changed += [{**config, "text_config": {**inner, key: odd}} for key in inner for odd in _ODD]
    for changes in changed:
        try:
            spec = read_config(changes)
        except ConfigError as error:
            assert len(str(error).splitlines()) <= 3
        else:
            assert len(spec.layers) < 1000


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("size", [1 << 39, (1 << 40) - 1])
def test_sizes_beyond_all_measure_are_refused(kind: str, size: int) -> None:
    config = MODELS[kind]
    where = config.get("text_config", config)
    for key in _SIZES & where.keys():
        if (kind, key) in _UNUSED:
            continue
        large: dict[str, Any] = {**where, key: size}
        whole = {**config, "text_config": large} if "text_config" in config else large
        with pytest.raises(ConfigError):
            read_config(whole)
