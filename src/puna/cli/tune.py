"""`puna tune`: a LoRA adapter from conversations."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from puna.cli.opening import Quant
from puna.cli.show import bars, note, out, print_json

if TYPE_CHECKING:
    from types import FrameType

    from puna.jobs import Tuned
    from puna.tune import Settings, Step


@Parameter(name="*")
@dataclass(frozen=True)
class Training:
    """How to train."""

    epochs: int = 3
    "Passes over the data."
    batch_size: int = 16
    "Examples per step."
    learning_rate: float = 1e-3
    "The highest; it rises over the first 5 % of all steps and falls to a tenth."
    rank: int = 8
    "Rank of the updates."
    alpha: float = 16.0
    "The updates are scaled by alpha / rank."
    dropout: float = 0.0
    "Share of an adapter's inputs that is dropped in training."
    targets: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    "Module to adapt, such as q_proj; may be repeated. Without it: all linear maps."
    seed: int = 0
    "Of the order and of the adapter's first values."
    save_every: int = 50
    "Steps between checkpoints; what was done since the last one is lost by a kill."
    micro_tokens: int = 8192
    "Tokens that run at once: less takes less memory, and changes nothing else."

    def settings(self) -> Settings:
        """Return what the training loop reads."""
        from puna.tune import Settings

        return Settings(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            seed=self.seed,
            save_every=self.save_every,
            micro_tokens=self.micro_tokens,
        )


def tune_command(
    model: str,
    data: Path,
    *,
    out_folder: Annotated[Path, Parameter(name="--out")],
    resume: Annotated[bool, Parameter(negative=())] = False,
    training: Training | None = None,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    quant: Quant = "auto",
    device: str = "auto",
    ignore_key: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    template: str | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Tune a LoRA adapter; what the assistant says is learned, and nothing else.

    Parameters
    ----------
    model
        A folder with a checkpoint, a GGUF file, or a built-in name.
    data
        JSONL: a conversation `{"messages": […]}` or a text `{"text": "…"}` on each line.
    out_folder
        Where the adapter goes, and the state to resume from.
    resume
        Go on with the run in that folder; it ends in the same weights as without the break.
    dtype
        What the base is kept in; the adapter trains in float32.
    quant
        Pack the base in 8 or 4 bits as it is read (QLoRA), or keep what is packed.
    device
        cpu, cuda or auto.
    ignore_key
        What to pass over: a config key, seal (not as sealed), memory (planned not to fit).
    template
        A published chat format by name, such as vicuna, or a .jinja or .gotmpl file.
    json
        Print one JSON object when done.
    """
    from puna.jobs import Lora, check_out, open_base, tune

    how = training or Training()
    lora, settings = Lora(how.rank, how.alpha, how.dropout, how.targets), how.settings()
    check_out(out_folder, resume=resume)
    with bars() as bar:
        base = open_base(
            model,
            data,
            lora=lora,
            settings=settings,
            dtype=dtype,
            quant=quant,
            device=device,
            ignore_keys=ignore_key,
            template=template,
            on_load=bar("loading", "B"),
            on_encode=bar("encoding", "examples"),
        )
    note(
        f"{len(base.examples)} examples, {base.tokens:,} tokens, of which {base.learned:,} "
        f"are learned, {settings.epochs} times"
    )
    if not base.ending:
        note(
            "no example teaches the model to end its answer: the chat template leaves its stop "
            "token out of what is learned, or has none"
        )
    with bars() as bar, _ctrl_c() as stop:
        update = bar("tuning", "steps")

        update(0)
        done = tune(
            base,
            out_folder,
            lora=lora,
            settings=settings,
            resume=resume,
            on_step=lambda step: update(step.step, step.steps, _remark(step)),
            stop=stop,
        )
    _print(model, done, json=json)


def _remark(step: Step) -> str:
    return f"loss {step.loss:.3f}  {step.tokens / step.seconds:,.0f} tokens/s"


def _print(model: str, done: Tuned, *, json: bool) -> None:
    for remark in done.remarks:
        note(f"mind: {remark}")
    first, last, steps = done.losses[0], done.losses[-1], len(done.losses)
    if json:
        facts = {"adapter": str(done.adapter), "steps": steps}
        seconds = round(done.seconds, 3)
        losses = {"first_loss": first, "last_loss": last}
        print_json({**facts, **losses, "seconds": seconds, "remarks": list(done.remarks)})
        return
    out.print(f"loss {first:.3f} → {last:.3f} in {steps} steps, {done.seconds:.0f} s")
    out.print(f"adapter: {done.adapter}", soft_wrap=True)
    out.print(f"try: puna chat {model} --adapter {done.adapter}", style="dim", soft_wrap=True)


@contextmanager
def _ctrl_c() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C end the run after the step it is in, and the second at once."""
    pressed: list[int] = []

    def press(number: int, frame: FrameType | None) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)
        note("stopping after this step, which is saved; Ctrl-C again stops at once")

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: bool(pressed)
    except KeyboardInterrupt:
        note("the same command with --resume goes on")
        raise
    finally:
        signal.signal(signal.SIGINT, before)
