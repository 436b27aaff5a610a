"""What is known of a model before a weight is touched: its spec, and its text parts (no torch)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from puna.families import open_config, read_config
from puna.formats import Gguf, Packing, read_gguf, read_packing, without_packing
from puna.source import Source, resolve
from puna.spec import ModelSpec
from puna.text import TextParts, text_of_folder, text_of_gguf


@dataclass(frozen=True, slots=True)
class Description:
    """A model's config and spec; `gguf` is the header where it is a GGUF file.

    `packing` says how Puna packed the weights, where it did; the config is without it.
    """

    source: Source
    config: Mapping[str, Any]
    spec: ModelSpec
    gguf: Gguf | None
    packing: Packing | None = None


def describe(source: Source, *, ignore_keys: Iterable[str] = ()) -> Description:
    """Return config and spec of a model.

    Raises:
        SourceError, FormatError, ConfigError: what is not there or cannot be read exactly.
    """
    ignored = tuple(ignore_keys)
    config, found = open_config(source.path, ignore_keys=ignored)
    packing = read_packing(config)
    if packing is not None:
        config = without_packing(config)
    return Description(source, config, read_config(config, ignore_keys=ignored), found, packing)


def read_text(
    source: Source,
    config: Mapping[str, Any],
    gguf: Gguf | None,
    *,
    template: str | Path | None = None,
    adapter: Path | None = None,
) -> TextParts:
    """Return tokenizer, chat template and special ids of a model. See `puna.text.TextParts`.

    Args:
        source, config, gguf: of the model.
        template: a published format by name, or a file, in place of the model's own.
        adapter: a tuned folder; the template that it was tuned with goes before the base's.

    Raises:
        TokenizerError, TemplateError: files that are there and cannot be used.
    """
    if gguf is None:
        return text_of_folder(source.path, config, template=template, adapter=adapter)
    return text_of_gguf(
        gguf.metadata,
        config,
        gguf.files[0],
        template=template,
        adapter=adapter,
        go_template=_go_template(source),
    )


def text_of(model: str | Path, *, template: str | Path | None = None) -> TextParts:
    """Return the text parts of a model, or of a folder that holds nothing else.

    Raises:
        SourceError, FormatError: there is no such model.
        TokenizerError, TemplateError: as `read_text`.
    """
    folder = Path(model).expanduser()
    if folder.is_dir() and not any(folder.glob("*.gguf")):
        return text_of_folder(folder, {}, template=template)
    source = resolve(model)
    gguf = None if source.path.is_dir() else read_gguf(source.path)
    return read_text(source, {}, gguf, template=template)


def _go_template(source: Source) -> tuple[str, tuple[str, ...]] | None:
    """Return the template and stop texts of Ollama's store, unless Ollama has code for them."""
    kept = source.ollama
    if kept is None or kept.template is None or kept.renderer:
        return None
    stops = kept.params.get("stop", ())
    return kept.template, (stops,) if isinstance(stops, str) else tuple(stops)
