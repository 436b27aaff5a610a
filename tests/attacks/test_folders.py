"""Folders with links that lead out, pipes and devices, and archives in the place of a model."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import socket
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from puna.errors import FormatError, PunaError, SourceError
from puna.formats import check_folder, read_gguf, read_header
from puna.loading import load_parts
from puna.reading import text_of
from puna.source import resolve, resolve_adapter
from puna.source.cache import link_blob
from puna.text import open_tokenizer
from puna.weights import open_checkpoint, read_tensors
from tests.attacks.checks import check_message
from tests.unit.tiny import save_tiny

SECRET = "-----BEGIN OPENSSH PRIVATE KEY-----"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with a model, beside a file that is none of its business."""
    folder = tmp_path / "model"
    save_tiny(folder)
    (tmp_path / "id_rsa").write_text(SECRET)
    return folder


def refused(call: Callable[[], object], *said: str) -> None:
    """The call must refuse, in words that name the thing, and say nothing of the secret."""
    with pytest.raises(SourceError) as caught:
        call()
    for part in said:
        check_message(caught.value, part)
    assert caught.value.remedy
    assert SECRET not in str(caught.value)


# --- links -------------------------------------------------------------------------------------

NAMES = ("LICENSE", "README.md", "tokenizer.json", "generation_config.json", "chat_template.jinja")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("target", ["../id_rsa", "absolute", "/etc/passwd", "../../../etc"])
def test_a_link_that_leads_out_is_refused(name: str, target: str, model: Path) -> None:
    target = str(model.parent / "id_rsa") if target == "absolute" else target
    (model / name).symlink_to(target)
    said = (name, "a link that leads out", "→", "put the file itself")
    refused(lambda: resolve(model), *said)
    refused(lambda: load_parts(model, device="cpu"), *said)
    refused(lambda: text_of(model), *said)
    refused(lambda: open_tokenizer(model), *said)


def test_a_link_deeper_down_or_through_another_is_refused(model: Path) -> None:
    (model / "additional_chat_templates").mkdir()
    inner = model / "additional_chat_templates" / "tool_use.jinja"
    inner.symlink_to("../../id_rsa")
    refused(lambda: resolve(model), "tool_use.jinja", "leads out")
    inner.unlink()
    (model / "one").symlink_to("two")
    (model / "two").symlink_to("../id_rsa")
    refused(lambda: resolve(model), "'one'", "leads out")


def test_a_folder_that_is_a_link_out_is_refused(model: Path) -> None:
    (model / "additional_chat_templates").symlink_to("/etc")
    refused(lambda: resolve(model), "additional_chat_templates", "leads out")


def test_a_name_that_only_begins_like_the_folder_is_outside(model: Path) -> None:
    beside = model.with_name("model-of-others")
    beside.mkdir()
    (beside / "x").write_text("x")
    (model / "x").symlink_to("../model-of-others/x")
    refused(lambda: resolve(model), "leads out")


def test_an_adapter_with_a_link_out_is_refused(model: Path) -> None:
    folder = model.parent / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").symlink_to(model.parent / "id_rsa")
    refused(lambda: resolve_adapter(folder), "adapter_model.safetensors", "leads out")


def test_links_within_and_the_folder_itself_a_link_are_fine(model: Path) -> None:
    (model / "parts").mkdir()
    (model / "model.safetensors").rename(model / "parts" / "weights")
    (model / "model.safetensors").symlink_to("parts/weights")
    (model / "loose").symlink_to("nowhere")
    (model / ".hidden").symlink_to("/etc")
    link = model.with_name("by-another-name")
    link.symlink_to(model)
    assert load_parts(link, device="cpu").spec.width == 32


def test_a_snapshot_in_a_hub_s_cache_is_fine(model: Path) -> None:
    """As huggingface_hub lays it out; the same by id, by path, and with the blobs moved away."""
    storage = Path(os.environ["HF_HUB_CACHE"]) / "models--org--name"
    snapshot = storage / "snapshots" / ("0" * 40)
    for number, file in enumerate(sorted(model.iterdir())):
        blob = storage / "blobs" / f"{number:064x}"
        blob.parent.mkdir(parents=True, exist_ok=True)
        file.rename(blob)
        link_blob(blob, snapshot / file.name)
    (storage / "refs").mkdir()
    (storage / "refs" / "main").write_text("0" * 40)
    assert all(file.is_symlink() for file in snapshot.iterdir())
    assert resolve("org/name").path == snapshot
    assert load_parts(snapshot, device="cpu").spec.width == 32
    moved = model.parent / "large-disk"
    shutil.move(storage / "blobs", moved)
    (storage / "blobs").symlink_to(moved)
    assert resolve("org/name").path == snapshot
    (snapshot / "LICENSE").symlink_to("../../../../id_rsa")
    refused(lambda: resolve("org/name"), "LICENSE", "leads out")
    refused(lambda: resolve(snapshot), "LICENSE", "leads out")


