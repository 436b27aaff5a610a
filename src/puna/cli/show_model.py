"""`puna show`: what is known of a model, from the disk and from the catalog."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.table import Table

from puna.cli.show import bars, out, print_json
from puna.errors import PunaError, SourceError

if TYPE_CHECKING:
    from puna.reading import Description
    from puna.source import Source


def show_command(
    model: str,
    *,
    verify: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Show what a model is: architecture, license, files, training data, what it is good for.

    Parameters
    ----------
    model
        A folder, a built-in name, the id of a pulled model, a name of the catalog or of Ollama.
    verify
        Check the digests of all files first.
    json
        Print one JSON object.
    """
    facts = describe(model, verify=verify)
    if json:
        print_json(facts)
        return
    table = Table(title=facts["name"], show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in _lines(facts):
        table.add_row(key, value)
    out.print(table)


def describe(model: str, *, verify: bool = False) -> dict[str, Any]:
    """Return the facts as JSON values.

    Raises:
        SourceError: the model is neither on this disk nor in the catalog.
    """
    from puna.source import bases, find_entry, known_models

    source = _on_disk(model)
    entry = find_entry(model) or (find_entry(source.name) if source else None)
    if source is None and entry is None:
        near = [name for name in known_models() if name.startswith(model.lower()[:4])]
        raise SourceError(
            f"there is no model {model!r:.120} on this disk, and the catalog does not know it",
            remedy=f"puna list --catalog{'; near: ' + ', '.join(near[:5]) if near else ''}",
        )
    facts: dict[str, Any] = {"name": model, "here": source is not None}
    if source is not None:
        if verify:
            _verify(source)
        facts |= _of_source(source)
    if entry is not None:
        facts["catalog"] = {**asdict(entry), "made_from": list(bases(entry))}
    return facts


def _on_disk(model: str) -> Source | None:
    """Return the source of a model or an adapter; None where nothing of that name is here."""
    from puna.source import resolve, resolve_adapter

    try:
        return resolve(model)
    except SourceError as error:
        with suppress(SourceError):
            return resolve_adapter(model)
        if error.what.startswith("there is no model") or "not on this disk" in error.what:
            return None
        raise


def _verify(source: Source) -> None:
    from puna.source import verify_source

    with bars() as bar:
        verify_source(source, bar("checking", "B"))


def _of_source(source: Source) -> dict[str, Any]:
    from puna.source import find_license

    folder = source.path if source.path.is_dir() else source.root
    names = list(source.files) if source.files else []
    if not names and source.path.is_dir():
        names = sorted(p.name for p in source.path.iterdir() if p.is_file())
    files = [
        {
            "name": name,
            "bytes": (source.root / name).stat().st_size,
            "digest": (source.files or {}).get(name),
        }
        for name in names
    ]
    opened, facts_of_kind = _architecture(source)
    facts: dict[str, Any] = {
        "kind": source.kind,
        "path": str(source.path),
        "revision": source.revision,
        "bytes": sum(file["bytes"] for file in files) or source.path.stat().st_size,
        "files": files,
        "license": source.license or find_license(folder, opened.config if opened else {}),
        **facts_of_kind,
    }
    if source.ollama:
        facts["ollama"] = {
            "system": source.ollama.system,
            "params": dict(source.ollama.params),
            "template": source.ollama.template,
            "family": source.ollama.family,
            "quant": source.ollama.quant,
        }
    return facts


def _architecture(source: Source) -> tuple[Description | None, dict[str, Any]]:
    from puna.reading import describe
    from puna.source import read_json
    from puna.spec import count_parameters

    adapter = source.path / "adapter_config.json"
    if adapter.is_file() and not (source.path / "config.json").is_file():
        config = read_json(adapter, what="config")
        return None, {"family": "adapter", "base": config.get("base_model_name_or_path")}
    try:
        opened = describe(source)
    except PunaError as error:
        return None, {"cannot_open": error.what}
    spec = opened.spec
    return opened, {
        "family": spec.family,
        "parameters": count_parameters(spec),
        "layers": len(spec.layers),
        "context": spec.context,
    }


def _lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    from puna.source import human_bytes

    known = facts.get("catalog") or {}
    lines: list[tuple[str, Any]] = []
    if not facts["here"]:
        lines.append(("on this disk", f"no; puna pull {facts['name']}"))
    parameters = facts.get("parameters") or known.get("parameters")
    lines += [
        ("id", known.get("id")),
        ("family", facts.get("family") or known.get("family")),
        ("cannot be opened", facts.get("cannot_open")),
        ("base", facts.get("base") or ", ".join(known.get("made_from", []))),
        ("parameters", f"{parameters:,}" if parameters else None),
        ("context", facts.get("context") or known.get("context")),
        ("license", facts.get("license") or known.get("license") or "none stated"),
        ("trained on", known.get("data")),
        ("good for", known.get("good_for")),
        ("mind", known.get("note")),
        ("gated", "its license must be accepted on the hub first" if known.get("gated") else None),
        ("revision", facts.get("revision")),
        ("where", facts.get("path")),
        ("size", human_bytes(facts["bytes"]) if facts.get("bytes") else None),
    ]
    if store := facts.get("ollama"):
        lines += [("quant", store["quant"]), ("system", store["system"])]
        lines += [(f"parameter {key}", value) for key, value in store["params"].items()]
    for file in facts.get("files", []):
        digest = f"  {file['digest'][:16]}…" if file["digest"] else ""
        lines.append((file["name"], f"{human_bytes(file['bytes'])}{digest}"))
    return [(key, str(value)) for key, value in lines if value not in (None, "")]
