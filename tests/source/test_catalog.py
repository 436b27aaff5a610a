"""The catalog: its shape, its counts, and the page that is made of it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from puna.source import bases, find_entry, known_models
from puna.source.names import parse_hub_name

ROOT = Path(__file__).resolve().parents[2]
LICENSES = {
    "Apache-2.0", "MIT", "CC-BY-NC-4.0", "llama1", "llama2", "llama3", "llama3.1", "llama3.2",
    "gemma", "bigscience-bloom-rail-1.0", "bigcode-openrail-m", "falcon-180b-license", "deepseek",
    "opt",
}  # fmt: skip
# Names in facts/models.md, in the order of its counts.
COUNTS = {
    "LLaMA-1/2 7B / 13B": ("llama-7b", "llama-13b"),
    "LLaMA-1 33B / 65B": ("llama-33b", "llama-65b"),
    "Llama-2-70B": ("llama2-70b",),
    "Llama-3-8B / 70B / 405B": ("llama3-8b", "llama3-70b", "llama3.1-405b"),
    "Llama-3.2-1B / 3B": ("llama3.2-1b", "llama3.2-3b"),
    "Mistral-7B v0.1 / v0.3": ("mistral-7b", "mistral"),
    "Mixtral 8x7B": ("mixtral",),
    "Falcon-7B": ("falcon-7b",),
    "Falcon-40B": ("falcon-40b",),
    "BLOOM-560m / 7b1 / 176B": ("bloom-560m", "bloom-7b", "bloom"),
    "GPT-NeoX-20B": ("gpt-neox-20b",),
    "Pythia 70m…12b": (
        "pythia-70m", "pythia-160m", "pythia-410m", "pythia-1b", "pythia-1.4b", "pythia-2.8b",
        "pythia-6.9b", "pythia-12b",
    ),
    "Gemma-2b / 7b": ("gemma-2b", "gemma-7b"),
}  # fmt: skip


def test_every_entry_has_the_shape() -> None:
    entries = known_models()
    assert len(entries) >= 40
    for name, entry in entries.items():
        assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name), name
        hub = parse_hub_name(entry.id)
        assert hub is not None, name
        assert (hub.revision, hub.pick) == (None, None)
        assert re.fullmatch(r"[a-z][a-z0-9_]*", entry.family), name
        assert entry.license in LICENSES, name
        assert entry.kind in {"model", "adapter"}
        assert entry.parameters is None or entry.parameters > 10**7, name
        assert entry.context is None or entry.context >= 1024, name
        for text in (entry.data, entry.good_for, entry.note or "."):
            assert text.strip() == text != "", name
            assert not text.endswith(".") or entry.note is None, name
        for base in bases(entry):
            assert parse_hub_name(base), name
        assert entry.kind == "model" or entry.base, name


def test_names_and_ids_are_unique() -> None:
    ids = [entry.id.lower() for entry in known_models().values()]
    assert len(set(ids)) == len(ids)
    assert not set(known_models()) & {"cria"}


def test_a_chain_of_bases_ends() -> None:
    zephyr = find_entry("HuggingFaceH4/zephyr-7b-beta")
    assert zephyr is not None
    assert list(bases(zephyr)) == ["mistralai/Mistral-7B-v0.1"]
    for entry in known_models().values():
        assert len(list(bases(entry))) < 4


def test_counts_are_those_of_the_facts(shared: Path) -> None:
    page = (shared / "facts" / "models.md").read_text()
    for row, names in COUNTS.items():
        line = next(line for line in page.splitlines() if line.startswith(f"| {row} |"))
        told = [int(n.replace(",", "")) for n in re.findall(r"\d[\d,]{9,}", line.split("|")[3])]
        for name in names:
            assert known_models()[name].parameters in told, name
    told = re.findall(r"\*\*(179,522,565,120) with lm_head", page)
    assert known_models()["falcon-180b"].parameters == int(told[0].replace(",", ""))


def test_counts_follow_from_dimensions(shared: Path) -> None:
    """Of families that are built here: counted by the spec, from published dimensions."""
    import json

    from puna.families import read_config
    from puna.spec import count_parameters

    rows = json.loads((shared / "data" / "configs" / "litgpt_configs.json").read_text())
    by_name = {row["hf_config"]["name"].replace("{}", ""): row for row in rows}
    for name, published, tied in (
        ("smollm2-135m", "SmolLM2-135M", True),
        ("smollm2-360m", "SmolLM2-360M", True),
        ("smollm2", "SmolLM2-1.7B", True),
        ("tinyllama", "TinyLlama-1.1B", False),
    ):
        row = by_name[published]
        config = {
            "model_type": "llama",
            "vocab_size": row.get("vocab_size") or row["padded_vocab_size"],
            "hidden_size": row["n_embd"],
            "intermediate_size": row["intermediate_size"],
            "num_hidden_layers": row["n_layer"],
            "num_attention_heads": row["n_head"],
            "num_key_value_heads": row["n_query_groups"],
            "tie_word_embeddings": tied,
        }
        assert count_parameters(read_config(config)) == known_models()[name].parameters, name


def test_the_page_is_made_of_the_data() -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "docs" / "make_models.py", "--print"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert made == (ROOT / "docs" / "models.md").read_text(), "run python docs/make_models.py"


@pytest.mark.parametrize("name", ["smollm2", "HuggingFaceTB/SmolLM2-1.7B-Instruct"])
def test_an_entry_is_found_by_name_and_by_id(name: str) -> None:
    entry = find_entry(name)
    assert entry is not None
    assert entry.name == "smollm2"
