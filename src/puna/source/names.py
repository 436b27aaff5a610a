"""Names from outside: ids of a hub, file names of a repository, commits, digests."""

from __future__ import annotations

import re
from dataclasses import dataclass

from puna.errors import FormatError, UsageError

_ID = re.compile(
    r"(?P<repo>[\w][\w.-]{0,95}/[\w][\w.-]{0,95})"
    r"(?:@(?P<revision>[\w][\w./+-]{0,199}))?"
    r"(?::(?P<pick>[^:\x00-\x1f\\]{1,250}))?",
    re.ASCII,
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Names that some systems read as a device, whatever comes after the dot.
_DEVICES = {"CON", "PRN", "AUX", "NUL"} | {f"{d}{n}" for d in ("COM", "LPT") for n in range(1, 10)}
_HOSTILE = "do not use this repository: its list of files is broken or hostile"
DEFAULT_REVISION = "main"


@dataclass(frozen=True, slots=True)
class HubName:
    """`ORG/NAME[@REVISION][:FILE]`: a repository, a revision of it, a GGUF file or its quant."""

    repo: str
    revision: str | None = None
    pick: str | None = None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.repo}{revision}{f':{self.pick}' if self.pick else ''}"


def parse_hub_name(text: str) -> HubName | None:
    """Return the hub name that `text` is, or None where it cannot be one."""
    text = re.sub(r"^(?:hf://|https://(?:huggingface\.co|hf\.co)/)", "", text).rstrip("/")
    found = _ID.fullmatch(text)
    if found is None:
        return None
    repo, revision, pick = found["repo"], found["revision"], found["pick"]
    if ".." in repo or "--" in repo or repo.endswith(".git") or ".." in (revision or ""):
        return None
    if revision and (revision.endswith("/") or "//" in revision):
        return None
    return HubName(repo, revision, pick)


def need_hub_name(text: str) -> HubName:
    """Return the hub name that `text` is.

    Raises:
        UsageError: it cannot be one.
    """
    name = parse_hub_name(text)
    if name is None:
        raise UsageError(
            f"{text!r:.120} is not the id of a model",
            remedy="give ORG/NAME, ORG/NAME@REVISION, or a name that puna list --catalog shows",
        )
    return name


def check_climbs_not(name: object, *, where: str) -> str:
    """Return a repository's file name, which uses `/`, when it stays inside its folder.

    Raises:
        FormatError: it is absolute, climbs, or is no text.
    """
    if not isinstance(name, str) or "\0" in name or "\\" in name or name.startswith("~"):
        raise FormatError(f"{name!r:.120} is not the name of a file", where=where, remedy=_HOSTILE)
    if any(part in {"", ".", ".."} for part in name.split("/")) or re.match(r"[A-Za-z]:", name):
        raise FormatError(
            f"the file name {name!r:.120} leads out of its folder", where=where, remedy=_HOSTILE
        )
    return name


def check_file_name(name: object, *, where: str) -> str:
    """Return a file name that can be written on any disk, and stays inside its folder.

    Raises:
        FormatError: it climbs, is too long, names a device, or holds what no file name may.
    """
    text = check_climbs_not(name, where=where)
    parts = text.split("/")
    long = len(text) > 1024 or any(len(p.encode("utf-8", "replace")) > 255 for p in parts)
    if long or not text.isprintable() or any(character in text for character in ':*?"<>|'):
        raise FormatError(f"the file name {text!r:.120} cannot be a file's", where=where)
    if any(part.partition(".")[0].upper() in _DEVICES for part in parts):
        raise FormatError(f"the file name {text!r:.120} is the name of a device", where=where)
    return text


def check_commit(text: object, *, where: str) -> str:
    """Return a commit: 40 lower-case hexadecimal digits.

    Raises:
        FormatError: it is anything else.
    """
    if not isinstance(text, str) or not _COMMIT.fullmatch(text):
        raise FormatError(f"{text!r:.80} is not a commit", where=where)
    return text


def is_sha256(text: object) -> bool:
    """Return whether `text` is 64 lower-case hexadecimal digits."""
    return isinstance(text, str) and _SHA256.fullmatch(text) is not None


def is_git_id(text: object) -> bool:
    """Return whether `text` is 40 lower-case hexadecimal digits."""
    return isinstance(text, str) and _COMMIT.fullmatch(text) is not None
