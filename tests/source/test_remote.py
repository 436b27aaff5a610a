"""Headers of a hub's models: what comes over the wire, and what a hub cannot make of it."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest

from puna.errors import FormatError, PunaError, SourceError, UsageError
from puna.formats import read_header, write_header
from puna.loading import load_parts
from puna.package import export_gguf
from puna.plan.sketch import Found, look_up, sketch
from puna.source import outline, remote
from tests.attacks.checks import check_message
from tests.hub import Hub
from tests.source.conftest import Puna, said
from tests.unit.tiny import save_tiny

SCALING = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def header_bytes(file: bytes) -> int:
    return 8 + int(struct.unpack("<Q", file[:8])[0])


def same(far: Found, folder: Path) -> None:
    """The sketch of the hub's model is that of the same files on the disk."""
    near = sketch(folder)
    assert far.place == "hub"
    for name in ("spec", "form", "stored", "dtype", "files"):
        assert getattr(far.sketch, name) == getattr(near, name), name


def test_not_one_byte_of_weights_comes(
    hub: Hub, tiny_files: dict[str, bytes], tmp_path: Path
) -> None:
    hub.add("org/tiny", tiny_files)
    far = look_up("org/tiny")
    same(far, saved(tmp_path / "near", tiny_files, "config.json", "model.safetensors"))
    wanted = len(tiny_files["config.json"]) + header_bytes(tiny_files["model.safetensors"])
    assert hub.sent == far.fetched == wanted
    assert wanted < len(tiny_files["model.safetensors"]) / 4
    assert far.sketch.name == "org/tiny"


def saved(folder: Path, files: dict[str, bytes], *names: str) -> Path:
    """Write some of a model's files, or all, into a folder."""
    folder.mkdir()
    for name in names or files:
        (folder / name).write_bytes(files[name])
    return folder


def test_shards_are_read_by_their_index(
    hub: Hub, tiny_files: dict[str, bytes], tmp_path: Path
) -> None:
    files = sharded(tiny_files, tmp_path)
    folder = saved(tmp_path / "shards", files)
    hub.add("org/shards", {**files, "other.safetensors": b"of another model"})
    seen: list[tuple[int, int, str]] = []
    far = look_up("org/shards", on_file=lambda *at: seen.append(at))
    same(far, folder)
    shards = [data for name, data in files.items() if name.startswith("model-")]
    small = len(files["config.json"]) + len(files["model.safetensors.index.json"])
    assert hub.sent == small + sum(map(header_bytes, shards))
    assert [done for done, _, _ in seen] == list(range(1, 2 + len(shards)))
    assert {total for _, total, _ in seen} == {1 + len(shards)}


def sharded(files: dict[str, bytes], scratch: Path) -> dict[str, bytes]:
    """Return a model's files with each tensor in a shard of its own."""
    whole = scratch / "whole.safetensors"
    whole.write_bytes(files["model.safetensors"])
    made, index = {"config.json": files["config.json"]}, {}
    for number, (name, ref) in enumerate(read_header(whole).items()):
        shard = f"model-{number}.safetensors"
        data = files["model.safetensors"][slice(*ref.span)]
        made[shard] = write_header({name: (ref.dtype, ref.shape)}) + data
        index[name] = shard
    return made | {"model.safetensors.index.json": json.dumps({"weight_map": index}).encode()}


def test_a_model_of_a_terabyte_takes_no_room(hub: Hub, tiny_files: dict[str, bytes]) -> None:
    head = write_header({"vast": ("BF16", (500_000, 1_000_000))})
    hub.add("org/vast", {"config.json": tiny_files["config.json"], "model.safetensors": head})
    hub.faults.sizes["model.safetensors"] = len(head) + 10**12
    with outline("org/vast") as seen:
        held = seen.source.path / "model.safetensors"
        assert held.stat().st_size == len(head) + 10**12
        assert held.stat().st_blocks * 512 < 1 << 20
        assert seen.total > 10**12 > 10**5 > seen.fetched
        folder = seen.source.path
    assert not folder.exists()
    assert look_up("org/vast").sketch.stored == {"BF16": 5 * 10**11}


