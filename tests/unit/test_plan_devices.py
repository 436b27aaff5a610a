"""Devices by name, by memory and as they are; memory that is free."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from puna.errors import UsageError
from puna.plan import Device
from puna.plan.devices import find_device, known_devices, measured
from puna.plan.memory import available_memory


def test_the_table_has_sound_figures() -> None:
    names = [device.name for device in known_devices().values()]
    assert len(names) == len(set(names)) >= 15
    for key, device in known_devices().items():
        assert find_device(key) == find_device(device.name) == device
        assert 8e9 <= device.memory <= 1e12, key
        assert device.bandwidth is not None
        assert 1e11 <= device.bandwidth <= 1e13, key
        # Data sheets of cards say all of it, and a second reads the memory 1 to 100 times over.
        assert device.kind == "cpu" or (device.flops and device.watts), key
        assert 1 <= device.bandwidth / device.memory <= 100, key
        if device.flops and device.watts:
            assert 1e11 <= device.flops / device.watts <= 3e12, key


@pytest.mark.parametrize(
    ("text", "memory"),
    [("24GB", 24e9), ("80GiB", 80 * 2**30), ("1.5 tb", 1.5e12), ("512m", 512e6), ("16 G", 16e9)],
)
def test_a_memory_is_a_device(text: str, memory: float) -> None:
    device = find_device(text)
    assert device.memory == int(memory)
    assert text.strip() in device.name
    assert (device.bandwidth, device.flops, device.watts) == (None, None, None)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("H100", "h100"),
        ("NVIDIA H100 SXM", "h100"),
        ("RTX 4090", "rtx4090"),
        ("geforce rtx-4090", "rtx4090"),
        ("A100 80", "a100-80"),
        ("mi300", "mi300x"),
        ("apple m2 ultra", "m2-ultra"),
        ("L4", "l4"),
    ],
)
def test_names_are_read_as_people_write_them(text: str, key: str) -> None:
    assert find_device(text) is known_devices()[key]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a100", "is several devices"),
        ("ultra", "is several devices"),
        ("abacus", "is no device that is known"),
        ("", "is no device that is known"),
        ("0x40", "is no device that is known"),
        ("-5GB", "is no device that is known"),
        ("cuda:99", "there is no device 'cuda:99' in this machine"),
        ("cuda:x", "there is no device 'cuda:x' in this machine"),
    ],
)
def test_what_is_no_device_says_so(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        find_device(text)
    assert len(str(caught.value).splitlines()) <= 3


def test_this_machine_is_what_it_is() -> None:
    here = find_device("cpu")
    assert here.kind == "cpu"
    whole = int(Path("/proc/meminfo").read_text().split()[1]) << 10
    assert 0 < here.memory <= whole
    if not torch.cuda.is_available():
        assert find_device("auto").name == here.name


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_card_says_what_is_free() -> None:
    card = find_device("cuda")
    assert card.kind == "cuda"
    assert 0 < card.memory <= torch.cuda.mem_get_info()[1]


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_processor_is_measured_by_its_products(dtype: str) -> None:
    here = measured(Device("this machine", 1), dtype)
    assert here.bandwidth is not None
    assert here.flops is not None
    # A row moves each weight for two operations, and many rows for hundreds: far more of them.
    rows = here.bandwidth / torch.empty(0, dtype=getattr(torch, dtype)).element_size() * 2
    assert here.flops > rows > 1e7


def proc(folder: Path, available: int, group: str) -> Path:
    (folder / "self").mkdir(parents=True)
    (folder / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable:   {available >> 10} kB\n")
    (folder / "self" / "cgroup").write_text(group)
    return folder


def group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name.replace("__", ".")).write_text(f"{value}\n")


def test_a_group_of_the_second_kind_limits(tmp_path: Path) -> None:
    system = proc(tmp_path / "proc", 8 << 30, "0::/jobs/mine\n")
    groups = tmp_path / "cgroup"
    assert available_memory(system, groups) == 8 << 30
    group(groups / "jobs" / "mine", memory__max="max", memory__current=1 << 30)
    assert available_memory(system, groups) == 8 << 30
    cold = "anon 1\ninactive_file 1073741824\nactive_file 7"
    group(groups / "jobs", memory__max=4 << 30, memory__current=3 << 30, memory__stat=cold)
    assert available_memory(system, groups) == 2 << 30
    group(groups / "jobs" / "mine", memory__max=2 << 30, memory__current=3 << 30)
    assert available_memory(system, groups) == 0


def test_a_group_of_the_first_kind_limits(tmp_path: Path) -> None:
    lines = "9:name=systemd:/\n4:cpu,memory:/box\n0::/\n"
    system, groups = proc(tmp_path / "proc", 8 << 30, lines), tmp_path / "cgroup"
    files = {"memory__limit_in_bytes": 3 << 30, "memory__usage_in_bytes": 2 << 30}
    group(groups / "memory" / "box", **files, memory__stat="total_inactive_file 1024")
    assert available_memory(system, groups) == (1 << 30) + 1024
    group(groups / "memory" / "box", memory__limit_in_bytes=(1 << 63) - 4096)
    assert available_memory(system, groups) == 8 << 30


def test_a_group_that_names_no_folder_limits_by_its_root(tmp_path: Path) -> None:
    system = proc(tmp_path / "proc", 8 << 30, "0::/../../elsewhere\n")
    groups = tmp_path / "cgroup"
    group(groups, memory__max=5 << 30, memory__current=0)
    assert available_memory(system, groups) == 5 << 30
