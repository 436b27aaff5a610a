"""From what a user names to the files of a model; no connection is ever made here."""

from __future__ import annotations

from pathlib import Path

from puna.errors import SourceError
from puna.formats import (
    UNPACK,
    archive_kind,
    check_folder,
    find_archive,
    find_gguf,
    named_archive,
)
from puna.source.catalog import catalog_id
from puna.source.digest import verify_files
from puna.source.names import HubName, parse_hub_name
from puna.source.ollama import find_ollama, read_ollama
from puna.source.pulled import find_hub_model, pull_command
from puna.source.record import Source

_BUILTIN = Path(__file__).resolve().parent.parent / "builtin"
_STANDARD = {"model.safetensors", "pytorch_model.bin"}
_OLLAMA = ("ollama://", "ollama:")


def builtin_names() -> tuple[str, ...]:
    """Return the models that ship inside the package."""
    return tuple(sorted(path.parent.name for path in _BUILTIN.glob("*/config.json")))


def resolve(model: str | Path) -> Source:
    """Find a model by what a user calls it, on this disk only.

    In this order: a built-in name; a folder with a config.json, or a file of weights; the id of a
    hub (`ORG/NAME[@REVISION][:GGUF]`) that was pulled or lies in the user's Hugging Face cache; a
    name of the catalog that was pulled; a name of Ollama's store, which `ollama:NAME` means always.

    Raises:
        SourceError: nothing of that name here; says what would bring it.
        FormatError: a store or lock file that is broken or too new.
    """
    if isinstance(model, str) and model in builtin_names():
        return Source(model, _BUILTIN / model, kind="builtin")
    if isinstance(model, str) and model.startswith(_OLLAMA):
        return read_ollama(model.removeprefix(_OLLAMA[0]).removeprefix(_OLLAMA[1]))
    if found := _on_disk(model, "config.json", "a checkpoint"):
        return found
    hub, catalog = parse_hub_name(str(model)), catalog_id(str(model))
    for name in (hub, parse_hub_name(catalog) if catalog else None):
        if name and (source := find_hub_model(name)):
            return source
    if isinstance(model, str) and (ollama := find_ollama(model)):
        return ollama
    raise _nothing(model, hub, catalog)


def resolve_adapter(adapter: str | Path) -> Source:
    """Find an adapter: a folder with an adapter_config.json, or an id that was pulled.

    Raises:
        SourceError: nothing of that name here; says what would bring it.
    """
    if found := _on_disk(adapter, "adapter_config.json", "an adapter"):
        return found
    name = parse_hub_name(str(adapter))
    if name and (source := find_hub_model(name, "adapter")):
        return source
    raise SourceError(
        f"there is no adapter {str(adapter)!r:.120}",
        remedy=_pull_hint(name) if name else "give its folder, or the id of one that was pulled",
    )


def verify_source(source: Source, on_progress: object = None) -> None:
    """Check the files of a pulled or stored model against their digests.

    What was hashed before and did not change since is not hashed again. Folders of the user have
    no digests, and nothing is checked.

    Args:
        source: from `resolve`.
        on_progress: called with bytes done and in all.

    Raises:
        SourceError: a file that changed or is missing.
    """
    if source.files:
        remedy = (
            f"ollama pull {source.name}" if source.kind == "ollama" else f"puna pull {source.name}"
        )
        verify_files(
            source.root,
            source.files,
            name=source.name,
            remedy=f"if you did not change it: {remedy}",
            on_progress=on_progress if callable(on_progress) else None,
        )


def _on_disk(model: str | Path, mark: str, what: str) -> Source | None:
    """Return the source of a path, or None where there is nothing."""
    try:
        path = Path(model).expanduser()
        if path.is_dir():
            check_folder(path)
        if (path / mark).is_file():
            return Source(path.resolve().name, path)
        if path.is_dir():
            return _only_gguf(path, mark, what)
        return _single_file(path) if path.exists() else None
    except (OSError, RuntimeError) as error:  # a name too long, a folder barred, no such home
        reason = getattr(error, "strerror", None) or error
        raise SourceError(
            f"cannot open {str(model)!r:.120}: {reason}",
            remedy="give a folder that can be read, or a built-in name",
        ) from error
    except ValueError:  # a NUL
        return None


def _only_gguf(folder: Path, mark: str, what: str) -> Source:
    models = find_gguf(folder)
    if len(models) == 1 and mark == "config.json":
        return Source(models[0].stem, models[0], kind="file")
    if models and mark == "config.json":
        raise SourceError(
            f"the folder {folder} holds {len(models)} GGUF models",
            remedy=f"give one of them, such as {models[0]}",
        )
    if packed := find_archive(folder):
        raise SourceError(
            f"the folder {folder} holds no {mark}, but the archive {packed.name!r:.120}",
            remedy=UNPACK,
        )
    raise SourceError(f"the folder {folder} holds no {mark}", remedy=f"give the folder of {what}")


def _single_file(path: Path) -> Source:
    if not path.is_file():
        raise SourceError(
            f"{path} is a pipe, socket or device, and no file", remedy="give a file or a folder"
        )
    with path.open("rb") as file:
        kind = named_archive(path) or archive_kind(file.read(262))
    if kind and (kind != "zip" or path.suffix != ".bin"):  # which is PyTorch's own form
        raise SourceError(f"{path} is a {kind} archive; archives are not opened", remedy=UNPACK)
    if path.suffix == ".gguf":
        return Source(path.resolve().stem, path, kind="file")
    if path.suffix not in {".safetensors", ".bin"}:
        raise SourceError(
            f"{path} is a file", remedy="give a GGUF file, or the folder that holds its config.json"
        )
    folder = path.parent
    check_folder(folder)
    if not (folder / "config.json").is_file():
        raise SourceError(
            f"{path} is a file of weights without a config.json beside it",
            remedy="put the config.json of its model into the same folder",
        )
    shard = "-of-" in path.stem
    first = path.name == next((n for n in sorted(_STANDARD) if (folder / n).is_file()), None)
    return Source(folder.resolve().name, folder, weights=None if shard or first else path)


def _nothing(model: str | Path, hub: HubName | None, catalog: str | None) -> SourceError:
    what = f"there is no model {str(model)!r:.120}"
    if catalog:
        return SourceError(
            f"{model} is {catalog}, which is not on this disk", remedy=_pull_hint(model)
        )
    if hub:
        return SourceError(f"{what} on this disk", remedy=_pull_hint(hub))
    return SourceError(
        what,
        remedy=f"give a folder, a file, an id ORG/NAME, or a name of puna list; "
        f"built in: {', '.join(builtin_names())}",
    )


def _pull_hint(name: HubName | str | Path) -> str:
    command = pull_command(name) if isinstance(name, HubName) else f"puna pull {name}"
    return f"{command} (with --pull a command brings what is missing)"