@pytest.mark.parametrize("first", [64, 1000, 1 << 20])
def test_a_gguf_header_is_read_until_it_is_whole(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    monkeypatch.setattr(remote, "_FIRST", first)
    (tmp_path / "model").mkdir()
    save_tiny(tmp_path / "model", rope_scaling=SCALING, num_hidden_layers=6, vocab_size=3000)
    path = tmp_path / "m-Q8_0.gguf"
    export_gguf(load_parts(tmp_path / "model", device="cpu"), path, "q8_0", insist=False)
    hub.add("org/many", {path.name: path.read_bytes(), "m-Q4_0.gguf": b"GGUF another"})
    far = look_up("org/many:Q8_0")
    same(far, path)  # its rope too, which a small tensor among the weights tells
    assert hub.sent == far.fetched
    assert first > 1000 or hub.sent < path.stat().st_size / 4
    with pytest.raises(SourceError, match="2 GGUF models, and none is picked"):
        look_up("org/many")
    with pytest.raises(UsageError, match="no GGUF files here are 'Q5_K'"):
        look_up("org/many:Q5_K")


def test_a_split_gguf_is_one_model(hub: Hub, tmp_path: Path) -> None:
    import gguf
    import numpy as np

    from tests.unit.test_gguf_llama import llama_file

    made = llama_file(tmp_path / "whole.gguf")
    names = list(made)
    for number, part in enumerate((names[:6], names[6:])):
        path = tmp_path / "split" / f"m-{number + 1:05d}-of-00002.gguf"
        path.parent.mkdir(exist_ok=True)
        tensors = {name: made[name] for name in part}

        def more(writer: gguf.GGUFWriter, number: int = number) -> None:
            writer.add_uint16("split.no", number)
            writer.add_uint16("split.count", 2)
            writer.add_int32("split.tensors.count", len(made))

        assert all(isinstance(value, np.ndarray) for value in tensors.values())
        llama_file(path, more=more, drop=tuple(set(names) - set(part)))
    files = {path.name: path.read_bytes() for path in (tmp_path / "split").iterdir()}
    hub.add("org/split", files)
    same(look_up("org/split"), tmp_path / "split" / "m-00001-of-00002.gguf")


def test_pickles_are_told_by_their_size(
    hub: Hub, tiny_files: dict[str, bytes], tmp_path: Path
) -> None:
    config = tiny_files["config.json"]
    data = b"\0" * len(tiny_files["model.safetensors"])
    hub.add("org/pickle", {"config.json": config, "pytorch_model.bin": data})
    far = look_up("org/pickle")
    assert hub.sent == len(config)
    assert (far.sketch.form, far.sketch.dtype) == ("bin", "float32")


def test_a_hub_that_sends_no_ranges(hub: Hub, tiny_files: dict[str, bytes]) -> None:
    hub.add("org/tiny", tiny_files)
    hub.faults.ignore_range = True
    assert look_up("org/tiny").sketch.stored["F32"] > 0


def test_what_broke_off_is_asked_for_again(hub: Hub, tiny_files: dict[str, bytes]) -> None:
    hub.add("org/tiny", tiny_files)
    hub.faults.statuses["/storage/"] = [503, 503]
    assert look_up("org/tiny").place == "hub"


LIE = struct.pack("<Q", 1 << 60) + b"{}"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"model.safetensors": LIE}, "says its header has 1152921504606846976 bytes"),
        ({"model.safetensors": b"\2\0\0\0\0\0\0\0[]"}, "its header is not a JSON object"),
        ({"model.safetensors": b"\1"}, "too few for a header"),
        ({"model.safetensors": b""}, "too few for a header"),
        ({"m.gguf": b"GGUF"}, "does not begin with GGUF"),
        ({"m.gguf": b"GGUF" + b"\3" + b"\0" * 3 + b"\xff" * 64}, "do not fit"),
        ({"m.gguf": b"JUNK" * 3_000_000}, "does not begin with GGUF"),
        ({"m.gguf": b"GGUF\3\0\0\0" + b"\1" + b"\0" * 9_000_000}, "is not a sound GGUF file"),
        ({"model.safetensors.index.json": b"[]"}, "index of the weights must be a JSON object"),
        (
            {"model.safetensors.index.json": b'{"weight_map": {"a": "../../x.safetensors"}}'},
            "leads out of its folder",
        ),
        ({"config.json": b"[1", "model.safetensors": b"\2\0\0\0\0\0\0\0{}"}, "is not JSON"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_hostile_files_are_refused(
    hub: Hub, tiny_files: dict[str, bytes], files: dict[str, bytes], reason: str
) -> None:
    first = {} if "m.gguf" in files else {"config.json": tiny_files["config.json"]}
    hub.add("org/bad", {**first, **files})
    with pytest.raises(PunaError) as caught:
        look_up("org/bad")
    check_message(caught.value, reason)
    assert "/puna-" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("model.safetensors", 1 << 62),
        ("m.gguf", 1 << 62),
        ("config.json", 1 << 62),
        ("pytorch_model.bin", 1 << 70),
    ],
)
def test_sizes_that_no_disk_has(
    hub: Hub, tiny_files: dict[str, bytes], name: str, size: int
) -> None:
    beside = {
        "m.gguf": {},
        "config.json": {"model.safetensors": tiny_files["model.safetensors"]},
    }.get(name, {"config.json": tiny_files["config.json"]})
    hub.add("org/huge", {**beside, name: LIE})
    hub.faults.sizes[name] = size
    with pytest.raises(PunaError) as caught:
        look_up("org/huge")
    assert 1 <= len(str(caught.value).splitlines()) <= 3
    assert hub.sent < 10_000


