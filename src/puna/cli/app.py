"""The command table and the one place where errors become exit codes."""

from __future__ import annotations

import os
import sys

from cyclopts import App, CycloptsError

import puna
from puna.cli.show import fail, prepare_streams
from puna.errors import PunaError

app = App(
    name="puna",
    version=puna.__version__,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
    help="""From an open language model and your data to a specialist you own.

    Start with `puna chat`: it talks to cria, the baby llama that ships inside. Every command has
    `--help` with an example and `--json` for machines.
    """,
    help_epilogue="MODEL is a folder with a checkpoint, a GGUF file, the built-in name `cria`, the "
    "id of a model that was pulled, or a name of Ollama's store.",
)
# How torch says that memory ran out, on a processor and on a card.
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")
# Summary and example of each command; its module is imported only when it runs.
_COMMANDS = {
    "chat": (
        "Talk to a model, or ask it one thing.",
        'puna chat --message "What do llamas eat?" --max-tokens 60',
    ),
    "generate": (
        "Continue a prompt and stream the text.",
        'puna generate --prompt "Once upon a time" --max-tokens 60',
    ),
    "render": (
        "Show what a chat template makes of messages, and what of it the assistant says.",
        "puna render vicuna messages.json --json",
    ),
    "inspect": (
        "Show architecture, parameters, memory and license of a model.",
        "puna inspect ./my-llama --json",
    ),
    "plan": (
        "Show whether a model fits, and what its tokens cost, before it is downloaded.",
        "puna plan mixtral --device 80GB --context 8192",
    ),
    "tokenize": (
        "Turn text into token ids, and back.",
        'puna tokenize cria "A cria hums." --json',
    ),
    "tune": (
        "Tune a LoRA adapter on conversations.",
        "puna tune cria tickets.jsonl --out runs/triage --epochs 4",
    ),
    "eval": (
        "Score a model on a task file, with 95 % confidence intervals.",
        "puna eval cria heldout.jsonl --adapter runs/triage/adapter",
    ),
    "verify": (
        "Show whether a model is still the one that was sealed.",
        "puna verify cria --json",
    ),
    "quantize": (
        "Pack a model's weights in 8 or 4 bits, and show what that costs.",
        "puna quantize cria cria-int4 --format int4",
    ),
    "export": (
        "Write a model as a GGUF file for llama.cpp, or as safetensors.",
        "puna export cria --type q8_0 --out cria-q8_0.gguf",
    ),
    "pull": (
        "Pull a model from a hub to this disk.",
        "puna pull smollm2",
    ),
    "list": (
        "Show which models are on this disk, or which are well known.",
        "puna list --catalog",
    ),
    "show": (
        "Show what a model is: license, files, what it was trained on and is good for.",
        "puna show smollm2",
    ),
    "rm": (
        "Remove a pulled model from this disk.",
        "puna rm HuggingFaceTB/SmolLM2-135M-Instruct --yes",
    ),
    "merge": (
        "Merge an adapter into its model and save the whole.",
        "puna merge cria --adapter runs/triage/adapter --out triage-model",
    ),
    "push": (
        "Push a model or an adapter to a hub, private unless said otherwise.",
        "puna push triage-model my-name/triage-model",
    ),
    "serve": (
        "Serve a model over HTTP as the OpenAI SDK speaks it.",
        "puna serve cria --adapter runs/triage/adapter --port 8000 --api-key secret",
    ),
}
# Modules that cannot be called as their command is.
_MODULES = {"list": "list_models", "show": "show_model"}
for _name, (_summary, _example) in _COMMANDS.items():
    app.command(
        f"puna.cli.{_MODULES.get(_name, _name)}:{_name}_command",
        name=_name,
        help=f"{_summary}\n\nExample: `{_example}`",
    )


def main(argv: list[str] | None = None) -> None:
    """Run one command; exit 0, 1 for an error, 2 for bad arguments, 130 for Ctrl-C."""
    try:
        prepare_streams()
        app(argv, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        what = " ".join(str(error).split())
        command = " ".join(error.command_chain or ())
        fail(f"{what}\n  try: {' '.join(f'puna {command}'.split())} --help")
        sys.exit(2)
    except PunaError as error:
        fail(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        fail("interrupted; nothing that was written is lost")
        sys.exit(130)
    except BrokenPipeError:
        # The reader left, as `head` does; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if os.environ.get("PUNA_TRACEBACK"):  # noqa: TID251
            raise
        fail(_unforeseen(error))
        sys.exit(1)


def _unforeseen(error: Exception) -> str:
    """Return what to say of an error that no room has translated, in two lines."""
    what = " ".join(str(error).split())
    if isinstance(error, MemoryError) or any(word in what for word in _NO_MEMORY):
        return (
            "there is not enough memory for this\n"
            "  try: a smaller model, --dtype bfloat16, or smaller limits; "
            "puna plan MODEL shows what a model takes"
        )
    if isinstance(error, OSError):
        place = f" ({error.filename})" if error.filename else ""
        return (
            f"the system refused: {error.strerror or what}{place}\n"
            "  try: check free space, permissions and where the output goes"
        )
    return (
        f"internal error: {type(error).__name__}: {what[:300]}\n"
        "  try: run again with PUNA_TRACEBACK=1 and report what it shows"
    )
