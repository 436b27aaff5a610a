"""Models through GGUF and back, in values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGUFReader

from puna.errors import ConfigError, UsageError
from puna.families import gguf_names, known_architectures, read_config
from puna.formats import read_gguf
from puna.loading import load_parts
from puna.model import build
from puna.package import GGUF_TYPES, describe_gguf, export_gguf, export_safetensors
from puna.quant import dequantize, quantize
from puna.spec import ModelSpec
from puna.weights import checkpoint_dtype, open_checkpoint, plan_gguf
from tests.parity.forms import FORMS, Form
from tests.parity.published import PUBLISHED
from tests.unit.gguf_forms import (
    REFUSED,
    TOLD,
    Config,
    config_of,
    logits,
    model_of,
    parameters,
    told_config,
)


@pytest.mark.parametrize("form", TOLD, ids=lambda form: form.id)
def test_every_form_comes_back_the_same(form: Form, tmp_path: Path) -> None:
    torch.manual_seed(0)
    parts = model_of(told_config(form), tmp_path / "folder")
    export_gguf(parts, tmp_path / "model.gguf", "f32")
    back = load_parts(tmp_path / "model.gguf", device="cpu", dtype="float32")
    assert back.spec.layers == parts.spec.layers
    assert (back.spec.context, back.spec.head) == (parts.spec.context, parts.spec.head)
    ours, theirs = parameters(parts), parameters(back)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    # Kernels may add in another order where a view of a file begins at an odd place.
    assert (logits(back) - logits(parts)).abs().max() < 1e-5


@pytest.mark.parametrize("form", [f for f in FORMS if f.id in REFUSED], ids=lambda form: form.id)
def test_what_gguf_cannot_say_is_refused_and_nothing_is_written(form: Form, tmp_path: Path) -> None:
    parts = model_of(config_of(form), tmp_path / "folder")
    with pytest.raises(ConfigError, match=REFUSED[form.id]):
        export_gguf(parts, tmp_path / "model.gguf", "f32")
    assert not list(tmp_path.glob("*.gguf"))


# One form of each architecture whose file, saved as a folder, the reference library must compute.
REFERENCED = (
    "qwen2-rope-yarn", "qwen3-tied", "gemma-multi-query", "gemma2", "gemma3-pictures",
    "phi4-partial-longrope-tied", "olmo-clipped-tied-biases", "olmo2", "smollm3",
    "granite-biases-untied", "starcoder2-window", "gpt2-6-heads", "mpt-6-heads-clipped",
    "qwen3-moe", "gpt-oss", "deepseek-v2-lite-yarn", "deepseek-v3-groups",
)  # fmt: skip


@pytest.mark.parametrize("form", [f for f in FORMS if f.id in REFERENCED], ids=lambda form: form.id)
def test_a_file_saved_as_a_folder_is_a_published_model(form: Form, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    parts = model_of(told_config(form), tmp_path / "folder")
    export_gguf(parts, tmp_path / "model.gguf", "f32")
    back = load_parts(tmp_path / "model.gguf", device="cpu", dtype="float32")
    export_safetensors(back, tmp_path / "again")
    reference = AutoModelForCausalLM.from_pretrained(
        tmp_path / "again",
        attn_implementation=form.attention,
        dtype=torch.float32,
        pad_token_id=None,
    )
    ids = torch.randint(parts.spec.vocab, (40,), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        theirs = reference.eval()(ids[None]).logits[0]
    assert (logits(parts, 40) - theirs).abs().max() < 1e-3


# The published forms that cannot be told, and the word that the refusal names.
UNTOLD = {
    "GPT-J-6B": "family gptj",
    **dict.fromkeys(("GPT-Neo-1.3B", "GPT-Neo-2.7B"), "family gpt_neo"),
    **dict.fromkeys(("OPT-125m", "OPT-350m", "OPT-6.7B"), "family opt"),
}


def told(spec: ModelSpec) -> Any:
    plan = plan_gguf(build(spec), gguf_names(spec), "BF16")
    return describe_gguf(spec, {name: planned.shape for name, planned in plan.items()})


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_are_told_by_metadata(name: str) -> None:
    """Metadata of the real sizes, read back as a file would be; no weights are made."""
    spec = read_config(PUBLISHED[name][0])
    if name in UNTOLD:
        with pytest.raises(ConfigError, match=UNTOLD[name]):
            told(spec)
    else:
        assert told(spec)["general.architecture"][1] in known_architectures()


def test_the_largest_v2_is_refused_for_its_groups() -> None:
    config = {**PUBLISHED["DeepSeek-V2-Lite"][0], "topk_method": "group_limited_greedy"}
    with pytest.raises(ConfigError, match="judged by their best expert"):
        told(read_config({**config, "n_group": 8, "topk_group": 3}))


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("phi3-window", "window of 9 tokens"),
        ("starcoder2-window", "window of 9 tokens"),
        ("phi3-longrope", "once its context is set above 24 tokens"),
        ("llama-rope-yarn-tuned", "by 32 and 1"),
        ("gpt-oss", "to whole dims"),
    ],
)
def test_what_llama_cpp_does_otherwise_is_said(form: str, said: str, tmp_path: Path) -> None:
    found = next(f for f in FORMS if f.id == form)
    parts = model_of(told_config(found), tmp_path / "folder")
    notes = export_gguf(parts, tmp_path / "model.gguf", "f32").notes
    assert [note for note in notes if said in note]


WIDE: Config = {
    "model_type": "mixtral",
    "vocab_size": 83,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_local_experts": 3,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 128,
}


@pytest.mark.parametrize("kind", GGUF_TYPES)
def test_every_type_gives_the_values_that_it_can_hold(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    parts = model_of(WIDE, tmp_path / "folder")
    done = export_gguf(parts, tmp_path / "model.gguf", kind, insist=False)
    assert done.bytes == (tmp_path / "model.gguf").stat().st_size
    back = load_parts(tmp_path / "model.gguf", device="cpu", dtype="float32")
    for name, wanted in parameters(parts).items():
        format_ = GGUF_TYPES[kind][0]
        if wanted.ndim < 2 or "router" in name:
            format_ = "F32"
        elif name == "output.weight" and kind[0] == "q":
            format_ = "Q8_0"
        # In the order of the file: blocks run over rows, and q and k rows only change places.
        held = dequantize(quantize(wanted, format_), format_, tuple(wanted.shape))
        assert torch.equal(parameters(back)[name], held), name
    with torch.no_grad():
        for name, parameter in parameters(parts).items():
            parameter.copy_(parameters(back)[name])
    assert torch.equal(logits(back), logits(parts))
    auto = checkpoint_dtype(open_checkpoint(tmp_path / "model.gguf"))
    assert auto == {"f32": "float32", "f16": "float16"}.get(kind, "bfloat16")


def test_the_librarys_reader_finds_the_same(tmp_path: Path) -> None:
    parts = model_of(WIDE, tmp_path / "folder")
    export_gguf(parts, tmp_path / "model.gguf", "q8_0", insist=False)
    read = GGUFReader(tmp_path / "model.gguf")
    fields = {name: field.contents() for name, field in read.fields.items()}
    ours = read_gguf(tmp_path / "model.gguf")
    assert {k: v for k, v in fields.items() if not k.startswith("GGUF.")} == dict(ours.metadata)
    assert fields["llama.expert_count"] == 3
    shapes = {t.name: tuple(map(int, reversed(t.shape))) for t in read.tensors}
    assert shapes == {name: ref.shape for name, ref in ours.tensors.items()}
    assert shapes["blk.1.ffn_down_exps.weight"] == (3, 64, 96)
    for tensor in read.tensors:
        ref = ours.tensors[tensor.name]
        assert (tensor.tensor_type.name, int(tensor.data_offset)) == (ref.dtype, ref.span[0])


def test_a_row_that_fills_no_block_is_written_whole(tmp_path: Path) -> None:
    parts = model_of({**WIDE, "intermediate_size": 40}, tmp_path / "folder")
    done = export_gguf(parts, tmp_path / "model.gguf", "q4_0", insist=False)
    assert set(done.types) == {"Q4_0", "Q8_0", "F32", "BF16"}
    assert "whole blocks" in done.notes[0]
    types = {name: ref.dtype for name, ref in read_gguf(tmp_path / "model.gguf").tensors.items()}
    assert types["blk.0.ffn_down_exps.weight"] == "BF16"
    assert types["blk.0.ffn_up_exps.weight"] == "Q4_0"
    load_parts(tmp_path / "model.gguf", device="cpu")


def test_float16_that_would_overflow_is_refused(tmp_path: Path) -> None:
    parts = model_of(WIDE, tmp_path / "folder")
    with torch.no_grad():
        parts.model.embed.tokens[3, 4] = 7e4
    with pytest.raises(UsageError, match=r"token_embd\.weight has values"):
        export_gguf(parts, tmp_path / "model.gguf", "f16")
    assert not list(tmp_path.glob("*gguf*"))


def test_a_window_is_kept_and_said_to_be_lost_elsewhere(tmp_path: Path) -> None:
    form = next(form for form in FORMS if form.id == "mistral-window")
    parts = model_of(config_of(form), tmp_path / "folder")
    done = export_gguf(parts, tmp_path / "model.gguf", "f32")
    assert "window of 9 tokens" in done.notes[0]
    assert load_parts(tmp_path / "model.gguf").spec.layers[0].mixer.window == 9


def test_a_cria_goes_out_and_comes_back(tmp_path: Path) -> None:
    parts = load_parts("cria", device="cpu")
    for kind in ("bf16", "q4_0"):
        export_gguf(parts, tmp_path / f"{kind}.gguf", kind)
    back = load_parts(tmp_path / "bf16.gguf", device="cpu")
    assert back.spec == parts.spec
    assert back.model.dtype == torch.bfloat16
    assert torch.equal(logits(back), logits(parts))
    assert back.config["license"] == "apache-2.0"
    assert back.text.specials == parts.text.specials
    # Out again from the file: the vocabulary goes along as it was.
    export_gguf(back, tmp_path / "again.gguf", "bf16")
    once, twice = read_gguf(tmp_path / "bf16.gguf"), read_gguf(tmp_path / "again.gguf")
    same = {k for k in once.metadata if k not in {"general.name", "puna.seal"}}
    assert {k: once.metadata[k] for k in same} == {k: twice.metadata[k] for k in same}
    assert json.dumps(once.metadata["tokenizer.ggml.pre"]) == '"smollm"'
