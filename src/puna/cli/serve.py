"""`puna serve`: an OpenAI-compatible server on this machine."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

from cyclopts import Parameter

from puna.cli.opening import Opening
from puna.cli.show import bars, note, out, print_json


def serve_command(
    model: str = "cria",
    *,
    port: int = 8000,
    host: str = "127.0.0.1",
    api_key: str | None = None,
    name: str | None = None,
    opening: Opening | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Serve a model over HTTP.

    Parameters
    ----------
    model
        A folder with a checkpoint, a GGUF file, or a built-in name.
    port
        Where to listen; 0 takes a free one.
    host
        The address to bind; the default can be reached from this machine only.
    api_key
        The key that clients must send; without it one is made and kept in PUNA_HOME.
    name
        What clients call the model; by default the folder's name.
    json
        Print one JSON object with address, model and key when ready.
    """
    from puna.jobs import server_key
    from puna.seal import SEAL_KEY
    from puna.serve import serve

    opening = opening or Opening()
    lm = opening.open(model)
    key = server_key() if api_key is None else api_key
    model_id = name or lm.parts.source.name

    waiting = ExitStack()

    def ready(address: str) -> None:
        waiting.close()
        if json:
            print_json({"base_url": f"{address}/v1", "model": model_id, "api_key": key})
            return
        out.print(f"serving {model_id} at {address}/v1", style="bold", soft_wrap=True)
        if api_key is None:
            out.print(f"key: {key}", soft_wrap=True)
        out.print(
            f"try: OpenAI(base_url='{address}/v1', api_key='…')"
            f".chat.completions.create(model='{model_id}', messages=[…])",
            style="dim",
            soft_wrap=True,
        )

    with waiting:
        waiting.enter_context(bars())("golden prompts", "prompts")(0)
        serve(
            lm,
            host=host,
            port=port,
            api_key=key,
            model_id=model_id,
            on_ready=ready,
            on_remark=lambda remark: note(f"mind: {remark}"),
            insist=SEAL_KEY not in opening.ignore_key,
        )
