"""Where chat templates are found and kept: a checkpoint's folder, a file, or a name."""

from __future__ import annotations

from pathlib import Path

from puna.errors import TemplateError
from puna.text.chat import ChatTemplate, Language
from puna.text.files import copy_files, read_object, read_object_if_any, read_text, write_text
from puna.text.formats import format_names, read_format, stated_stops, with_stops
from puna.text.meter import Limits
from puna.text.settings import CONFIG, NO_SETTINGS, ROLES, read_settings
from puna.text.tokenizer import Tokenizer

_JINJA = "chat_template.jinja"
_GO = "chat_template.gotmpl"
_GO_SUFFIXES = {".gotmpl", ".tmpl"}
_JSON = "chat_template.json"
_TOOLS_JINJA = "additional_chat_templates/tool_use.jinja"
_DEFAULT = "default"
_TOOL_USE = "tool_use"


def load_template(
    folder: Path, tokenizer: Tokenizer | None, *, limits: Limits | None = None
) -> ChatTemplate | None:
    """Reads the chat template of a checkpoint's folder; None where it has none.

    chat_template.jinja wins over chat_template.gotmpl (Go's text/template), that over
    chat_template.json, and that over tokenizer_config.json. Where several are named, "default" is
    taken, and "tool_use" when tools are given.

    Raises:
        TemplateError: a file that is broken, or a template that the sandbox refuses.
        TokenizerError: a broken tokenizer_config.json.
    """
    path, sources = _sources(folder)
    if not sources:
        return None
    extra = folder / _TOOLS_JINJA
    files = (path,) if path.name != CONFIG else ()
    if extra.is_file():
        sources[_TOOL_USE] = read_text(extra, TemplateError)
    if _DEFAULT not in sources:
        raise TemplateError(
            f"{path.name} names the templates {', '.join(sorted(sources))}, but no default",
            where=str(path),
        )
    language: Language = "go" if path.name == _GO else "jinja"
    return _made(
        sources[_DEFAULT],
        _tokens(folder, tokenizer),
        str(path),
        language=language,
        tool_source=sources.get(_TOOL_USE),
        files=files,
        limits=limits,
    )


def open_template(
    name: str | Path,
    *,
    folder: Path | None = None,
    tokenizer: Tokenizer | None = None,
    limits: Limits | None = None,
) -> ChatTemplate:
    """A template that the user chose: a published format by name, or a file.

    Args:
        name: such as `vicuna`, which begins with BOS only if the tokenizer itself puts one; or a
            file: `.gotmpl` is Go's text/template, any other Jinja.
        folder: the checkpoint whose special tokens it is to use.
        tokenizer: the checkpoint's.
        limits: what one rendering may spend.

    Raises:
        TemplateError: no such name or file, or a template that the sandbox refuses.
        TokenizerError: a broken file among the checkpoint's.
    """
    tokens = _tokens(folder, tokenizer)
    if isinstance(name, str) and name in format_names():
        begins = tokenizer is None or tokenizer.encode("") == [tokenizer.bos_id]
        return _made(read_format(name, bos=begins), tokens, f"format {name}", limits=limits)
    path = Path(name)
    if not path.is_file():
        raise TemplateError(
            f"there is no format and no file {str(name)!r:.120}",
            remedy=f"give a .jinja or .gotmpl file, or a format: {', '.join(format_names())}",
        )
    language: Language = "go" if path.suffix in _GO_SUFFIXES else "jinja"
    return _made(
        read_text(path, TemplateError), tokens, str(path), language=language, limits=limits
    )


def save_template(template: ChatTemplate, folder: Path) -> tuple[Path, ...]:
    """Writes the template that is in use, so that the folder renders as before.

    A template that has files of its own is copied byte by byte; one that came by name, from
    tokenizer_config.json or from elsewhere is written as chat_template.jinja (or .gotmpl).

    Raises:
        StorageError: a file that could not be read or written.
    """
    paths = copy_files(template.files, folder)
    if not template.files:
        go = template.language == "go"
        paths += (write_text(folder / (_GO if go else _JINJA), with_stops(template)),)
    if template.tool_source is not None:
        paths += (write_text(folder / _TOOLS_JINJA, template.tool_source),)
    return paths


def _made(
    source: str,
    tokens: dict[str, str],
    name: str,
    *,
    language: Language = "jinja",
    tool_source: str | None = None,
    files: tuple[Path, ...] = (),
    limits: Limits | None = None,
) -> ChatTemplate:
    tokens = dict(tokens)
    return ChatTemplate(
        source,
        bos_token=tokens.pop("bos_token", None),
        eos_token=tokens.pop("eos_token", None),
        tokens=tokens,
        name=name,
        tool_source=tool_source,
        files=files,
        limits=limits,
        language=language,
        stops=stated_stops(source, name),
    )


def _sources(folder: Path) -> tuple[Path, dict[str, str]]:
    """The file that holds the template, and the templates in it by name."""
    path = folder / _JINJA
    if path.is_file():
        return path, {_DEFAULT: read_text(path, TemplateError)}
    path = folder / _GO
    if path.is_file():
        return path, {_DEFAULT: read_text(path, TemplateError)}
    path = folder / _JSON
    if path.is_file():
        value = read_object(path, TemplateError).get("chat_template")
    else:
        path = folder / CONFIG
        value = read_object_if_any(path).get("chat_template")
    if value is None:
        return path, {}
    if isinstance(value, str):
        return path, {_DEFAULT: value}
    if isinstance(value, list):
        named = [e for e in value if isinstance(e, dict)]
        table = {e.get("name"): e.get("template") for e in named}
        if len(named) == len(value) and all(
            isinstance(part, str) for entry in table.items() for part in entry
        ):
            return path, {str(k): str(v) for k, v in table.items()}
    raise TemplateError("chat_template must be text or a list of named texts", where=str(path))


def _tokens(folder: Path | None, tokenizer: Tokenizer | None) -> dict[str, str]:
    """Special tokens as the files write them, else as the tokenizer's vocabulary does."""
    roles = (NO_SETTINGS if folder is None else read_settings(folder)).roles
    tokens = {role: text for role in ROLES if (text := roles.get(role)) is not None}
    if tokenizer is not None:
        ids = {"bos_token": tokenizer.bos_id, "eos_token": tokenizer.eos_id}
        for role, token in ids.items():
            if role not in roles and token is not None:
                tokens[role] = tokenizer.piece(token)
    return tokens
