"""`puna plan` as people and programs read it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from puna.cli.app import main
from puna.cli.show import out
from tests.unit.tiny import LLAMA

TINY = "a folder with nothing but a config"


@pytest.fixture(autouse=True)
def no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def told(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    main(["plan", *argv, "--json"])
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    return facts


def shown(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    main(["plan", *argv])
    return capsys.readouterr().out


def failure(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(["plan", *argv])
    assert caught.value.code in {1, 2}
    text = capsys.readouterr().err
    assert "Traceback" not in text
    return text


def test_a_large_model_without_connection_or_download(capsys: pytest.CaptureFixture[str]) -> None:
    facts = told(capsys, "falcon-180b", "--device", "80GB")
    assert facts["place"] == "known"
    assert facts["parameters"] == 179_522_565_120
    assert facts["fits"] is False
    assert facts["lines"]["weights"] >= 2 * facts["parameters"]
    assert facts["total"] == sum(facts["lines"].values()) > facts["capacity"] == 80 * 10**9
    counts = {fleet["device"]: fleet["count"] for fleet in facts["devices"]}
    memories = [fleet["memory"] for fleet in facts["devices"]]
    assert memories == sorted(memories)
    assert list(counts.values()) == sorted(counts.values(), reverse=True)
    for fleet in facts["devices"]:
        assert fleet["total"] <= fleet["memory"]
        assert fleet["count"] * fleet["memory"] > facts["lines"]["weights"]
    assert counts["H100 SXM 80 GB"] == next(
        option["machines"] for option in facts["options"] if option["machines"] > 1
    )
    assert any(note.startswith("to download: 359 GB; the disk") for note in facts["notes"])
    assert any("offline mode is on" in note for note in facts["notes"])


def test_the_number_of_devices_it_names_fits(capsys: pytest.CaptureFixture[str]) -> None:
    most = told(capsys, "mixtral", "--device", "l40s")
    (count,) = [f["count"] for f in most["devices"] if f["device"] == "L40S"]
    enough = told(capsys, "mixtral", "--device", "l40s", "--machines", str(count))
    fewer = told(capsys, "mixtral", "--device", "l40s", "--machines", str(count - 1))
    assert (enough["fits"], fewer["fits"]) == (True, False)
    assert any("Puna does not run split models yet" in note for note in enough["notes"])


def test_what_fits_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    facts = told(capsys, "cria", "--device", "cpu")
    assert facts["fits"] is True
    assert facts["place"] == "disk"
    assert facts["options"] == facts["devices"] == []
    assert facts["use"] == {"context": 512, "batch": 1, "chunk": 2048, "cache": "auto"}
    assert facts["cost"] is None
    text = shown(capsys, "cria", "--device", "16GB")
    assert "fits: it needs" in text
    assert "devices that hold it" not in text


def test_every_flag_reaches_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--for", "tune", "--rank", "4", "--batch-tokens", "1024", "--context", "256")
    facts = told(capsys, "cria", "--device", "8GB", *flags, "--targets", "q_proj")
    assert facts["use"] == {
        "method": "lora",
        "context": 256,
        "batch_tokens": 1024,
        "rank": 4,
        "targets": ["q_proj"],
    }
    assert {"gradients", "optimizer", "adapter"} <= set(facts["lines"])
    full = told(capsys, "cria", "--device", "8GB", "--for", "tune", "--method", "full")
    assert full["lines"]["optimizer"] > facts["lines"]["optimizer"]
    assert full["use"]["context"] == 512  # of a model whose context is less than 2048
    large = told(capsys, "llama3-8b", "--device", "8GB", "--for", "tune")
    assert large["use"]["context"] == 2048
    wide = told(capsys, "cria", "--device", "8GB", "--dtype", "float32", "--batch", "3")
    assert wide["dtype"] == "float32"
    assert wide["use"]["batch"] == 3


def test_a_config_alone_and_its_unknown_keys(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, "mystery": 1}))
    assert "mystery" in failure(capsys, str(tmp_path))
    facts = told(capsys, str(tmp_path), "--ignore-key", "mystery", "--device", "1GB")
    assert facts["files"] == 0
    assert facts["fits"] is True


def test_time_energy_and_price(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--device", "h100", "--tokens", "8M:2M", "--vendor", "Example:$3/$15")
    facts = told(capsys, "llama3-8b", *flags, "--kwh-price", "0.5", "--batch", "8")
    cost = facts["cost"]
    assert cost["tokens"] == {"read": 8_000_000, "written": 2_000_000}
    assert cost["seconds"] == cost["read_seconds"] + cost["write_seconds"]
    assert cost["electricity"] == pytest.approx(cost["kwh"] * 0.5)
    (vendor,) = cost["vendors"]
    assert vendor["price"] == pytest.approx(8 * 3 + 2 * 15)
    assert vendor["saved"] == pytest.approx(vendor["price"] - cost["electricity"])
    hours = cost["seconds"] / 3600
    assert vendor["saved_per_device_hour"] == pytest.approx(vendor["saved"] / hours)
    text = shown(capsys, "llama3-8b", *flags)
    assert "Example" in text
    assert "$54.00" in text
    assert "published peaks" in text


def test_time_is_that_of_as_many_devices_as_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    facts = told(capsys, "bloom", "--device", "h100", "--tokens", "1M")
    assert facts["fits"] is False
    (count,) = [f["count"] for f in facts["devices"] if f["device"].startswith("H100")]
    assert facts["cost"]["machines"] == count > 1
    assert "Puna does not run split models yet" in facts["notes"]


def test_tuning_counts_every_token_alike(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--for", "tune", "--device", "l4", "--tokens", "4M", "--vendor", "Example:3/15")
    facts = told(capsys, "cria", *flags)
    assert facts["cost"]["tokens"] == {"read": 4_000_000, "written": 0}
    assert facts["cost"]["vendors"][0]["price"] == pytest.approx(12)
    text = shown(capsys, "cria", *flags)
    assert "time reading" not in text
    assert re.search(r"time +[\d.]+ seconds", text)


def test_time_that_cannot_be_told_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    facts = told(capsys, "cria", "--device", "4GB", "--tokens", "1M")
    assert facts["cost"] is None
    assert any("no time: the rates of a device of 4GB" in note for note in facts["notes"])
    here = told(capsys, "cria", "--device", "cpu", "--tokens", "1M", "--watts", "65")
    assert here["cost"]["kwh"] == pytest.approx(65 * here["cost"]["seconds"] / 3.6e6)
    assert any("measured here" in note for note in here["notes"])
    vast = told(capsys, "falcon-180b", "--device", "cpu", "--tokens", "1M")
    assert "no time: it does not fit" in vast["notes"]


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (("nowhere",), "there is no model 'nowhere'"),
        (("org/nowhere",), "offline mode is on"),
        (("cria", "--device", "abacus"), "is no device that is known"),
        (("cria", "--context", "0"), "context must be a whole number above 0"),
        (("cria", "--context", "100000"), "100,000"),
        (("cria", "--machines", "0"), "0 devices"),
        (("cria", "--tokens", "lots"), "is no number of tokens"),
        (("cria", "--vendor", "x"), "is no price"),
        (("cria", "--watts", "-1"), "watts must be a number above 0"),
        (("cria", "--kwh-price", "nan"), "kwh-price must be a number above 0"),
        (("cria", "--vendor", "a:$1/$2", "--vendor", "b:1 EUR/2 EUR"), "cannot be compared"),
        (("cria", "--for", "tune", "--targets", "nothing_proj"), "nothing_proj"),
        (("cria", "--for", "juggle"), "juggle"),
    ],
)
def test_errors_name_the_thing(
    capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], reason: str
) -> None:
    assert reason in failure(capsys, *argv)


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr(out, "_width", width)
    flags = ("--tokens", "10M", "--vendor", "A vendor with a long name:$3/$15")
    text = shown(capsys, "falcon-180b", "--device", "h100", *flags)
    assert "…" not in text
    assert "does not fit: it needs" in text
    for name in ("weights", "KV cache", "activations", "in all", "devices that hold it"):
        assert name in text
    (bar,) = re.findall(r"in all.*?(█+|#+)", text)
    assert len(bar) == 20
