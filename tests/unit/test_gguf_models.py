"""Models through GGUF and back, in values; files as llama.cpp's converters make them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGUFReader, GGUFWriter

from puna.errors import ConfigError, FormatError, SourceError, UsageError, WeightsError
from puna.families import gguf_config, name_table, read_config
from puna.formats import read_gguf
from puna.loading import Parts, load_parts
from puna.model import Segments, build, initialize
from puna.package import GGUF_TYPES, export_gguf, export_safetensors
from puna.quant import dequantize, quantize
from puna.spec import Llama3Scaling, Rope, YarnScaling
from puna.weights import checkpoint_dtype, open_checkpoint, save_folder
from puna.weights.layout import to_ours, to_theirs
from tests.parity.forms import FORMS, Form

Config = dict[str, Any]
Tensors = dict[str, np.ndarray]

# Forms that GGUF or llama.cpp has no words for, and the word that the refusal must name.
REFUSED = {
    "llama-rope-dynamic": "DynamicScaling",
    "falcon-7b-bias-untied": "biases",
    "falcon-rw": "ALiBi",
    "falcon-rw-12-heads": "ALiBi",
    "gpt-neox-full-rotary-no-bias": "without biases",
}
TOLD = [form for form in FORMS if form.id not in REFUSED]


def config_of(form: Form) -> Config:
    config: Config = form.config().to_diff_dict()
    return {**config, "model_type": form.config().model_type}


def model_of(config: Config, folder: Path, seed: int = 1) -> Parts:
    """Save a random model as a folder, large enough weights to matter, and open it."""
    spec = read_config(config)
    model = build(spec, device="cpu")
    initialize(model, seed=seed, std=0.2)
    with torch.no_grad():
        for parameter in model.parameters():  # norms away from one, biases from zero
            parameter.add_(torch.randn(parameter.shape) * 0.05)
    save_folder(model, name_table(spec), folder, config=config)
    return load_parts(folder, device="cpu")


@torch.no_grad()
def logits(parts: Parts, count: int = 23) -> torch.Tensor:
    ids = torch.randint(parts.spec.vocab, (count,), generator=torch.Generator().manual_seed(2))
    ctx = Segments([count])
    return parts.model.head(parts.model(ids, ctx.positions, ctx), ctx.rows)


def parameters(parts: Parts) -> dict[str, torch.Tensor]:
    return dict(parts.model.named_parameters())


@pytest.mark.parametrize("form", TOLD, ids=lambda form: form.id)
def test_every_form_comes_back_the_same(form: Form, tmp_path: Path) -> None:
    torch.manual_seed(0)
    parts = model_of(config_of(form), tmp_path / "folder")
    export_gguf(parts, tmp_path / "model.gguf", "f32")
    back = load_parts(tmp_path / "model.gguf", device="cpu", dtype="float32")
    assert back.spec.layers == parts.spec.layers
    assert (back.spec.context, back.spec.head) == (parts.spec.context, parts.spec.head)
    ours, theirs = parameters(parts), parameters(back)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert torch.equal(logits(back), logits(parts))


@pytest.mark.parametrize("form", [f for f in FORMS if f.id in REFUSED], ids=lambda form: form.id)
def test_what_gguf_cannot_say_is_refused_and_nothing_is_written(form: Form, tmp_path: Path) -> None:
    parts = model_of(config_of(form), tmp_path / "folder")
    with pytest.raises(ConfigError, match=REFUSED[form.id]):
        export_gguf(parts, tmp_path / "model.gguf", "f32")
    assert not list(tmp_path.glob("*.gguf"))


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
    done = export_gguf(parts, tmp_path / "model.gguf", kind)
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
    export_gguf(parts, tmp_path / "model.gguf", "q8_0")
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
    done = export_gguf(parts, tmp_path / "model.gguf", "q4_0")
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


# --- files as converters make them ---------------------------------------------------------------


def llama_file(
    path: Path,
    arch: str = "llama",
    *,
    more: Callable[[GGUFWriter], None] = lambda w: None,
    drop: tuple[str, ...] = (),
    tensors: Tensors | None = None,
) -> Tensors:
    """Write a small LLaMA by the `gguf` package, q and k in pairs; return what went in."""
    writer = GGUFWriter(path, arch)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(48)
    writer.add_head_count(4)
    if "eps" not in drop:
        writer.add_layer_norm_rms_eps(1e-5)
    writer.add_head_count_kv(2)
    more(writer)
    generator = np.random.default_rng(5)
    shapes = {
        "token_embd.weight": (61, 32),
        "blk.0.attn_q.weight": (32, 32),
        "blk.0.attn_k.weight": (16, 32),
        "blk.0.attn_v.weight": (16, 32),
        "blk.0.attn_output.weight": (32, 32),
        "blk.0.ffn_gate.weight": (48, 32),
        "blk.0.ffn_up.weight": (48, 32),
        "blk.0.ffn_down.weight": (32, 48),
        "blk.0.attn_norm.weight": (32,),
        "blk.0.ffn_norm.weight": (32,),
        "output_norm.weight": (32,),
    }
    made = {n: generator.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    made |= tensors or {}
    for name, tensor in made.items():
        if name not in drop:
            writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return made


def permuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """The published row order to the one of the converters: halves of a head become neighbors."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def test_a_converters_llama_is_the_published_one(tmp_path: Path) -> None:
    made = llama_file(tmp_path / "m.gguf", more=lambda w: w.add_vocab_size(61))
    parts = load_parts(tmp_path, device="cpu")  # the folder's one GGUF file
    assert parts.source.path == tmp_path / "m.gguf"
    assert parts.spec == read_config(
        {
            "model_type": "llama",
            "vocab_size": 61,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 64,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10_000.0,
            "tie_word_embeddings": True,
        }
    )
    held = {k: v.numpy() for k, v in parameters(parts).items()}
    assert np.array_equal(
        permuted(held["layers.0.attn.project.q.weight"], 4), made["blk.0.attn_q.weight"]
    )
    assert np.array_equal(
        permuted(held["layers.0.attn.project.k.weight"], 2), made["blk.0.attn_k.weight"]
    )
    assert np.array_equal(held["layers.0.attn.project.v.weight"], made["blk.0.attn_v.weight"])
    assert np.array_equal(held["embed.tokens"], made["token_embd.weight"])
    # Saved as a folder it is what the reference library computes with.
    export_safetensors(parts, tmp_path / "folder")
    from transformers import AutoModelForCausalLM

    reference = AutoModelForCausalLM.from_pretrained(tmp_path / "folder").eval()
    ids = torch.arange(20)
    ctx = Segments([20])
    with torch.no_grad():
        ours = parts.model.head(parts.model(ids, ctx.positions, ctx), ctx.rows)
        assert (reference(ids[None]).logits[0] - ours).abs().max() < 1e-4


