"""What a model would run on: this machine, a card in it, a stated memory, or a known device."""

from __future__ import annotations

import os
import re
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from puna.errors import UsageError
from puna.plan.memory import available_memory
from puna.plan.record import Device

_FILE = Path(__file__).with_name("devices.toml")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?)b?", re.I)
_UNITS = {"k": 1, "m": 2, "g": 3, "t": 4}
_MAKERS = re.compile(r"nvidia|geforce|amd|instinct|apple|radeon")
# Rows and columns of the product that is timed: 128 MiB of bfloat16, more than most caches hold.
_ROWS, _WIDTH = 16384, 4096
_TIMED = 0.12  # seconds for each of two figures


@cache
def known_devices() -> Mapping[str, Device]:
    """Return devices by short name, in the order of devices.toml."""
    tables = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return {name: _known(table) for name, table in tables.items()}


def find_device(text: str) -> Device:
    """Return the device that a user names.

    Args:
        text: `cpu` (this machine), `cuda` or `cuda:1` (a card in it), `auto` (the card if there is
            one), a memory such as `24GB` or `80GiB`, or a name of `known_devices`.

    Raises:
        UsageError: it is none of these, or there is no such card.
    """
    name = text.strip().lower()
    if name == "cpu":
        return Device(f"this machine ({os.cpu_count()} threads)", available_memory())
    if name == "auto" or name.partition(":")[0] == "cuda":
        return _card(name)
    if size := _SIZE.fullmatch(name):
        return Device(f"a device of {text.strip()}", int(float(size[1]) * _unit(size[2])), "cuda")
    wanted = _plain(name)
    known = {key: device for key, device in known_devices().items() if _means(wanted, key, device)}
    exact = [device for key, device in known.items() if _plain(key) == wanted]
    if len(exact or known) == 1:
        return exact[0] if exact else next(iter(known.values()))
    raise UsageError(
        f"{text!r:.60} is {'several devices' if known else 'no device that is known'}",
        remedy=f"cpu, cuda, a memory such as 24GB, or one of {', '.join(known or known_devices())}",
    )


def measured(device: Device, dtype: str) -> Device:
    """Return this machine's processor with bandwidth and rate as two of its products show them.

    One row times a large matrix is what decoding does, and many rows are what prefill does; both
    as the model computes them in that dtype. Takes about half a second.
    """
    import torch

    from puna.model.linear import product

    with torch.inference_mode():
        weights = torch.full((_ROWS, _WIDTH), 0.01, dtype=getattr(torch, dtype))
        one, many, part = weights[:1].clone(), weights[:256].clone(), weights[:_WIDTH]
        bandwidth = weights.nbytes / _best(lambda: product(one, weights, None))
        flops = 2 * many.shape[0] * part.numel() / _best(lambda: product(many, part, None))
    return replace(device, bandwidth=bandwidth, flops=flops)


def _best(call: Callable[[], object]) -> float:
    """Return the seconds of the fastest of several calls, the first of which only warms up."""
    call()
    best, end = float("inf"), time.perf_counter() + _TIMED
    while best == float("inf") or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def _card(name: str) -> Device:
    import torch

    if name == "auto" and not torch.cuda.is_available():
        return find_device("cpu")
    try:
        card = torch.device("cuda" if name == "auto" else name)
        free, _ = torch.cuda.mem_get_info(card)
        label = torch.cuda.get_device_name(card)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UsageError(
            f"there is no device {name!r:.20} in this machine",
            remedy="name one to plan for, such as 24GB or h100; or use cpu",
        ) from error
    known = [device for key, device in known_devices().items() if _plain(key) in _plain(label)]
    like = known[0] if len(known) == 1 else Device(label, free, "cuda")
    return replace(like, name=label, memory=free)


def _known(table: Mapping[str, object]) -> Device:
    def scaled(key: str, factor: float) -> float | None:
        value = table.get(key)
        return float(value) * factor if isinstance(value, int | float) else None

    return Device(
        str(table["name"]),
        int(scaled("memory", 1e9) or 0),
        "cpu" if table.get("kind") == "cpu" else "cuda",
        scaled("bandwidth", 1e9),
        scaled("flops", 1e12),
        scaled("watts", 1),
    )


def _unit(letters: str) -> int:
    base = 1024 if letters.lower().endswith("i") else 1000
    return int(base ** _UNITS[letters[0].lower()])


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", _MAKERS.sub("", text.lower()))


def _means(wanted: str, key: str, device: Device) -> bool:
    """Return whether a name is the short one or a part of the long one."""
    return len(wanted) > 1 and (wanted in _plain(key) or wanted in _plain(device.name))
