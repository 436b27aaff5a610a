"""`puna inspect`: what a model is, before any weight is read."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from puna.cli.show import out, print_json

if TYPE_CHECKING:
    from puna.formats import Gguf

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def inspect_command(
    model: str = "cria",
    *,
    ignore_key: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Show architecture, parameters, memory per dtype and license of a model.

    Parameters
    ----------
    model
        A folder (one that holds only a config.json will do), a GGUF file, or a built-in name.
    ignore_key
        A config key to pass over although it is unknown; may be repeated.
    json
        Print one JSON object.
    """
    facts = facts_of(model, ignore_key)
    if json:
        print_json(facts)
        return
    table = Table(title=Text(str(facts["name"])), show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column()
    for key, value in _lines(facts):
        table.add_row(key, Text(value))
    out.print(table)


def facts_of(model: str, ignore_keys: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the facts as JSON values; bytes for memory."""
    from puna.reading import describe
    from puna.source import find_license, resolve
    from puna.spec import count_parameters, kv_bytes_per_token

    opened = describe(resolve(model), ignore_keys=ignore_keys)
    source, config, spec, gguf = opened.source, opened.config, opened.spec, opened.gguf
    total = count_parameters(spec)
    return {
        "name": source.name,
        "path": str(source.path),
        "family": spec.family,
        "parameters": total,
        "active_parameters": count_parameters(spec, active=True),
        "layers": len(spec.layers),
        "width": spec.width,
        "vocab": spec.vocab,
        "context": spec.context,
        "tied_head": spec.head.tied,
        "blocks": [
            {"layers": count, **_block(layer)} for layer, count in Counter(spec.layers).items()
        ],
        "memory": {
            dtype: {
                "weights": total * size,
                "kv_per_token": kv_bytes_per_token(spec, bytes_per_value=size),
            }
            for dtype, size in _BYTES.items()
        },
        "license": find_license(source.path, config),
        "gguf": None if gguf is None else _gguf(gguf),
    }


def _gguf(found: Gguf) -> dict[str, Any]:
    """Return what only a GGUF file says: its formats, and where its vocabulary comes from."""
    from puna.formats import count_types

    return {
        "version": found.version,
        "files": len(found.files),
        "tensors": len(found.tensors),
        "types": count_types(found),
        "tokenizer": found.metadata.get("tokenizer.ggml.model"),
        "pre_tokenizer": found.metadata.get("tokenizer.ggml.pre"),
        "chat_template": "tokenizer.chat_template" in found.metadata,
    }


def _block(layer: Any) -> dict[str, Any]:
    mixer, ffn = layer.mixer, layer.ffn
    dense = getattr(ffn, "expert", ffn)
    return {
        "heads": mixer.heads,
        "kv_heads": mixer.kv_heads,
        "head_dim": mixer.head_dim,
        "window": mixer.window,
        "position": None if mixer.position is None else type(mixer.position).__name__.lower(),
        "ffn_width": dense.width,
        "experts": getattr(ffn, "experts", None),
        "activation": dense.act,
        "norm": layer.norm.kind,
        "residual": layer.residual,
    }


def _lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    active, total = facts["active_parameters"], facts["parameters"]
    lines = [
        ("place", facts["path"]),
        ("family", facts["family"]),
        ("parameters", f"{total:,}" + (f" ({active:,} per token)" if active != total else "")),
        ("shape", f"{facts['layers']} layers, width {facts['width']}, vocabulary {facts['vocab']}"),
        ("context", f"{facts['context']} tokens"),
    ]
    for block in facts["blocks"]:
        experts = f", {block['experts']} experts" if block["experts"] else ""
        window = f", window {block['window']}" if block["window"] else ""
        lines.append(
            (
                f"{block['layers']} blocks",
                f"{block['heads']} heads on {block['kv_heads']} key/value heads of "
                f"{block['head_dim']}, {block['position'] or 'no positions'}{window}; "
                f"{block['activation']} {block['ffn_width']}{experts}; "
                f"{block['norm']} norm, {block['residual'].replace('_', ', ')}",
            )
        )
    for dtype, sizes in facts["memory"].items():
        lines.append(
            (
                dtype,
                f"{_size(sizes['weights'])} weights + {_size(sizes['kv_per_token'])} per token "
                f"({_size(sizes['kv_per_token'] * facts['context'])} at full context)",
            )
        )
    if (gguf := facts["gguf"]) is not None:
        values = sum(gguf["types"].values())
        shares = ", ".join(f"{kind} {n / values:.1%}" for kind, n in gguf["types"].items())
        lines.append(("formats", f"{shares} of the values (GGUF version {gguf['version']})"))
    lines.append(("license", facts["license"] or "none found"))
    return lines


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
