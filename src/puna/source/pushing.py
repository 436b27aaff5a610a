"""Push a folder with a model or an adapter to a hub: seen before it is sent, private by default."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from puna.errors import SourceError, UsageError
from puna.source.hub import hub_errors, open_hub, retrying
from puna.source.names import check_file_name, need_hub_name

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# State of runs, leftovers of broken writes, and what names itself private.
_LEFT_OUT = (
    ".*", "*.part", "*.incomplete", "*.tmp", "*.lock", "*.pyc", "__pycache__", "state", "run.json",
    "puna.lock.json", "optimizer*", "scheduler*", "rng_state*", "training_args.bin", "checkpoint-*",
)  # fmt: skip
_MARKS = ("config.json", "adapter_config.json")


@dataclass(frozen=True, slots=True)
class PushPlan:
    """What would be sent (name, bytes), and what is left out (name, why)."""

    folder: Path
    files: tuple[tuple[str, int], ...]
    left_out: tuple[tuple[str, str], ...]

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(size for _, size in self.files)


def plan_push(folder: Path) -> PushPlan:
    """Return what a push of a folder sends; nothing is sent.

    Raises:
        SourceError: no folder.
        UsageError: a folder without a model or adapter.
        FormatError: a file name that no hub takes.
    """
    if not folder.is_dir():
        raise SourceError(f"there is no folder {folder}")
    if not any((folder / mark).is_file() for mark in _MARKS) and not any(folder.glob("*.gguf")):
        inner = "adapter" if (folder / "adapter" / _MARKS[1]).is_file() else None
        raise UsageError(
            f"{folder} holds no model and no adapter",
            remedy=f"push {folder / inner}" if inner else "give a folder with a config.json",
        )
    files: list[tuple[str, int]] = []
    left_out: list[tuple[str, str]] = []
    root = folder.resolve()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file():
            continue
        if why := _why_not(path, name, root):
            left_out.append((name, why))
        else:
            files.append((check_file_name(name, where=str(folder)), path.stat().st_size))
    return PushPlan(folder, tuple(files), tuple(left_out))


def push(
    plan: PushPlan, repo: str, *, public: bool = False, message: str = "Upload by Puna"
) -> tuple[str, str]:
    """Send what a plan names in one commit and return (address, commit).

    A repository that is not there is made, private unless `public`. Files of it that the folder
    does not have stay, its model card among them.

    Raises:
        UsageError: no id, or a repository that is public where `public` was not said.
        SourceError: no token, not allowed, no connection.
    """
    name = need_hub_name(repo)
    if name.revision or name.pick:
        raise UsageError(f"{repo} names more than a repository", remedy=f"push to {name.repo}")
    api = open_hub()
    import huggingface_hub

    if huggingface_hub.get_token() is None:
        raise SourceError("a push needs a token", remedy="set HF_TOKEN to one that may write")
    operations = [
        huggingface_hub.CommitOperationAdd(file, str(plan.folder / file)) for file, _ in plan.files
    ]
    with hub_errors(name.repo, api.endpoint):
        api.create_repo(name.repo, private=not public, exist_ok=True)
        info = retrying(lambda: api.model_info(name.repo))
        if not public and info.private is False:
            raise UsageError(
                f"{name.repo} is public, and everybody would see the files",
                where=f"{api.endpoint}/{name.repo}",
                remedy="pass --public to push to it all the same",
            )
        commit = _commit(api, name.repo, operations, message)
    return f"{api.endpoint}/{name.repo}", commit.oid


def _commit(api: HfApi, repo: str, operations: list[Any], message: str) -> Any:
    """Commit through Xet where the hub offers it, and by plain HTTP where it does not."""
    from huggingface_hub import constants

    before = constants.HF_HUB_DISABLE_XET
    if not before and not _offers_xet(api, repo):
        constants.HF_HUB_DISABLE_XET = True
    try:
        return api.create_commit(repo, operations, commit_message=message)
    finally:
        constants.HF_HUB_DISABLE_XET = before


def _offers_xet(api: HfApi, repo: str) -> bool:
    from huggingface_hub.utils import build_hf_headers, get_session  # type: ignore[attr-defined]

    url = f"{api.endpoint}/api/models/{repo}/xet-write-token/main"
    headers = build_hf_headers(token=api.token, library_name="puna")
    call: Callable[[], Any] = lambda: get_session().get(url, headers=headers, timeout=30)  # noqa: E731
    response = retrying(call)
    return response.status_code == 200 and "X-Xet-Cas-Url" in response.headers


def _why_not(path: Path, name: str, root: Path) -> str | None:
    for part in name.split("/"):
        if any(fnmatch.fnmatchcase(part, pattern) for pattern in _LEFT_OUT):
            return "state, temporary or hidden"
    if not path.resolve().is_relative_to(root):
        return "a link that leads out of the folder"
    return None
