"""Everything of a model that turns text into ids and back, from wherever it lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from puna.formats.folder import check_folder
from puna.text.chat import ChatTemplate
from puna.text.gguf_vocab import specials_from_gguf, tokenizer_from_gguf
from puna.text.specials import Specials, read_specials
from puna.text.template_files import load_template, open_template
from puna.text.tokenizer import Tokenizer, load_tokenizer

# What files made for ids alone say in place of a vocabulary.
_NO_VOCABULARY = (None, "no_vocab", "none")


@dataclass(frozen=True, slots=True)
class TextParts:
    """What turns text into ids and back; any of it may be missing from a checkpoint."""

    tokenizer: Tokenizer | None
    template: ChatTemplate | None
    specials: Specials

    @property
    def stop_ids(self) -> frozenset[int]:
        """What ends an answer: the model's own ids, and the tokens that end the template's turn."""
        if self.template is None or self.tokenizer is None:
            return self.specials.eos
        named = {self.tokenizer.id_of(stop) for stop in self.template.stops}
        special = self.tokenizer.special_ids
        return self.specials.eos | {token for token in named if token in special}


def text_of_folder(
    folder: Path,
    config: Mapping[str, Any],
    *,
    template: str | Path | None = None,
    adapter: Path | None = None,
) -> TextParts:
    """Return tokenizer, chat template and special ids found in a folder.

    Args:
        folder: of the checkpoint.
        config: its config.json.
        template: a published format by name, or a file, in place of the folder's template.
        adapter: a tuned folder; the template that it was tuned with goes before the base's.

    Raises:
        SourceError: a link that leads out of the folder, or a pipe or device in it.
        TokenizerError, TemplateError: files that are there and cannot be used.
    """
    check_folder(folder)
    tokenizer = load_tokenizer(folder)
    specials = read_specials(folder, config, tokenizer)
    chosen = _chosen(template, adapter, tokenizer, folder)
    return TextParts(tokenizer, chosen or load_template(folder, tokenizer), specials)


def text_of_gguf(
    metadata: Mapping[str, Any],
    config: Mapping[str, Any],
    file: Path,
    *,
    template: str | Path | None = None,
    adapter: Path | None = None,
    go_template: tuple[str, tuple[str, ...]] | None = None,
) -> TextParts:
    """Return the same from the metadata of a GGUF file.

    Args:
        metadata: of the file.
        config: what it says in the published spelling; names the special ids where it has no
            vocabulary.
        file: where it is.
        template, adapter: as in `text_of_folder`.
        go_template: the Go template and stop texts that a store keeps beside the file; they go
            before the template within.

    Raises:
        TokenizerError, TemplateError: a vocabulary or template that cannot be used.
    """
    if metadata.get("tokenizer.ggml.model") in _NO_VOCABULARY:
        return TextParts(None, None, read_specials(file, config, None))
    tokenizer = tokenizer_from_gguf(metadata, str(file))
    chosen = _chosen(template, adapter, tokenizer, None)
    if chosen is None:
        chosen = _within(metadata, str(file), tokenizer, go_template)
    return TextParts(tokenizer, chosen, specials_from_gguf(metadata, str(file)))


def _chosen(
    template: str | Path | None,
    adapter: Path | None,
    tokenizer: Tokenizer | None,
    folder: Path | None,
) -> ChatTemplate | None:
    """Return the template that the user or the adapter asks for."""
    if template is not None:
        return open_template(template, folder=folder, tokenizer=tokenizer)
    return None if adapter is None else load_template(adapter, tokenizer)


def _within(
    metadata: Mapping[str, Any],
    where: str,
    tokenizer: Tokenizer,
    go_template: tuple[str, tuple[str, ...]] | None,
) -> ChatTemplate | None:
    bos, eos = (
        None if token is None else tokenizer.piece(token)
        for token in (tokenizer.bos_id, tokenizer.eos_id)
    )
    if go_template is not None:
        source, stops = go_template
        name = f"{where}, template"
        return ChatTemplate(
            source, bos_token=bos, eos_token=eos, name=name, language="go", stops=stops
        )
    inside = metadata.get("tokenizer.chat_template")
    if not isinstance(inside, str):
        return None
    name = f"{where}, tokenizer.chat_template"
    return ChatTemplate(inside, bos_token=bos, eos_token=eos, name=name)
