"""`puna push`: a folder to a hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from puna.cli.show import confirm, err, note, out, print_json


def push_command(
    folder: Path,
    repo: str,
    *,
    public: Annotated[bool, Parameter(negative=())] = False,
    message: str = "Upload by Puna",
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    yes: Annotated[bool, Parameter(negative=(), alias="-y")] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Push a model or an adapter to a hub; shows what is sent, and asks.

    Parameters
    ----------
    folder
        A folder with a config.json, an adapter_config.json or a GGUF file.
    repo
        ORG/NAME; it is made where it is not there, private unless --public is given.
    public
        Let everybody see it.
    message
        Of the commit.
    dry_run
        Show what would be sent, and stop.
    yes
        Do not ask.
    json
        Print one JSON object when done.
    """
    from puna.source import human_bytes, plan_push, push

    plan = plan_push(folder)
    for name, size in plan.files:
        err.print(f"{human_bytes(size):>9}  {name}", soft_wrap=True, markup=False)
    for name, why in plan.left_out:
        note(f"left out  {name}: {why}")
    facts = {"repo": repo, "files": dict(plan.files), "bytes": plan.size, "public": public}
    if dry_run:
        if json:
            print_json({**facts, "pushed": False})
        return
    seen = "everybody" if public else "nobody but its owner"
    total = human_bytes(plan.size)
    confirm(f"Send {len(plan.files)} files, {total}, to {repo}, seen by {seen}?", yes=yes)
    address, commit = push(plan, repo, public=public, message=message)
    if json:
        print_json({**facts, "pushed": True, "address": address, "commit": commit})
        return
    out.print(f"pushed: {address} at {commit[:12]}", soft_wrap=True)
