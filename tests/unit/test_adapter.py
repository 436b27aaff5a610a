"""LoRA against the peft library, both ways, and what does not fit refused by name."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from puna.adapter import attach, merge, write_adapter
from puna.errors import AdapterError, FormatError, PunaError, SourceError
from puna.families import name_table
from puna.loading import Parts, load_parts
from puna.model import Decoder, Rows, Segments
from puna.tune import Settings, train
from puna.weights import read_tensors, save_tensors
from tests.parity.forms import FORMS
from tests.unit.tiny import save_tiny, tiny

# One form for each way that projections are stored and named, and the modules to adapt.
CASES = [
    ("llama-grouped-tied", ["q_proj", "v_proj"]),
    (
        "llama-multi-query-biases",
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "down_proj"],
    ),
    ("mixtral-8x2", ["q_proj", "o_proj"]),
    ("falcon-7b", ["query_key_value"]),
    ("falcon-40b", ["query_key_value", "dense", "dense_h_to_4h"]),
    ("falcon-rw", ["query_key_value", "dense_4h_to_h"]),
    ("bloom-6-heads", ["query_key_value", "dense"]),
    ("llama-head-dim-theta", ["v_proj", "lm_head"]),
    ("llama-grouped-tied", ["o_proj", "lm_head"]),
    ("gpt-neox-sequential", ["lm_head", "dense"]),
    ("pythia-parallel", ["query_key_value", "dense_h_to_4h", "dense_4h_to_h"]),
    ("qwen2-upper-windows", ["q_proj", "v_proj", "down_proj"]),
    ("qwen3-tied", ["q_proj", "k_proj", "gate_proj"]),
    ("gemma-multi-query", ["q_proj", "v_proj", "up_proj"]),
    ("gemma2", ["q_proj", "o_proj", "down_proj"]),
    ("gemma3-text", ["k_proj", "v_proj", "gate_proj"]),
    ("gemma3-pictures", ["q_proj", "v_proj"]),
    ("phi3-longrope", ["qkv_proj", "gate_up_proj"]),
    ("phi4-partial-longrope-tied", ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]),
    ("olmo-clipped-tied-biases", ["q_proj", "k_proj", "v_proj", "down_proj"]),
    ("olmo2", ["q_proj", "k_proj", "o_proj"]),
    ("smollm3", ["q_proj", "v_proj", "up_proj"]),
    ("granite", ["q_proj", "v_proj", "down_proj"]),
    ("starcoder2-window", ["q_proj", "c_fc", "c_proj"]),
    ("gpt2-6-heads", ["c_attn", "c_proj", "c_fc"]),
    ("gptj-partial-rotary", ["q_proj", "v_proj", "fc_in"]),
    ("gpt-neo-global-and-local", ["k_proj", "out_proj", "c_fc"]),
    ("mpt-6-heads-clipped", ["Wqkv", "up_proj"]),
    ("opt-350m", ["q_proj", "fc1", "fc2"]),
    ("qwen3-moe", ["q_proj", "k_proj", "o_proj"]),
    ("gpt-oss", ["q_proj", "v_proj", "o_proj"]),
    ("deepseek-v2-biases", ["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj"]),
    ("deepseek-v2-lite-yarn", ["q_proj", "kv_b_proj", "o_proj"]),
]
IDS = torch.tensor([3, 14, 15, 9, 26, 5, 35, 8, 9, 7, 9, 3])


def ours(parts: Parts, rows: Rows) -> torch.Tensor:
    ctx = Segments([len(IDS)], rows=rows)
    with torch.no_grad():
        return parts.model.head(parts.model(IDS, ctx.positions, ctx), ctx.rows)


def theirs(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS[None]).logits[0].float()


@pytest.mark.parametrize(("form", "targets"), CASES, ids=[name for name, _ in CASES])
def test_an_adapter_of_peft_gives_the_same_logits(
    form: str, targets: list[str], tmp_path: Path
) -> None:
    from peft import LoraConfig, get_peft_model

    reference = next(f for f in FORMS if f.id == form).make(tmp_path / "base")
    config = LoraConfig(r=3, lora_alpha=7, target_modules=targets, init_lora_weights=False)
    tuned = get_peft_model(reference, config).eval()
    tuned.save_pretrained(tmp_path / "adapter")
    parts = load_parts(tmp_path / "base", adapter=tmp_path / "adapter", device="cpu")
    want = theirs(tuned)
    assert (ours(parts, Rows(parts.adapter)) - want).abs().max() < 1e-4
    with tuned.disable_adapter():
        base = theirs(tuned)
    assert (base - want).abs().max() > 1e-2
    assert (ours(parts, Rows()) - base).abs().max() < 1e-4
    assert parts.adapter is not None
    if form == "llama-grouped-tied" and "lm_head" in targets:
        with pytest.raises(AdapterError, match="head, which is the token table"):
            merge(parts.model, parts.adapter)
        return
    merge(parts.model, parts.adapter)
    assert (ours(parts, Rows()) - want).abs().max() < 1e-4
    assert all("updates" not in name for name, _ in parts.model.named_parameters())


@pytest.mark.parametrize(("form", "targets"), CASES, ids=[name for name, _ in CASES])
def test_an_adapter_of_ours_gives_peft_the_same_logits(
    form: str, targets: list[str], tmp_path: Path
) -> None:
    from peft import PeftModel

    reference = next(f for f in FORMS if f.id == form).make(tmp_path / "base")
    parts = load_parts(tmp_path / "base", device="cpu")
    slot = attach(parts.model, parts.table, rank=4, alpha=6, targets=targets, seed=1)
    assert torch.equal(ours(parts, Rows(slot)), ours(parts, Rows()))  # B starts at zero
    for name, parameter in parts.model.named_parameters():
        if name.endswith(".b"):
            torch.nn.init.normal_(parameter.data, std=0.3)
    write_adapter(tmp_path / "adapter", parts.model, slot, parts.table, base="base")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # peft warns of keys that are missing or left over
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings=True`")
        tuned = PeftModel.from_pretrained(reference, tmp_path / "adapter").eval()
    want = theirs(tuned)
    assert (ours(parts, Rows(slot)) - want).abs().max() < 1e-4
    assert (ours(parts, Rows()) - want).abs().max() > 1e-2


def test_rows_of_one_batch_use_adapters_of_their_own() -> None:
    spec, model = tiny()
    table = name_table(spec)
    slots = [
        attach(model, table, rank=2, alpha=4, targets=t, seed=s)
        for s, t in enumerate([["q_proj", "up_proj"], ["v_proj", "up_proj", "lm_head"]])
    ]
    for name, parameter in model.named_parameters():
        if name.endswith(".b"):
            torch.nn.init.normal_(parameter.data, std=0.5)
    ids = torch.randint(61, (30,), generator=torch.Generator().manual_seed(0))

    def run(ids: torch.Tensor, lengths: list[int], rows: Rows) -> torch.Tensor:
        ctx = Segments(lengths, rows=rows)
        with torch.no_grad():
            return model.head(model(ids, ctx.positions, ctx), ctx.rows)

    owner = torch.tensor([slots[0]] * 10 + [-1] * 10 + [slots[1]] * 10)
    mixed = run(ids, [10, 10, 10], Rows(owner))
    for at, adapter in ((0, slots[0]), (10, None), (20, slots[1])):
        alone = run(ids[at : at + 10], [10], Rows(adapter))
        assert (mixed[at : at + 10] - alone).abs().max() < 1e-5
    bare = run(ids, [10, 10, 10], Rows())
    assert (mixed - bare)[:10].abs().max() > 1e-2
    assert (mixed - bare)[20:].abs().max() > 1e-2


def test_an_adapter_with_a_head_of_its_own_is_refused(tmp_path: Path) -> None:
    save_tiny(tmp_path / "base")
    parts = load_parts(tmp_path / "base", device="cpu")
    slot = attach(parts.model, parts.table, rank=2, alpha=4, targets=["lm_head"])
    write_adapter(tmp_path / "adapter", parts.model, slot, parts.table, base="base")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = read_tensors(file)
    head = parts.model.output.weight
    assert head is not None
    for shift, fits in ((0.0, True), (0.5, False)):
        whole = {**tensors, "base_model.model.lm_head.base_layer.weight": head.detach() + shift}
        save_tensors(file, {n: (t.dtype, tuple(t.shape)) for n, t in whole.items()}, whole.items())
        if fits:
            assert load_parts(tmp_path / "base", adapter=tmp_path / "adapter").adapter == 0
        else:
            with pytest.raises(AdapterError, match="no part of a LoRA update"):
                load_parts(tmp_path / "base", adapter=tmp_path / "adapter")


def test_only_the_adapter_is_trained() -> None:
    spec, model = tiny()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    slot = attach(model, name_table(spec), rank=2, alpha=4)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert all(".updates." in name for name in trained)
    from puna.data import Encoded

    row = Encoded(torch.arange(10, dtype=torch.int32), torch.ones(10, dtype=torch.bool))
    train(model, [row] * 4, Settings(epochs=3, batch_size=2), rows=Rows(slot))
    for name, parameter in model.named_parameters():
        if name in before:
            assert torch.equal(parameter, before[name])
        else:
            assert parameter.abs().max() > 0


def test_an_expert_can_be_adapted(tmp_path: Path) -> None:
    next(f for f in FORMS if f.id == "mixtral-8x2").make(tmp_path / "base")
    parts = load_parts(tmp_path / "base", device="cpu")
    slot = attach(parts.model, parts.table, rank=2, alpha=4, targets=["w2"])
    for name, parameter in parts.model.named_parameters():
        if name.endswith(".b"):
            torch.nn.init.normal_(parameter.data, std=0.3)
    want = ours(parts, Rows(slot))
    write_adapter(tmp_path / "adapter", parts.model, slot, parts.table, base="base")
    again = load_parts(tmp_path / "base", adapter=tmp_path / "adapter", device="cpu")
    assert torch.equal(ours(again, Rows(again.adapter)), want)
    assert (want - ours(parts, Rows())).abs().max() > 1e-3


def test_experts_of_one_tensor_are_no_targets(tmp_path: Path) -> None:
    from peft import PeftModel

    reference = next(f for f in FORMS if f.id == "gpt-oss").make(tmp_path / "base")
    parts = load_parts(tmp_path / "base", device="cpu")
    with pytest.raises(AdapterError, match="gate_up_proj"):
        attach(parts.model, parts.table, rank=2, alpha=4, targets=["gate_up_proj"])
    slot = attach(parts.model, parts.table, rank=2, alpha=4)
    adapted = {
        n.rpartition(".updates")[0] for n, p in parts.model.named_parameters() if p.requires_grad
    }
    assert {name.partition("attn.")[2] for name in adapted} == {
        "project.q",
        "project.k",
        "project.v",
        "out",
    }
    for name, parameter in parts.model.named_parameters():
        if name.endswith(".b"):
            torch.nn.init.normal_(parameter.data, std=0.3)
    write_adapter(tmp_path / "adapter", parts.model, slot, parts.table, base="base")
    tuned = PeftModel.from_pretrained(reference, tmp_path / "adapter").eval()
    assert (ours(parts, Rows(slot)) - theirs(tuned)).abs().max() < 1e-4


def test_an_adapter_of_transposed_maps_says_so(tmp_path: Path) -> None:
    next(f for f in FORMS if f.id == "gpt2-6-heads").make(tmp_path / "base")
    parts = load_parts(tmp_path / "base", device="cpu")
    slot = attach(parts.model, parts.table, rank=2, alpha=4, targets=["c_attn"])
    write_adapter(tmp_path / "adapter", parts.model, slot, parts.table, base="base")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["fan_in_fan_out"] is True
    assert config["target_modules"] == ["c_attn"]


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Path]:
    """A base folder and an adapter folder that fits it."""
    save_tiny(tmp_path / "base")
    parts = load_parts(tmp_path / "base")
    slot = attach(parts.model, parts.table, rank=2, alpha=4, targets=["q_proj"])
    write_adapter(tmp_path / "adapter", parts.model, slot, parts.table, base="base")
    return tmp_path / "base", tmp_path / "adapter"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"peft_type": "IA3"}, "IA3"),
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "biases"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"r": 0}, "r must"),
        ({"lora_alpha": None}, "lora_alpha"),
        ({"brand_new_key": 1}, "brand_new_key"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4"),
        ({"init_lora_weights": "olora"}, "changes the base"),
    ],
    ids=str,
)
def test_other_kinds_are_refused_by_name(
    made: tuple[Path, Path], change: dict[str, Any], named: str
) -> None:
    base, adapter = made
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | change))
    with pytest.raises(AdapterError, match=named):
        load_parts(base, adapter=adapter)


def test_scale_rules(made: tuple[Path, Path]) -> None:
    base, adapter = made
    config = json.loads((adapter / "adapter_config.json").read_text())

    def scale(**change: Any) -> set[float]:
        (adapter / "adapter_config.json").write_text(json.dumps(config | change))
        parts = load_parts(base, adapter=adapter)
        return {
            round(m.scale, 4)
            for m in parts.model.modules()
            if hasattr(m, "scale") and hasattr(m, "a")
        }

    assert scale() == {2.0}
    assert scale(use_rslora=True) == {2.8284}
    assert scale(alpha_pattern={"layers.0.self_attn.q_proj": 10}) == {2.0, 5.0}
    assert scale(alpha_pattern={"^model.layers.0.self_attn.q_proj": 10}) == {2.0, 5.0}
    assert scale(alpha_pattern={"^layers.0.self_attn.q_proj": 10}) == {2.0}


def test_an_adapter_of_another_model_is_refused(made: tuple[Path, Path], tmp_path: Path) -> None:
    _, adapter = made
    save_tiny(tmp_path / "wider", hidden_size=48)
    with pytest.raises(AdapterError, match=r"q_proj.*shapes"):
        load_parts(tmp_path / "wider", adapter=adapter)
    save_tiny(tmp_path / "shallow", num_hidden_layers=1)
    with pytest.raises(AdapterError, match=r"layers.1.self_attn.q_proj"):
        load_parts(tmp_path / "shallow", adapter=adapter)


def test_broken_folders(made: tuple[Path, Path], tmp_path: Path) -> None:
    base, adapter = made
    with pytest.raises(SourceError):
        load_parts(base, adapter=tmp_path / "nowhere")
    weights = adapter / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-7])
    with pytest.raises(FormatError):
        load_parts(base, adapter=adapter)
    weights.unlink()
    with pytest.raises(SourceError, match="no weights"):
        load_parts(base, adapter=adapter)
    weights.write_bytes(whole)
    (adapter / "adapter_config.json").write_text("{")
    with pytest.raises(PunaError):
        load_parts(base, adapter=adapter)


def test_targets_that_are_not_there() -> None:
    spec, model = tiny()
    with pytest.raises(AdapterError, match="query_key_value"):
        attach(model, name_table(spec), rank=2, alpha=2, targets=["query_key_value"])
    with pytest.raises(AdapterError, match="rank 0"):
        attach(model, name_table(spec), rank=0, alpha=2)
    assert isinstance(model, Decoder)
    assert not any(".updates." in name for name, _ in model.named_parameters())
