"""How configs of the dense families are read: defaults, spellings, and what is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import puna
from puna.errors import AdapterError, ConfigError, WeightsError
from puna.families import name_table, read_config, saved_form
from puna.formats import read_header
from puna.loading import load_parts
from puna.model import Segments
from puna.spec import LinearScaling, Rope
from puna.weights import save_tensors
from tests.parity.forms import FORMS
from tests.parity.published import PUBLISHED

_SHAPE = {
    "vocab_size": 97,
    "hidden_size": 128,
    "intermediate_size": 53,
    "num_hidden_layers": 30,
    "num_attention_heads": 32,
}
_CLASSES = {
    "llama": "LlamaConfig",
    "mistral": "MistralConfig",
    "mixtral": "MixtralConfig",
    "qwen2": "Qwen2Config",
    "qwen3": "Qwen3Config",
    "gemma": "GemmaConfig",
    "gemma2": "Gemma2Config",
    "gemma3_text": "Gemma3TextConfig",
    "phi3": "Phi3Config",
    "olmo": "OlmoConfig",
    "olmo2": "Olmo2Config",
    "smollm3": "SmolLM3Config",
    "granite": "GraniteConfig",
    "starcoder2": "Starcoder2Config",
}


def _windows(config: dict[str, Any]) -> list[int | None]:
    return [layer.mixer.window for layer in read_config(config).layers]


@pytest.mark.parametrize("kind", _CLASSES)
@pytest.mark.parametrize("kv_heads", [{}, {"num_key_value_heads": 8}], ids=["", "kv"])
def test_absent_keys_mean_what_the_published_class_says(
    kind: str, kv_heads: dict[str, int]
) -> None:
    import transformers

    # A model of so few heads that every default of key/value heads divides them.
    bare = {"model_type": kind, **_SHAPE, **kv_heads}
    full = json.loads(getattr(transformers, _CLASSES[kind])(**bare).to_json_string(use_diff=False))
    assert "num_key_value_heads" in full
    assert read_config(bare) == read_config(full)


def test_gemma3_has_shapes_of_its_own() -> None:
    import transformers

    full = json.loads(transformers.Gemma3TextConfig().to_json_string())
    assert read_config({"model_type": "gemma3_text"}) == read_config(full)
    pictures = read_config({"model_type": "gemma3", "text_config": {}})
    assert pictures.layers == read_config(full).layers


@pytest.mark.parametrize("name", [n for n in PUBLISHED if n.startswith(("Qwen", "Gemma", "Phi"))])
def test_what_the_library_writes_of_a_published_config_is_the_same_model(name: str) -> None:
    from transformers import AutoConfig

    config, _ = PUBLISHED[name]
    again = json.loads(AutoConfig.for_model(**config).to_json_string(use_diff=False))
    assert read_config(again) == read_config(config)


def test_qwen_windows() -> None:
    config = PUBLISHED["Qwen2.5-0.5B"][0]
    assert set(_windows(config)) == {None}
    sliding = {**config, "use_sliding_window": True, "max_window_layers": 21}
    assert _windows(sliding) == [None] * 21 + [32768] * 3
    assert _windows({**sliding, "max_window_layers": 0}) == [32768] * 24
    assert set(_windows({**sliding, "sliding_window": None})) == {None}


def test_gemma2_and_3_alternate() -> None:
    assert _windows(PUBLISHED["Gemma-2-2b"][0]) == [4096, None] * 13
    assert _windows(PUBLISHED["Gemma-3-1b"][0]) == ([512] * 5 + [None]) * 4 + [512] * 2
    spec = read_config(PUBLISHED["Gemma-3-27b, its text part"][0])
    local, whole = (spec.layers[i].mixer for i in (0, 5))
    assert local.position == Rope(10_000.0, 128)
    assert whole.position == Rope(1_000_000.0, 128, scaling=LinearScaling(8.0))
    assert local.scale == whole.scale == 168**-0.5


def test_both_spellings_of_gemma3_ropes_agree() -> None:
    first = {
        **PUBLISHED["Gemma-3-1b"][0],
        "rope_theta": 5e5,
        "rope_local_base_freq": 300,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    }
    other = {k: v for k, v in first.items() if not k.startswith("rope_")}
    other["rope_parameters"] = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5e5},
        "sliding_attention": {"rope_type": "default", "rope_theta": 300},
    }
    assert read_config(first) == read_config(other)


def test_the_first_gemma_files_say_gelu_and_mean_its_tanh_form() -> None:
    config = PUBLISHED["Gemma-2b"][0]
    tanh = read_config(config).layers
    assert tanh[0].ffn.act == "gelu_tanh"  # type: ignore[union-attr]
    assert read_config({**config, "hidden_activation": "gelu_pytorch_tanh"}).layers == tanh
    assert read_config({**config, "hidden_activation": "gelu"}).layers != tanh


def test_every_fourth_layer_of_smollm3_goes_without_positions() -> None:
    config = PUBLISHED["SmolLM3-3B"][0]
    turning = [layer.mixer.position is not None for layer in read_config(config).layers]
    assert turning == [True, True, True, False] * 9
    bare = {k: v for k, v in config.items() if k != "no_rope_layers"}
    assert read_config(bare) == read_config(config)


@pytest.mark.parametrize(
    ("name", "change", "named"),
    [
        ("Qwen2.5-0.5B", {"use_mrope": True}, "use_mrope"),
        ("Qwen2.5-0.5B", {"max_window_layers": -1}, "max_window_layers"),
        ("Qwen2.5-0.5B", {"layer_types": ["full_attention"]}, "layer_types"),
        ("Qwen2.5-0.5B", {"layer_types": ["sliding_attention"] * 24}, "no sliding_window"),
        ("Qwen3-8B", {"layer_types": ["chunked_attention"] * 36}, "chunked_attention"),
        ("Qwen3-8B", {"layer_types": [["full_attention"]] * 36}, "layer_types"),
        ("Qwen3-8B", {"layer_types": {"0": "full_attention"}}, "layer_types"),
        ("Gemma-2b", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ("Gemma-2-9b", {"sliding_window_size": 512}, "sliding_window_size"),
        ("Gemma-2-9b", {"sliding_window": None}, "sliding_window"),
        ("Gemma-2-9b", {"attn_logit_softcapping": -50.0}, "attn_logit_softcapping"),
        ("Gemma-3-1b", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        ("Gemma-3-1b", {"rope_parameters": {"rope_type": "linear"}}, "rope_type"),
        ("Gemma-3-1b", {"rope_parameters": {"full_attention": 7}}, "rope settings"),
        ("Gemma-3-1b", {"rope_parameters": {"full_attention": {"x": 1}}}, "full_attention.x"),
        ("Gemma-3-4b, its text part", {"text_config": "gemma"}, "text_config"),
        ("Gemma-3-4b, its text part", {"text_config": {"moe": 4}}, "text_config.moe"),
        ("Gemma-3-4b, its text part", {"text_config": {"vocab_size": 0}}, "text_config.vocab_size"),
        ("Phi-3.5-mini", {"rope_scaling": {"type": "longrope"}}, "short_factor"),
        (
            "Phi-3.5-mini",
            {"rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}},
            "longrope",
        ),
        (
            "Phi-3.5-mini",
            {"rope_scaling": {"type": "yarn", "short_factor": [1.0], "long_factor": [1.0]}},
            "short_factor",
        ),
        ("Phi-3-mini-4k", {"attention_bias": True}, "attention_bias"),
        ("Phi-4-mini", {"full_attn_mod": 2}, "full_attn_mod"),
        ("OLMo-7B", {"clip_qkv": 0}, "clip_qkv"),
        ("OLMo-2-7B", {"clip_qkv": 8.0}, "clip_qkv"),
        ("SmolLM3-3B", {"no_rope_layers": [1, 1, 1, 0]}, "no_rope_layers"),
        ("SmolLM3-3B", {"no_rope_layers": [2] * 36}, "no_rope_layers"),
        ("SmolLM3-3B", {"no_rope_layers": [[]] * 36}, "no_rope_layers"),
        ("Granite-3.3-8b", {"residual_multiplier": "0.22"}, "residual_multiplier"),
        ("Granite-3.3-8b", {"logits_scaling": 0}, "logits_scaling"),
        ("StarCoder2-3b", {"norm_type": "rms_norm"}, "norm_type"),
        ("StarCoder2-3b", {"mlp_type": "gated"}, "mlp_type"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_done_is_refused_by_name(
    name: str, change: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        read_config({**PUBLISHED[name][0], **change})
    assert len(str(caught.value).splitlines()) <= 3


def test_an_unknown_key_of_the_text_part_can_be_passed_over() -> None:
    config = PUBLISHED["Gemma-3-4b, its text part"][0]
    odd = {**config, "text_config": {**config["text_config"], "mystery": 1}}
    with pytest.raises(ConfigError, match=r"text_config\.mystery"):
        read_config(odd)
    assert read_config(odd, ignore_keys=["mystery"]) == read_config(config)


def test_what_is_unknown_points_to_the_page_that_says_how_to_add_it() -> None:
    page = "docs/families.md"
    assert (Path(__file__).parents[2] / page).is_file()
    for config in ({"model_type": "zebra"}, {**PUBLISHED["LLaMA-7B"][0], "flux_capacitor": 1}):
        with pytest.raises(ConfigError) as caught:
            read_config(config)
        assert page in str(caught.value)


def test_a_model_that_sees_pictures_is_saved_as_one_that_does_not() -> None:
    config = PUBLISHED["Gemma-3-4b, its text part"][0]
    spec = read_config(config)
    table, saved = saved_form(spec, config)
    assert "vision_config" not in saved
    assert saved["eos_token_id"] == [1, 106]
    alone = read_config(saved)
    assert (alone.layers, alone.vocab, alone.context) == (spec.layers, spec.vocab, spec.context)
    assert table.by_ours("norm.weight").theirs == "model.norm.weight"
    same, itself = saved_form(alone, saved)
    assert itself is saved
    assert same.places == table.places


def test_a_folder_with_a_picture_side_opens_and_saves_as_text(tmp_path: Path) -> None:
    next(f for f in FORMS if f.id == "gemma3-pictures").make(tmp_path / "seeing")
    model = puna.load(tmp_path / "seeing", device="cpu")
    model.save(tmp_path / "text")
    again = load_parts(tmp_path / "text", device="cpu")
    assert again.spec.family == "gemma3_text"
    opened = load_parts(tmp_path / "seeing", device="cpu")
    ids = torch.arange(30) * 3
    ctx = Segments([30])
    want, got = (p.model.head(p.model(ids, ctx.positions, ctx)) for p in (opened, again))
    assert torch.equal(want, got)


def test_the_picture_side_is_left_out_with_a_reason() -> None:
    table = name_table(read_config(PUBLISHED["Gemma-3-4b, its text part"][0]))
    for name in ("vision_tower.x.weight", "model.multi_modal_projector.mm_soft_emb_norm.weight"):
        assert table.reason_to_skip(name) == "of the picture side, which is not read"
    for name in ("audio_tower.x.weight", "language_model.vision_tower.x", "model.layers.99.x"):
        assert table.reason_to_skip(name) is None
    for prefix in ("language_model.model.", "model.language_model."):
        (place,) = table.by_theirs(f"{prefix}layers.3.mlp.up_proj.weight")
        assert place.ours == "layers.3.ffn.up.weight"


def test_other_parts_are_not_left_out(tmp_path: Path) -> None:
    next(f for f in FORMS if f.id == "gemma3-pictures").make(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "model-1.safetensors")
    odd = torch.zeros(2)
    shapes = {"audio_tower.x": (odd.dtype, (2,))}
    save_tensors(tmp_path / "model-2.safetensors", shapes, [("audio_tower.x", odd)])
    header = read_header(tmp_path / "model-1.safetensors")
    index = {**dict.fromkeys(header, "model-1.safetensors"), "audio_tower.x": "model-2.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    with pytest.raises(WeightsError, match=r"audio_tower\.x"):
        load_parts(tmp_path, device="cpu")


def test_an_adapter_of_the_picture_side_alone_changes_nothing_and_is_refused(
    tmp_path: Path,
) -> None:
    from peft import LoraConfig, get_peft_model

    model = next(f for f in FORMS if f.id == "gemma3-pictures").make(tmp_path / "base")
    tuned = get_peft_model(model, LoraConfig(r=2, target_modules=["fc1", "fc2"]))
    tuned.save_pretrained(tmp_path / "adapter")
    with pytest.raises(AdapterError, match="not read"):
        load_parts(tmp_path / "base", adapter=tmp_path / "adapter", device="cpu")
