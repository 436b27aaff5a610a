"""`puna chat`: talk to a model, or ask it one thing."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.text import Text

from puna.cli.forms import Form
from puna.cli.opening import TEXT, Opening, Sampling
from puna.cli.show import err, note, out, print_json, say

if TYPE_CHECKING:
    from puna.generate import LanguageModel, Options

_TOY = (
    "cria is a toy of 3 M parameters that ships with Puna: it tells small stories of the high "
    "grassland.\nFor real work give a model of your own: puna chat PATH-TO-MODEL"
)


def chat_command(
    model: str = "cria",
    *,
    message: Annotated[str | None, TEXT] = None,
    system: Annotated[str | None, TEXT] = None,
    sampling: Sampling | None = None,
    form: Form | None = None,
    opening: Opening | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Talk to a model; `/new` starts over and `/exit` or Ctrl-D leaves.

    Parameters
    ----------
    model
        A folder with a checkpoint, a GGUF file, or a built-in name.
    message
        Ask this one thing and leave; `-` reads it from standard input.
    system
        A system message before the first turn.
    json
        Print one JSON object; needs --message.
    """
    from puna.errors import UsageError
    from puna.generate import Options

    if json and message is None:
        raise UsageError("--json needs --message", remedy='puna chat --message "Hello" --json')
    if model == "cria":
        note(_TOY)
    lm = (opening or Opening()).open(model)
    options = Options(**asdict(sampling or Sampling()), **(form or Form()).fields())
    start = [{"role": "system", "content": system}] if system else []
    if message is None:
        _talk(lm, start, options)
        return
    text = sys.stdin.read() if message == "-" else message
    messages = [*start, {"role": "user", "content": text}]
    if json:
        with err.status("answering"):
            done = lm.chat(messages, options)
        print_json(asdict(done))
    else:
        _answer(lm, messages, options)


def _talk(lm: LanguageModel, start: list[dict[str, str]], options: Options) -> None:
    from puna.errors import PunaError

    messages = list(start)
    while True:
        try:
            line = out.input(Text("you ", style="bold")).strip()
        except EOFError:
            return
        if line == "/exit":
            return
        if line == "/new":
            messages = list(start)
        elif line:
            messages.append({"role": "user", "content": line})
            try:
                messages.append(
                    {"role": "assistant", "content": _answer(lm, messages, options, name=True)}
                )
            except PunaError as error:  # of this line; the conversation goes on
                messages.pop()
                note(f"{error}\n  or type /new to start over, /exit to leave")
            except KeyboardInterrupt:
                messages.pop()
                sys.stdout.write("\n")


def _answer(
    lm: LanguageModel, messages: list[dict[str, str]], options: Options, *, name: bool = False
) -> str:
    if name:
        out.print(Text("model ", style="bold green"), end="")
    said = []
    for text in lm.chat_stream(messages, options):
        say(text)
        said.append(text)
    say("\n")
    return "".join(said)
