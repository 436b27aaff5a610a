"""Planted faults, each caught: at load by a digest, and without digests by a figure."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

import puna
from puna.errors import SealError, UsageError
from puna.jobs import merge_adapter, verify_model
from puna.loading import load_parts
from puna.package import export_gguf, export_safetensors
from puna.seal import Check
from tests.seal import plant
from tests.seal.conftest import run


def look(checks: tuple[Check, ...], name: str) -> Check:
    return next(check for check in checks if check.name == name)


def spoiled(source: Path, folder: Path, fault: plant.Fault) -> Path:
    shutil.copytree(source, folder)
    fault(folder)
    return folder


def test_what_was_saved_agrees(sealed: Path) -> None:
    found = verify_model(sealed, device="cpu")
    assert found.verdict == "agrees"
    assert look(found.checks, "answers").figures["kl"] < 1e-9
    assert {check.name for check in found.checks} == {"files", "architecture", "prompts", "answers"}


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        (plant.another_template, "chat_template.jinja changed"),
        (plant.another_tokenizer, "tokenizer.json changed"),
        (plant.doubled_bos, "chat_template.jinja changed"),
        (plant.wrong_norm_epsilon, "final_norm.eps: 1e-06, was 1e-05"),
    ],
)
def test_a_load_refuses_other_text_and_config(
    fault: plant.Fault, named: str, sealed: Path, tmp_path: Path
) -> None:
    folder = spoiled(sealed, tmp_path / "m", fault)
    with pytest.raises(SealError, match=named):
        puna.load(folder, device="cpu")
    assert puna.load(folder, device="cpu", ignore_keys=("seal",)).spec.vocab == 2048


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (plant.another_template, "4 of 10 golden prompts have other ids"),
        (plant.another_tokenizer, r"\d of 10 golden prompts have other ids: .*, where it was"),
        (plant.doubled_bos, "token 1 stands twice"),
    ],
)
def test_golden_prompts_show_other_ids(
    fault: plant.Fault, said: str, sealed: Path, tmp_path: Path
) -> None:
    found = verify_model(spoiled(sealed, tmp_path / "m", fault), device="cpu")
    assert found.verdict == "differs"
    check = look(found.checks, "prompts")
    assert check.verdict == "differs"
    assert re.search(said, check.said), check.said
    # The weights are the same, and are found to be: they are run on the ids that were sealed.
    assert look(found.checks, "answers").figures["kl"] < 1e-9


@pytest.mark.parametrize(
    ("fault", "least"),
    [
        (plant.permuted_rotary_order, 0.3),
        (plant.transposed_weight, 0.3),
        (plant.swapped_layers, 0.1),
    ],
)
@pytest.mark.parametrize("dtype", ["auto", "float32"])
def test_golden_answers_show_other_weights(
    fault: plant.Fault, least: float, dtype: str, sealed: Path, tmp_path: Path
) -> None:
    folder = spoiled(sealed, tmp_path / "m", fault)
    found = verify_model(folder, device="cpu", dtype=dtype)  # type: ignore[arg-type]
    check = look(found.checks, "answers")
    assert check.verdict == "differs"
    assert check.figures["kl"] > least
    assert look(found.checks, "files").figures["changed"] == ["model.safetensors changed"]
    assert look(found.checks, "prompts").verdict == "agrees"


def test_the_architecture_shows_a_wrong_epsilon(sealed: Path, tmp_path: Path) -> None:
    folder = spoiled(sealed, tmp_path / "m", plant.wrong_norm_epsilon)
    check = look(verify_model(folder, device="cpu").checks, "architecture")
    assert check.verdict == "differs"
    assert "final_norm.eps: 1e-06, was 1e-05" in check.figures["differences"]
    # In float32 the answers alone show it, small as it is.
    wide = tmp_path / "wide"
    puna.load("cria", dtype="float32", device="cpu").save(wide)
    assert look(verify_model(wide, device="cpu").checks, "answers").figures["kl"] < 1e-9
    plant.wrong_norm_epsilon(wide)
    answers = look(verify_model(wide, device="cpu").checks, "answers")
    assert answers.verdict == "drifts"
    assert answers.figures["kl"] > 1e-6


def test_digests_show_what_no_prompt_can(sealed: Path, tmp_path: Path) -> None:
    found = verify_model(spoiled(sealed, tmp_path / "m", plant.one_changed_bit), device="cpu")
    assert look(found.checks, "answers").verdict == "agrees"
    assert look(found.checks, "files").verdict == "differs"
    assert found.verdict == "differs"


def test_an_adapter_that_was_saved_agrees(sealed: Path, adapter: Path) -> None:
    found = verify_model(sealed, adapter=adapter, device="cpu")
    assert found.verdict == "agrees"
    assert look(found.checks, "adapter").figures["kl"] > 1e-3
    assert look(found.checks, "answers with it").figures["kl"] < 1e-9


def test_an_adapter_alone_is_looked_at_with_the_base_it_names(
    sealed: Path, adapter: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="its base 'cria-of-mine' is not found") as caught:
        verify_model(named(adapter, tmp_path / "one", "cria-of-mine"), device="cpu")
    assert "--adapter" in (caught.value.remedy or "")
    found = verify_model(named(adapter, tmp_path / "two", str(sealed)), device="cpu")
    assert look(found.checks, "answers with it").verdict == "agrees"


def named(adapter: Path, folder: Path, base: str) -> Path:
    shutil.copytree(adapter, folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    body = json.dumps({**config, "base_model_name_or_path": base})
    (folder / "adapter_config.json").write_text(body)
    return folder


def test_an_adapter_for_another_base(sealed: Path, adapter: Path, tmp_path: Path) -> None:
    """The other base is of the same shape and name, and only its weights are others."""
    other = run(sealed, tmp_path, learning_rate=3e-3, seed=1) / "adapter"
    puna.load(sealed, adapter=other, device="cpu").save(tmp_path / "cria")
    found = verify_model(tmp_path / "cria", adapter=adapter, device="cpu")
    base = look(found.checks, "base")
    assert base.verdict == "differs"
    assert base.figures["kl"] > 0.05
    # The base itself is in order: what differs is that the adapter was not made for it.
    assert look(found.checks, "base itself").verdict == "agrees"


@pytest.mark.parametrize("fault", [plant.permuted_rotary_order, plant.transposed_weight])
def test_what_differs_gets_no_fresh_seal(fault: plant.Fault, sealed: Path, tmp_path: Path) -> None:
    """Not by saving, not by exporting, not by tuning: each runs the golden prompts first."""
    folder = spoiled(sealed, tmp_path / "m", fault)
    parts = load_parts(folder, device="cpu")
    for write in (
        lambda: puna.load(folder, device="cpu").save(tmp_path / "again"),
        lambda: export_gguf(parts, tmp_path / "m.gguf", "bf16"),
        lambda: export_safetensors(parts, tmp_path / "again"),
        lambda: run(folder, tmp_path),
    ):
        with pytest.raises(SealError, match="is not what was sealed; answers: KL"):
            write()
    assert not (tmp_path / "again").exists()
    assert not (tmp_path / "m.gguf").exists()
    assert not (tmp_path / "adapter").exists()
    puna.load(folder, device="cpu", ignore_keys=("seal",)).save(tmp_path / "again")


def test_a_merge_refuses_another_base_and_an_inert_adapter(
    sealed: Path, adapter: Path, tmp_path: Path
) -> None:
    other = run(sealed, tmp_path, learning_rate=3e-3, seed=1) / "adapter"
    puna.load(sealed, adapter=other, device="cpu").save(tmp_path / "cria")
    with pytest.raises(SealError, match="base: KL"):
        merge_adapter(tmp_path / "cria", adapter, tmp_path / "merged", device="cpu")
    inert = spoiled(adapter, tmp_path / "a", plant.inert_adapter)
    with pytest.raises(SealError, match="inert"):
        merge_adapter(sealed, inert, tmp_path / "merged", device="cpu")
    assert not (tmp_path / "merged").exists()


def test_an_inert_adapter(sealed: Path, adapter: Path, tmp_path: Path) -> None:
    folder = spoiled(adapter, tmp_path / "a", plant.inert_adapter)
    found = verify_model(sealed, adapter=folder, device="cpu")
    check = look(found.checks, "adapter")
    assert check.verdict == "differs"
    assert check.figures["kl_worst"] == 0.0
    assert "inert" in check.said
    assert look(found.checks, "answers with it").figures["kl"] > 1e-3


def test_a_run_that_moves_nothing_says_so(sealed: Path, tmp_path: Path) -> None:
    out = run(sealed, tmp_path, learning_rate=1e-30)
    record = json.loads((out / "run.json").read_text())
    assert any("inert" in remark for remark in record["remarks"])
    with pytest.raises(SealError, match="inert"):
        serve_check(sealed, out / "adapter")


def test_a_stop_token_that_was_not_trained(sealed: Path, tmp_path: Path) -> None:
    """The template writes an end that the base never saw, outside of what is learned."""
    base = tmp_path / "base"
    plant.unlearned_stop(sealed, base)
    found = verify_model(base, adapter=run(base, tmp_path) / "adapter", device="cpu")
    check = look(found.checks, "stop token")
    assert check.verdict == "differs"
    assert check.figures["probability"] < 0.01
    assert "answers will not end" in check.said


def test_a_stop_token_that_was_trained(sealed: Path, adapter: Path) -> None:
    check = look(verify_model(sealed, adapter=adapter, device="cpu").checks, "stop token")
    assert check.verdict == "agrees"
    assert check.figures["probability"] > 0.5


def serve_check(model: Path, adapter: Path) -> None:
    from puna.serve import serve

    lm = puna.load(model, adapter=adapter, device="cpu")

    def ready(_: str) -> None:
        pytest.fail("it serves")

    serve(lm, host="127.0.0.1", port=0, api_key="k" * 20, model_id="m", on_ready=ready)
