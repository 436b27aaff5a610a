"""A hub that lies, refuses or is away: an error of three lines, and nothing of it is used."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from puna.errors import FormatError, PunaError, SourceError, UsageError
from puna.source import inventory, pull, resolve
from tests.hub import Hub
from tests.source.conftest import Puna, said

ATTACKS = Path(__file__).resolve().parents[1] / "attacks"
CLIMBING = json.loads((ATTACKS / "climbing_names.json").read_text())


@pytest.fixture
def tiny(hub: Hub, tiny_files: dict[str, bytes]) -> Hub:
    """Return a hub with a tiny model."""
    hub.add("org/tiny", tiny_files)
    return hub


def refused(error: type[PunaError], says: str) -> None:
    """Pull, and find an error of three lines and no trace of a model."""
    with pytest.raises(error, match=says) as caught:
        pull("org/tiny")
    assert len(str(caught.value).splitlines()) <= 3
    with pytest.raises(PunaError):
        resolve("org/tiny")
    assert {item.kind for item in inventory()} <= {"built in", "hub cache"}


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_lying_digest(tiny: Hub, name: str) -> None:
    tiny.faults.digests[name] = "0" * (64 if name.endswith("s") else 40)
    refused(FormatError, f"{name} is not what the hub announced")
    partials = list(Path(os.environ["PUNA_HOME"]).rglob("*.incomplete"))
    assert not [path for path in partials if path.name.startswith("000")]
    tiny.faults.digests.clear()
    assert pull("org/tiny").source.revision


@pytest.mark.parametrize("change", [-100, +100])
def test_a_lying_length(tiny: Hub, tiny_files: dict[str, bytes], change: int) -> None:
    tiny.faults.sizes["model.safetensors"] = len(tiny_files["model.safetensors"]) + change
    refused(FormatError, "sends more" if change < 0 else "less of a file|announced")


def test_another_body_of_the_same_length(tiny: Hub, tiny_files: dict[str, bytes]) -> None:
    tiny.faults.bodies["model.safetensors"] = bytes(len(tiny_files["model.safetensors"]))
    refused(FormatError, "is not what the hub announced")


def test_a_body_that_is_always_cut(tiny: Hub) -> None:
    tiny.faults.cut_after["model.safetensors"] = 0
    refused(SourceError, "no connection")


@pytest.mark.parametrize("name", CLIMBING)
def test_names_that_climb_out_are_refused(tiny: Hub, name: str) -> None:
    tiny.faults.extra_names = (name,)
    refused(FormatError, "out of its folder|not the name of a file")
    assert not tiny.paths("/resolve/")


def test_a_shard_that_climbs_out_is_refused(hub: Hub) -> None:
    index = b'{"weight_map": {"a": "../../../evil.safetensors"}}'
    hub.add("org/tiny", {"config.json": b"{}", "model.safetensors.index.json": index})
    refused(FormatError, "out of its folder")


@pytest.mark.parametrize("commit", ["../../evil", "main", "0" * 39, "A" * 40, ""])
def test_a_commit_that_is_none(tiny: Hub, commit: str) -> None:
    if commit:
        tiny.faults.commit = commit
        refused(FormatError, "is not a commit")


@pytest.mark.parametrize("digest", ["../../evil", "x" * 64, "0" * 39, ""])
def test_a_digest_that_is_none(tiny: Hub, digest: str) -> None:
    tiny.faults.digests["config.json"] = digest
    refused(FormatError, "digest")


def test_a_listing_without_digests_is_asked_for_again(
    tiny: Hub, tiny_files: dict[str, bytes]
) -> None:
    tiny.faults.bare_listing = True
    source = pull("org/tiny").source
    assert (source.path / "model.safetensors").read_bytes() == tiny_files["model.safetensors"]
    assert tiny.paths("/tree/")


def test_a_gated_model_says_what_to_do(hub: Hub, puna: Puna, tiny_files: dict[str, bytes]) -> None:
    hub.token = "secret"
    hub.add("org/gated", tiny_files, gated=True)
    error = said(puna("pull", "org/gated"))
    assert "org/gated is gated: its license must be accepted" in error
    assert "HF_TOKEN" in error
    assert f"{hub.endpoint}/org/gated" in error
    assert puna("pull", "org/gated", HF_TOKEN="secret").returncode == 0


def test_refusals_of_the_hub(tiny: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match=r"there is no model org/none, or it is private"):
        pull("org/none")
    for status, says in ((403, "this token may not"), (418, "the hub answers 418")):
        tiny.faults.statuses["/resolve/"] = [status] * 20
        refused(SourceError, says)
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(SourceError, match="does not accept the token"):
        pull("org/tiny")


@pytest.mark.parametrize("where", ["/api/models/", "/resolve/", "/storage/"])
def test_a_busy_hub_is_asked_again(tiny: Hub, where: str) -> None:
    tiny.faults.statuses[where] = [429, 503]
    assert pull("org/tiny").source.revision


def test_a_hub_that_stays_broken(tiny: Hub) -> None:
    for status in (500, 429):
        tiny.faults.statuses["/api/models/"] = [status] * 9
        refused(SourceError, f"the hub answers {status}")
    assert len(tiny.paths("/api/models/")) == 8


def test_no_hub_at_all(tiny: Hub, puna: Puna) -> None:
    error = said(puna("pull", "org/tiny", HF_ENDPOINT="http://127.0.0.1:9"))
    assert "no connection to the hub" in error
    assert "127.0.0.1:9" in error


def test_a_page_that_is_no_hub(tiny: Hub, puna: Puna) -> None:
    tiny.faults.statuses["/api/models/"] = [200] * 9
    assert "cannot be read" in said(puna("pull", "org/tiny"))


@pytest.mark.parametrize(
    "name",
    [
        "tiny",
        "a/b/c",
        "../evil/x",
        "org/..",
        "org/na me",
        "org/x@../y",
        "-rf/x",
        "org/x@",
        "org/a--b",
    ],
)
def test_what_is_no_id(name: str) -> None:
    with pytest.raises(UsageError, match="not the id of a model"):
        pull(name)


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_makes_no_connection(
    tiny: Hub, puna: Puna, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")
    tiny.asked.clear()
    for command in (["pull"], ["chat", "--pull", "--message", "hi"], ["inspect"], ["show"]):
        assert "org/tiny" in said(puna(command[0], "org/tiny", *command[1:]))
    assert tiny.asked == []
    with pytest.raises(SourceError, match="offline mode"):
        pull("org/tiny")


SOCKETLESS = """
import sys
def guard(event, args):
    if event.startswith("socket.") and event != "socket.__new__":
        raise RuntimeError(f"a socket was used: {event}")
sys.addaudithook(guard)
import puna
lm = puna.load("org/tiny")
print(len(lm.generate((1, 2, 3), max_tokens=3).ids))
from puna.cli import main
for argv in ("pull org/tiny", "list", "show org/tiny --verify", "inspect org/tiny"):
    main(argv.split())
"""


def test_what_was_pulled_works_without_a_socket(tiny: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    pull("org/tiny")
    tiny.asked.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", SOCKETLESS],
        env={**os.environ, "PYTHONPATH": str(root / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "all of it was here" in done.stdout
    assert tiny.asked == []