def test_mapped_parameters_are_views_and_blocks_are_unpacked(tmp_path: Path) -> None:
    made = llama_file(tmp_path / "m.gguf")
    parts = load_parts(tmp_path / "m.gguf", device="cpu", dtype="bfloat16")
    wanted = torch.from_numpy(made["token_embd.weight"]).to(torch.bfloat16)
    assert torch.equal(parts.model.embed.tokens, wanted)
    before = (tmp_path / "m.gguf").read_bytes()
    exact = load_parts(tmp_path / "m.gguf", device="cpu")
    with torch.no_grad():
        exact.model.embed.tokens.zero_()
    assert (tmp_path / "m.gguf").read_bytes() == before


@pytest.mark.parametrize("split", [False, True])
def test_experts_are_read_stacked_and_apart(tmp_path: Path, split: bool) -> None:
    shapes = {"gate": (3, 48, 32), "up": (3, 48, 32), "down": (3, 32, 48)}
    stacked = {
        name: np.random.default_rng(len(name)).standard_normal(shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    tensors: Tensors = {"blk.0.ffn_gate_inp.weight": np.ones((3, 32), np.float32)}
    for name, value in stacked.items():
        if split:  # as in the first Mixtral files
            tensors |= {f"blk.0.ffn_{name}.{e}.weight": value[e] for e in range(3)}
        else:
            tensors[f"blk.0.ffn_{name}_exps.weight"] = value

    def experts(writer: GGUFWriter) -> None:
        writer.add_expert_count(3)
        writer.add_expert_used_count(2)

    dense = tuple(f"blk.0.ffn_{name}.weight" for name in shapes)
    llama_file(tmp_path / "m.gguf", more=experts, drop=dense, tensors=tensors)
    parts = load_parts(tmp_path / "m.gguf", device="cpu")
    assert parts.spec.family == "mixtral"
    for name, value in stacked.items():
        for e in range(3):
            held = parameters(parts)[f"layers.0.ffn.experts.{e}.{name}.weight"]
            assert np.array_equal(held.numpy(), value[e])


@pytest.mark.parametrize(
    "rule",
    [
        Llama3Scaling(8.0, 1.0, 4.0, 8192),  # Llama 3.1
        Llama3Scaling(32.0, 1.0, 4.0, 8192),  # Llama 3.2
        Llama3Scaling(16.0, 1.0, 8.0, 4096),  # nobody's: found from the table
    ],
)
def test_a_table_of_rope_factors_gives_its_rule(tmp_path: Path, rule: Llama3Scaling) -> None:
    theta, dims = 500_000.0, 128
    frequencies = theta ** -(np.arange(0, dims, 2) / dims)
    turns = rule.original_context * frequencies / (2 * math.pi)
    low, high = rule.low_freq_factor, rule.high_freq_factor
    keep = np.clip((turns - low) / (high - low), 0, 1)
    table = (1 / (keep + (1 - keep) / rule.factor)).astype(np.float32)

    def wide(writer: GGUFWriter) -> None:
        writer.add_rope_freq_base(theta)
        writer.add_key_length(dims)
        writer.add_value_length(dims)

    path = tmp_path / "m.gguf"
    llama_file(path, more=wide, tensors={"rope_freqs.weight": table})
    spec = read_config(gguf_config(read_gguf(path)))
    assert spec.layers[0].mixer.position == Rope(theta, dims, scaling=rule)
    path.unlink()
    llama_file(path, more=wide, tensors={"rope_freqs.weight": table[::-1].copy()})
    with pytest.raises(ConfigError, match="follow no known rule"):
        gguf_config(read_gguf(path))


def test_yarn_keys(tmp_path: Path) -> None:
    def yarn(writer: GGUFWriter) -> None:
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(4.0)
        writer.add_rope_scaling_orig_ctx_len(16)

    llama_file(tmp_path / "m.gguf", more=yarn)
    spec = read_config(gguf_config(read_gguf(tmp_path / "m.gguf")))
    usual = 0.1 * math.log(4) + 1
    assert spec.layers[0].mixer.position.scaling == YarnScaling(4.0, 16, attention_factor=usual)  # type: ignore[union-attr]


def test_license_and_ends_of_a_turn_come_from_the_metadata(tmp_path: Path) -> None:
    def beside(writer: GGUFWriter) -> None:
        writer.add_license("apache-2.0")
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_eot_token_id(7)
        writer.add_pad_token_id(0)

    llama_file(tmp_path / "m.gguf", more=beside)
    config = gguf_config(read_gguf(tmp_path / "m.gguf"))
    assert config["license"] == "apache-2.0"
    specials = load_parts(tmp_path / "m.gguf").text.specials
    assert (specials.bos, specials.eos, specials.pad) == (1, {2, 7}, 0)


def refusal(path: Path, kind: type[Exception], **how: Any) -> str:
    llama_file(path, **how)
    with pytest.raises(kind) as caught:
        load_parts(path, device="cpu")
    assert len(str(caught.value).splitlines()) <= 3
    return str(caught.value)


def test_refusals_name_the_thing(tmp_path: Path) -> None:
    at = iter(tmp_path / f"{n}.gguf" for n in range(20))
    assert "'pig' is not known" in refusal(next(at), ConfigError, arch="pig")
    missing = refusal(next(at), ConfigError, drop=("eps",))
    assert "llama.attention.layer_norm_rms_epsilon is missing" in missing
    odd = refusal(next(at), ConfigError, more=lambda w: w.add_float32("llama.logit_scale", 2.0))
    assert "'llama.logit_scale' = 2.0 is unknown" in odd
    assert "--ignore-key logit_scale" in odd
    wide = refusal(next(at), ConfigError, more=lambda w: w.add_value_length(16))
    assert "llama.attention.value_length is 16" in wide
    rope = refusal(
        next(at), ConfigError, more=lambda w: w.add_string("llama.rope.scaling.type", "su")
    )
    assert "rope scaling 'su'" in rope
    noncausal = refusal(next(at), ConfigError, more=lambda w: w.add_causal_attention(False))
    assert "attention.causal" in noncausal
    empty = refusal(next(at), FormatError, drop=("token_embd.weight",))
    assert "no token embedding" in empty
    assert "at: " in empty
    gone = refusal(next(at), WeightsError, drop=("blk.0.attn_v.weight",))
    assert "missing: 'blk.0.attn_v.weight'" in gone
    extra = {"../../etc/passwd": np.ones(2, np.float32)}
    assert "without a place" in refusal(next(at), WeightsError, tensors=extra)
    shape = {"blk.0.ffn_up.weight": np.ones((32, 48), np.float32)}
    assert "has shape [32, 48]" in refusal(next(at), WeightsError, tensors=shape)
    path = next(at)
    llama_file(path, more=lambda w: w.add_float32("llama.logit_scale", 2.0))
    load_parts(path, device="cpu", ignore_keys=["logit_scale"])


def test_a_folder_of_two_models_asks_for_one(tmp_path: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        llama_file(tmp_path / name)
    with pytest.raises(SourceError, match="holds 2 GGUF models"):
        load_parts(tmp_path)


# --- split files ---------------------------------------------------------------------------------


def split_file(folder: Path) -> tuple[Path, Tensors]:
    """Cut a model into two files, as gguf-split does."""
    made = llama_file(folder / "whole.gguf")
    found = read_gguf(folder / "whole.gguf")
    names = list(made)
    for number, part in enumerate((names[:5], names[5:])):
        path = folder / f"m-{number + 1:05d}-of-00002.gguf"
        writer = GGUFWriter(path, "llama")
        if number == 0:
            for key, value in found.metadata.items():
                if isinstance(value, float):
                    writer.add_float32(key, value)
                elif isinstance(value, int):
                    writer.add_uint32(key, value)
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", 2)
        writer.add_int32("split.tensors.count", len(names))
        for name in part:
            writer.add_tensor(name, made[name])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    (folder / "whole.gguf").unlink()
    return folder / "m-00002-of-00002.gguf", made


def test_any_file_of_a_split_opens_the_whole(tmp_path: Path) -> None:
    path, made = split_file(tmp_path)
    for given in (path, tmp_path / "m-00001-of-00002.gguf", tmp_path):
        parts = load_parts(given, device="cpu")
        held = parameters(parts)["layers.0.ffn.down.weight"].numpy()
        assert np.array_equal(held, made["blk.0.ffn_down.weight"])
    renamed = tmp_path / "second.gguf"
    path.rename(renamed)
    with pytest.raises(FormatError, match="one of 2 files"):
        load_parts(renamed)
    with pytest.raises(SourceError, match=r"m-00002-of-00002\.gguf of the split model is missing"):
        load_parts(tmp_path / "m-00001-of-00002.gguf")
    first = (tmp_path / "m-00001-of-00002.gguf").read_bytes()
    path.write_bytes(first)  # twice the first
    with pytest.raises(FormatError, match="it says it is file 0 of 2"):
        load_parts(tmp_path / "m-00001-of-00002.gguf")


def test_layouts_go_there_and_back() -> None:
    from puna.families import Raised, RopePairs

    x = torch.randn(24, 5)
    pairs = RopePairs(3)
    assert np.array_equal(to_theirs(x, pairs).numpy(), permuted(x.numpy(), 3))
    assert torch.equal(to_ours(to_theirs(x, pairs), pairs), x)
    norm = torch.randn(7).to(torch.bfloat16)
    assert torch.equal(to_ours(to_theirs(norm, Raised(1.0)), Raised(1.0)).to(torch.bfloat16), norm)
    assert torch.equal(to_theirs(norm, Raised(1.0)), norm.float() + 1)


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
    same = {k for k in once.metadata if k != "general.name"}
    assert {k: once.metadata[k] for k in same} == {k: twice.metadata[k] for k in same}
    assert json.dumps(once.metadata["tokenizer.ggml.pre"]) == '"smollm"'
