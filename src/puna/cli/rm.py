"""`puna rm`: remove a pulled model."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from puna.cli.show import confirm, note, out, print_json


def rm_command(
    model: str,
    *,
    yes: Annotated[bool, Parameter(negative=(), alias="-y")] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Remove a pulled model; what another model shares, and what Puna did not fetch, stays.

    Parameters
    ----------
    model
        ORG/NAME for all pulled revisions, ORG/NAME@REVISION, ORG/NAME:FILE for one GGUF file, or
        a name of the catalog.
    yes
        Do not ask.
    json
        Print one JSON object when done.
    """
    from puna.source import human_bytes, plan_removal, remove

    plan = plan_removal(model)
    count = sum(len(names) for names in plan.files.values())
    if not json:
        for commit, names in plan.files.items():
            note(f"{plan.repo} at {commit[:12]}: {', '.join(names)}")
        if plan.shared:
            note(f"{human_bytes(plan.shared)} stay, since another model has them too")
        for cache in plan.kept_elsewhere:
            note(f"files in {cache} stay: Puna found them there and did not fetch them")
    confirm(f"Remove {plan.repo} and free {human_bytes(plan.size)}?", yes=yes)
    remove(plan)
    if json:
        print_json({"model": plan.repo, "freed": plan.size, "shared": plan.shared, "files": count})
        return
    out.print(f"{human_bytes(plan.size)} freed")
