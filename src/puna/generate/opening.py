"""`puna.load`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from puna.generate.model import LanguageModel
from puna.generate.options import Running
from puna.loading import DType, Quant, load_parts
from puna.plan import Cache
from puna.plan.check import serving


def load(
    model: str | Path = "cria",
    *,
    adapter: str | Path | None = None,
    dtype: DType = "auto",
    quant: Quant = "auto",
    device: str = "auto",
    ignore_keys: Sequence[str] = (),
    pull: bool = False,
    template: str | Path | None = None,
    context: int | None = None,
    batch: int | None = None,
    cache: Cache = "auto",
    deterministic: bool = False,
    speculation: bool = True,
) -> LanguageModel:
    """Open a model: a built-in name, a folder, a GGUF file, or one that was pulled from a hub.

    No connection is made unless `pull` is set.

    Args:
        model: a folder with a config.json and weights, a GGUF file, a built-in name,
            `ORG/NAME[@REVISION]`, or a name of the catalog or of Ollama's store.
        adapter: a LoRA folder in PEFT's layout, or the id of one.
        dtype: `auto` is the checkpoint's own, and bfloat16 for quantized weights (GGUF).
        quant: `int8`, `int4` or `nf4` pack weights as they are read; `keep` computes a GGUF file in
            its own blocks, which `auto` unpacks; `none` unpacks what Puna packed.
        device: `auto` is CUDA where there is some.
        ignore_keys: config keys to pass over although they are unknown; `memory` passes over that
            the model is planned not to fit.
        pull: whether to pull what is not on this disk.
        template: a published chat format by name, such as `vicuna`, or a .jinja or .gotmpl file,
            in place of the folder's own.
        context: the longest sequence to make room for, in tokens; by default the model's context,
            or what of it fits in memory.
        batch: sequences to make room for at once; more wait.
        cache: `int8` keeps keys and values in 8 bits, which takes half the memory of 16.
        deterministic: whether an answer must not depend, to the last bit, on what else runs; see
            `puna.engine.Engine`.
        speculation: whether to guess ahead where that pays, which changes no answer.

    Raises:
        FitError: it would not fit in memory; no weight was read.
        PunaError: the branch of the tree that says which part is at fault.

    >>> import puna
    >>> lm = puna.load("cria")
    >>> lm.chat([{"role": "user", "content": "What is a baby llama called?"}], max_tokens=24).finish
    'stop'
    """
    running = Running(context, batch, cache, deterministic, speculation)
    parts = load_parts(
        model,
        adapter=adapter,
        dtype=dtype,
        quant=quant,
        device=device,
        ignore_keys=ignore_keys,
        pull=pull,
        template=template,
        before=serving(context, batch, cache=cache),
    )
    return LanguageModel(parts, running)
