"""The axes of a decoder as plain values, and where two decoders differ."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from itertools import groupby
from typing import Any

from puna.spec import ModelSpec
from puna.text import TextParts

# What does not change what is computed: a name, and how a checkpoint stores a projection.
_NAMES = {"family", "extra_layers"}
_STORED = {"qkv", "gate"}


def axes_of(spec: ModelSpec, text: TextParts) -> dict[str, Any]:
    """Return a spec, and the ids that begin and end a text where there is any, as JSON values.

    Layers that follow each other alike stand once, counted.
    """
    plain: dict[str, Any] = {
        field.name: _plain(getattr(spec, field.name))
        for field in fields(spec)
        if field.name not in _NAMES and field.name != "layers"
    }
    runs = ((len(list(group)), layer) for layer, group in groupby(spec.layers))
    plain["layers"] = [{"count": count, **_plain(layer)} for count, layer in runs]
    if text.tokenizer is not None:
        plain["special_ids"] = {"bos": text.specials.bos, "eos": sorted(text.specials.eos)}
    return plain


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what differs between two results of `axes_of`, as `norm.eps: 1e-06, was 1e-05`."""
    return list(_walk("", then, now))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        named = {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        return {"is": type(value).__name__, **named}
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


def _walk(path: str, then: Any, now: Any) -> Iterator[str]:
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys((*then, *now)):
            inner = f"{path}.{key}" if path else key
            yield from _walk(inner, then.get(key), now.get(key))
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for index, (one, two) in enumerate(zip(then, now, strict=True)):
            yield from _walk(f"{path}[{index}]" if len(then) > 1 else path, one, two)
    elif not _same(path.rpartition(".")[2], then, now):
        yield f"{path}: {_short(now)}, was {_short(then)}"


def _same(name: str, then: Any, now: Any) -> bool:
    if isinstance(then, str) and isinstance(now, str) and name in _STORED:
        return True
    if isinstance(then, float | int) and isinstance(now, float | int):
        return math.isclose(then, now, rel_tol=1e-6)  # GGUF holds float32
    return bool(then == now)


def _short(value: Any) -> str:
    return str(value.get("is", "another") if isinstance(value, Mapping) else value)[:40]
