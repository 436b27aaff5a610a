"""`puna generate`: continue a prompt."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from puna.cli.forms import Form
from puna.cli.opening import TEXT, Opening, Sampling
from puna.cli.show import err, print_json, say


def generate_command(
    model: str = "cria",
    *,
    prompt: Annotated[str, TEXT],
    sampling: Sampling | None = None,
    form: Form | None = None,
    opening: Opening | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Continue a prompt and stream the text.

    Parameters
    ----------
    model
        A folder with a checkpoint, a GGUF file, or a built-in name.
    prompt
        The text to continue.
    json
        Print one JSON object when done.
    """
    from puna.generate import Options

    lm = (opening or Opening()).open(model)
    options = Options(**asdict(sampling or Sampling()), **(form or Form()).fields())
    if json:
        with err.status("generating"):
            done = lm.generate(prompt, options)
        print_json(asdict(done))
        return
    for text in lm.stream(prompt, options):
        say(text)
    say("\n")