def test_a_config_that_is_not_the_announced_one(hub: Hub, tiny_files: dict[str, bytes]) -> None:
    hub.add("org/tiny", tiny_files)
    hub.faults.digests["config.json"] = "1" * 40
    with pytest.raises(FormatError, match="digest differs"):
        look_up("org/tiny")


def test_what_is_no_model(hub: Hub, tiny_files: dict[str, bytes]) -> None:
    hub.add("org/lora", {"adapter_config.json": b"{}", "adapter_model.safetensors": LIE[:8]})
    with pytest.raises(PunaError):
        look_up("org/lora")
    head = write_header({"x": ("F32", ())})
    hub.add(
        "org/lora2", {"adapter_config.json": b"{}", "adapter_model.safetensors": head + b"1234"}
    )
    with pytest.raises(SourceError, match="is an adapter") as caught:
        look_up("org/lora2")
    assert "plan its base model" in str(caught.value)
    hub.add("org/bare", {"model.safetensors": head + b"1234"})
    with pytest.raises(SourceError, match="has no config"):
        look_up("org/bare")
    with pytest.raises(SourceError, match="there is no model org/nowhere"):
        look_up("org/nowhere")
    with pytest.raises(SourceError, match="there is no model 'nonsense'"):
        look_up("nonsense")


def test_offline_and_closed_hubs(
    hub: Hub, tiny_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/tiny", tiny_files)
    with pytest.raises(SourceError, match=r"there is no model .* on this disk"):
        look_up("org/tiny", pull_headers=False)
    hub.close()
    with pytest.raises(SourceError, match="no connection"):
        look_up("org/tiny")
    far = look_up("falcon-180b")
    assert far.place == "known"
    assert any("no connection" in note for note in far.notes)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SourceError, match="offline mode is on"):
        look_up("org/tiny")
    assert look_up("mixtral").place == "known"
    asked = len(hub.asked)
    assert look_up("bloom", pull_headers=False).place == "known"
    assert len(hub.asked) == asked


def test_the_disk_goes_first_and_then_the_hub(hub: Hub, tiny_files: dict[str, bytes]) -> None:
    from puna.source import pull

    hub.add("mistralai/Mixtral-8x7B-Instruct-v0.1", tiny_files)
    assert look_up("mixtral").place in {"hub", "known"}
    hub.add("org/tiny", tiny_files)
    pull("org/tiny")
    sent = hub.sent
    assert look_up("org/tiny").place == "disk"
    assert hub.sent == sent


def test_the_command_plans_what_only_the_hub_has(
    hub: Hub, puna: Puna, tiny_files: dict[str, bytes]
) -> None:
    hub.add("org/tiny", tiny_files)
    done = puna("plan", "org/tiny", "--device", "2GB", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["place"], facts["fits"]) == ("hub", True)
    weights = len(tiny_files["model.safetensors"])
    assert hub.sent < weights == facts["files"] < facts["download"]
    (note,) = [note for note in facts["notes"] if note.startswith("to download")]
    assert "kB were read for this plan" in note
    assert not Path(os.environ["PUNA_HOME"]).exists()  # a plan leaves nothing behind
    assert "puna plan" not in said(puna("plan", "org/nowhere"))
