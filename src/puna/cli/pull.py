"""`puna pull`: a model from a hub to this disk."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from puna.cli.show import bars, out, print_json, with_file


def pull_command(
    model: str,
    *,
    file: str | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Pull a model from a hub; a pull that broke off goes on where it stopped.

    Parameters
    ----------
    model
        ORG/NAME, ORG/NAME@REVISION, or a short name that puna list --catalog shows.
    file
        A GGUF file of the repository, by name or by quant such as Q4_K_M.
    json
        Print one JSON object when done.
    """
    from puna.source import human_bytes, pull

    with bars() as bar:
        done = pull(
            model,
            file=file,
            on_check=bar("checking", "B"),
            on_bytes=with_file(bar("pulling", "B")),
        )
    source = done.source
    if json:
        print_json(
            {
                "model": source.name,
                "revision": source.revision,
                "path": str(source.path),
                "license": source.license,
                "bytes": done.total,
                "fetched": done.fetched,
                "files": dict(source.files or {}),
            }
        )
        return
    came = f"{human_bytes(done.fetched)} fetched" if done.fetched else "all of it was here"
    out.print(f"{source.name} at {(source.revision or '')[:12]}: {human_bytes(done.total)}, {came}")
    out.print(f"license: {source.license or 'none stated'}", soft_wrap=True)
    out.print(f"folder: {source.path}", soft_wrap=True)
    out.print(f"try: puna show {model}", style="dim", soft_wrap=True)