def test_a_folder_that_only_looks_like_a_snapshot_reaches_its_blobs_alone(model: Path) -> None:
    snapshot = model / "models--a--b" / "snapshots" / "x"
    snapshot.mkdir(parents=True)
    (snapshot / "LICENSE").symlink_to("../../../../id_rsa")
    refused(lambda: check_folder(snapshot), "LICENSE", "leads out")


# --- pipes, sockets, devices -------------------------------------------------------------------


def pipe(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path may have some hundred characters only
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [pipe, unix_socket])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "LICENSE"])
def test_what_is_no_file_is_refused_and_never_opened(
    make: Callable[[Path], None], name: str, model: Path
) -> None:
    """A pipe that is opened would wait without end."""
    (model / name).unlink(missing_ok=True)
    make(model / name)
    said = (name, "pipe, socket or device")
    refused(lambda: resolve(model), *said)
    refused(lambda: text_of(model), *said)
    (model / name).rename(model / "within")
    (model / name).symlink_to("within")
    refused(lambda: resolve(model), *said)


@pytest.mark.parametrize("make", [pipe, unix_socket])
@pytest.mark.parametrize("name", ["model.gguf", "model.safetensors", "model"])
def test_a_pipe_as_the_model_itself(
    make: Callable[[Path], None], name: str, tmp_path: Path
) -> None:
    make(tmp_path / name)
    refused(lambda: resolve(tmp_path / name), "pipe, socket or device")
    with pytest.raises(PunaError):
        open_tokenizer(tmp_path / name)


def test_a_device_is_refused(model: Path) -> None:
    device(model / "tokenizer.json")
    refused(lambda: resolve(model), "tokenizer.json", "leads out")
    refused(lambda: resolve(Path("/dev/zero")), "pipe, socket or device")


# --- archives ----------------------------------------------------------------------------------


def tar(path: Path, inner: Path) -> None:
    with tarfile.open(path, "w:gz" if path.suffix in {".gz", ".tgz"} else "w") as archive:
        archive.add(inner, "model")


def zip_(path: Path, inner: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(inner / "config.json", "config.json")


def seven(path: Path, inner: Path) -> None:
    path.write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(60))


ARCHIVES = {
    "model.zip": zip_,
    "model.tar": tar,
    "model.tar.gz": tar,
    "model.tgz": tar,
    "model.7z": seven,
    "model.nemo": tar,
    "model": zip_,
    "weights": tar,
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_as_the_model_is_refused_by_name(name: str, model: Path) -> None:
    path = model.parent / name if name != "model" else model.parent / "packed"
    ARCHIVES[name](path, model)
    refused(lambda: resolve(path), path.name, "archive", "unpack it")


@pytest.mark.parametrize("name", [name for name in ARCHIVES if "." in name])
def test_a_folder_with_an_archive_for_its_weights_or_its_model(name: str, model: Path) -> None:
    ARCHIVES[name](model / name, model)
    (model / "model.safetensors").unlink()
    refused(lambda: open_checkpoint(model), name, "no weights", "unpack it")
    (model / "config.json").unlink()
    refused(lambda: resolve(model), name, "no config.json", "unpack it")


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda raw: b"\x28\xb5\x2f\xfd" + raw,
}


@pytest.mark.parametrize("kind", PACK)
def test_weights_that_are_packed_say_so(kind: str, tmp_path: Path) -> None:
    torch.save({"a": torch.ones(300)}, tmp_path / "plain")
    raw = PACK[kind]((tmp_path / "plain").read_bytes())
    readers = {"x.bin": read_tensors, "x.safetensors": read_header, "x.gguf": read_gguf}
    for name, read in readers.items():
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(FormatError) as caught:
            read(tmp_path / name)
        check_message(caught.value, f"a {kind} archive")


def test_a_tar_in_the_place_of_pickled_weights(model: Path) -> None:
    tar(model / "pytorch_model.bin", model / "config.json")
    with pytest.raises(FormatError) as caught:
        read_tensors(model / "pytorch_model.bin")
    check_message(caught.value, "a tar archive")
