"""The flags that every command which opens a model shares."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from puna.cli.show import bars, note, with_file

if TYPE_CHECKING:
    from puna.generate import LanguageModel


# See `puna.formats.choose_packing`.
Quant = Literal["auto", "none", "keep", "int8", "int4", "nf4"]


def _not_a_flag(_: object, text: str | None) -> None:
    if text is not None and re.fullmatch(r"--[a-z][a-z-]*", text):
        raise ValueError(f"the text is missing, {text} is the next option")


# Of an option that takes text: it may begin with a hyphen, or be one.
TEXT = Parameter(allow_leading_hyphen=True, validator=_not_a_flag)


@Parameter(name="*")
@dataclass(frozen=True)
class Opening:
    """How to open the model."""

    adapter: str | None = None
    "A LoRA folder in PEFT's layout, or the id of one."
    pull: Annotated[bool, Parameter(negative=())] = False
    "Pull what is not on this disk; without it no connection is made."
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    "What weights are kept in; auto is the checkpoint's own, bfloat16 for a quantized GGUF."
    quant: Quant = "auto"
    "Pack weights in 8 or 4 bits as they are read, or keep what is packed; auto unpacks a GGUF."
    device: str = "auto"
    "cpu, cuda or auto."
    ignore_key: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    "What to pass over: a config key, `seal` (not as sealed), `memory` (planned not to fit)."

    template: str | None = None
    "A published chat format by name, such as vicuna, or a .jinja or .gotmpl file."
    context: int | None = None
    "Tokens of the longest sequence. Without it: the model's context, or what of it fits in memory."
    batch: int | None = None
    "Sequences at once, more wait. Without it: as many as memory has room for, at most 64."
    cache: Literal["auto", "int8"] = "auto"
    "What keys and values are kept in: the model's dtype, or 8 bits, which takes half of 16."
    deterministic: Annotated[bool, Parameter(negative=())] = False
    "Answers do not depend, to the last bit, on what runs beside them; slower in torch."
    speculation: bool = True
    "Guess ahead where the text repeats itself; it changes no answer."

    def open(self, model: str) -> LanguageModel:
        """Open a model, with a bar where it takes long enough to be seen."""
        from puna.generate import LanguageModel, Running
        from puna.loading import load_parts
        from puna.plan.check import serving

        running = Running(
            self.context, self.batch, self.cache, self.deterministic, self.speculation
        )
        with bars() as bar:
            parts = load_parts(
                model,
                adapter=self.adapter,
                dtype=self.dtype,
                quant=self.quant,
                device=self.device,
                ignore_keys=self.ignore_key,
                pull=self.pull,
                on_pull=with_file(bar("pulling", "B")),
                on_check=bar("checking", "B"),
                template=self.template,
                before=serving(self.context, self.batch, cache=self.cache),
                progress=bar("loading", "B"),
            )
        for remark in parts.notes:
            note(remark)
        return LanguageModel(parts, running)


@Parameter(name="*")
@dataclass(frozen=True)
class Sampling:
    """How to pick tokens."""

    max_tokens: int = 256
    "The most tokens to generate."
    temperature: float = 0.0
    "0 is greedy and always the same."
    top_p: float = 1.0
    "Keep the smallest set of tokens with this much probability."
    top_k: int = 0
    "Keep this many tokens; 0 keeps all."
    min_p: float = 0.0
    "Drop tokens less likely than this share of the likeliest."
    typical_p: float = 1.0
    "Keep the tokens of about the expected surprise that have this much probability."
    repetition_penalty: float = 1.0
    "Above 1 makes tokens that were already used less likely."
    frequency_penalty: float = 0.0
    "Subtracted from a token's logit for each time the answer has it."
    presence_penalty: float = 0.0
    "Subtracted from a token's logit if the answer has it."
    stop: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    "Text that ends the answer; may be repeated."
    seed: int | None = None
    "Makes sampling repeatable."
