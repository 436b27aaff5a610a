"""A seal travels with its model: to the hub and back, and what was changed there shows."""

from __future__ import annotations

from pathlib import Path

import pytest

import puna
from puna.errors import SealError
from puna.jobs import verify_model
from puna.source import pull
from tests.hub import Hub


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("sealed") / "cria"
    puna.load("cria", device="cpu").save(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_pulled_model_has_its_seal(hub: Hub, files: dict[str, bytes]) -> None:
    hub.add("org/sealed", files)
    pull("org/sealed")
    found = verify_model("org/sealed", device="cpu")
    assert found.verdict == "agrees"
    assert "files" in {check.name for check in found.checks}


def test_a_file_that_was_changed_on_the_hub_is_refused(hub: Hub, files: dict[str, bytes]) -> None:
    config = files["config.json"].replace(b"1e-05", b"1e-06")
    hub.add("org/sealed", {**files, "config.json": config})
    pull("org/sealed")
    with pytest.raises(SealError, match=r"eps: 1e-06, was 1e-05"):
        puna.load("org/sealed", device="cpu")


def test_a_go_template_is_pulled_too(hub: Hub, files: dict[str, bytes], tmp_path: Path) -> None:
    go = b"{{ range .Messages }}<|user|>{{ .Content }}{{ end }}<|assistant|>"
    kept = {
        n: body for n, body in files.items() if n not in {"chat_template.jinja", "puna.seal.json"}
    }
    hub.add("org/go", {**kept, "chat_template.gotmpl": go})
    pull("org/go")
    lm = puna.load("org/go", device="cpu")
    assert lm.template is not None
    assert lm.template.language == "go"
