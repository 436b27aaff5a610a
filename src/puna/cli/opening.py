"""The flags that every command which opens a model shares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from puna.cli.show import bars

if TYPE_CHECKING:
    from puna.generate import LanguageModel


@Parameter(name="*")
@dataclass(frozen=True)
class Opening:
    """How to open the model."""

    adapter: Path | None = None
    "A LoRA folder in PEFT's layout."
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    "What weights are kept in; auto is the checkpoint's own, bfloat16 for a quantized GGUF."
    device: str = "auto"
    "cpu, cuda or auto."
    ignore_key: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    "A config key to pass over although it is unknown; may be repeated."

    def open(self, model: str) -> LanguageModel:
        """Open a model, with a bar where it takes long enough to be seen."""
        from puna.generate import LanguageModel
        from puna.loading import load_parts

        with bars() as bar:
            parts = load_parts(
                model,
                adapter=self.adapter,
                dtype=self.dtype,
                device=self.device,
                ignore_keys=self.ignore_key,
                progress=bar("loading", "B"),
            )
        return LanguageModel(parts)


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
    repetition_penalty: float = 1.0
    "Above 1 makes tokens that were already used less likely."
    stop: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    "Text that ends the answer; may be repeated."
    seed: int | None = None
    "Makes sampling repeatable."
