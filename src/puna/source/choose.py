"""Which files of a repository a model needs: the small ones, and one form of its weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from puna.errors import SourceError, UsageError
from puna.source.hub import HubFile, Listing
from puna.source.names import check_file_name
from puna.source.units import human_bytes

# Forms of weights, the better first: one file, or an index that names its shards.
_FORMS = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
_ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
_TEXT = {
    "config.json", "generation_config.json", "adapter_config.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "tokenizer.model", "spiece.model", "tekken.json",
    "chat_template.json", "chat_template.jinja", "chat_template.gotmpl",
    "tiktoken.model", "puna.seal.json",
}  # fmt: skip
_PAPERS = re.compile(
    r"(README|MODEL_CARD)\.md|(LICEN[SC]E|NOTICE|COPYING|USE_POLICY)[\w.-]*", re.I | re.ASCII
)
_RANKS = re.compile(
    r"[\w.-]+\.tiktoken|tokenizer\.model\.v\w+|additional_chat_templates/[\w.-]+\.jinja"
)
_PART = re.compile(r"-(\d{5})-of-(\d{5})$")


@dataclass(frozen=True, slots=True)
class Choice:
    """Files to fetch; where weights are sharded, `index` names the rest."""

    files: tuple[HubFile, ...]
    index: HubFile | None = None


def choose(listing: Listing, pick: str | None, where: str) -> Choice:
    """Return what to fetch of a repository.

    Args:
        listing: what there is.
        pick: a GGUF file by name or by its quant, such as `Q4_K_M`; None takes the checkpoint.
        where: the repository, for errors.

    Raises:
        SourceError: no weights that can be read, or several GGUF files and none picked.
        UsageError: a pick that is not there.
    """
    files = listing.files
    papers = [f for name, f in files.items() if _PAPERS.fullmatch(name)]
    if pick is not None:
        return _checked([*papers, *_picked(files, pick, where)], where)
    small = [f for name, f in files.items() if name in _TEXT or _RANKS.fullmatch(name)]
    for single, index in _FORMS:
        if single in files:
            return _checked([*papers, *small, files[single]], where)
        if index in files:
            return _checked([*papers, *small, files[index]], where, files[index])
    for adapter in _ADAPTERS:
        if adapter in files and "adapter_config.json" in files:
            return _checked([*papers, *small, files[adapter]], where)
    groups = gguf_groups(files)
    if len(groups) == 1:
        return _checked([*papers, *next(iter(groups.values()))], where)
    if groups:
        raise SourceError(
            f"{listing.repo} holds {len(groups)} GGUF models, and none is picked",
            where=where,
            remedy=f"pass --file with one of {_offer(groups)}",
        )
    raise SourceError(
        f"{listing.repo} holds no weights that can be read: no safetensors, .bin or GGUF",
        where=where,
    )


def shards(listing: Listing, index: Mapping[str, object], where: str) -> tuple[HubFile, ...]:
    """Return the files that an index names.

    Raises:
        SourceError: one that the repository does not hold.
        FormatError: a name that leads out of the folder.
    """
    names = {check_file_name(name, where=where) for name in index.values()}
    for name in sorted(names - set(listing.files)):
        raise SourceError(f"the index names a shard that is not there: {name!r:.120}", where=where)
    return tuple(listing.files[name] for name in sorted(names))


def gguf_groups(files: Mapping[str, HubFile]) -> dict[str, tuple[HubFile, ...]]:
    """Return GGUF models by the name of their first file, each with all its parts."""
    groups: dict[str, list[HubFile]] = {}
    for name, file in sorted(files.items()):
        if name.endswith(".gguf") and "mmproj" not in name:
            groups.setdefault(_PART.sub("", name.removesuffix(".gguf")), []).append(file)
    return {parts[0].name: tuple(parts) for parts in groups.values()}


def matches(name: str, pick: str) -> bool:
    """Return whether `pick` means this GGUF file: its name, or its quant."""
    stem = _PART.sub("", PurePosixPath(name).name.removesuffix(".gguf"))
    if pick in {name, PurePosixPath(name).name}:
        return True
    return re.search(rf"(?:^|[-._]){re.escape(pick)}$", stem, re.I) is not None


def _picked(files: Mapping[str, HubFile], pick: str, where: str) -> tuple[HubFile, ...]:
    groups = gguf_groups(files)
    found = [parts for name, parts in groups.items() if matches(name, pick)]
    if len(found) == 1:
        return found[0]
    raise UsageError(
        f"{len(found) or 'no'} GGUF files here are {pick!r:.80}",
        where=where,
        remedy=f"pass --file with one of {_offer(groups)}" if groups else "pull without --file",
    )


def _offer(groups: Mapping[str, tuple[HubFile, ...]]) -> str:
    names = [f"{n} ({human_bytes(sum(f.size for f in p))})" for n, p in list(groups.items())[:8]]
    return ", ".join(names) + (" …" if len(groups) > 8 else "")


def _checked(files: list[HubFile], where: str, index: HubFile | None = None) -> Choice:
    for file in files:
        check_file_name(file.name, where=where)
    return Choice(tuple(files), index)
