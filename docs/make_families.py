"""Write the made parts of docs/families.md: the table of axes, the models, the worked example.

All of it is read from the registry of families, from the published configs and from the parity
forms, so a family that is registered and tested has its row.
"""

# ruff: noqa: E402 (the path comes first)

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.parity.forms import FORMS
from tests.parity.published import PUBLISHED

from puna.families import families, read_config
from puna.spec import (
    Alibi,
    Attention,
    ClampedSwish,
    Dense,
    Latent,
    LayerSpec,
    ModelSpec,
    MoE,
    Norm,
    Rope,
)

PAGE = ROOT / "docs" / "families.md"
EXAMPLE = "granite"
_SCALINGS = {
    "LinearScaling": "linear",
    "DynamicScaling": "dynamic NTK",
    "YarnScaling": "YaRN",
    "Llama3Scaling": "Llama 3",
    "LongRopeScaling": "LongRoPE",
}
_ACTS = {"silu": "SiLU", "gelu": "GELU", "gelu_tanh": "GELU (tanh)", "relu": "ReLU"}
_GAINS = {"weight": "", "one_plus": " (1 + weight)", "none": " without weight"}
_PLACES = {
    "pre": "before each half",
    "post": "at the end of each half",
    "sandwich": "around each half",
    "after": "after each sum",
}
_RESIDUALS = {
    "sequential": "",
    "parallel_shared": "halves in parallel, one norm",
    "parallel_split": "halves in parallel, two norms",
}


def position(spec: ModelSpec) -> Iterator[str]:
    """Yield how tokens know where they stand."""
    if spec.embed.positions:
        yield "learned"
    kinds = {layer.mixer.position for layer in spec.layers}
    ropes = [kind for kind in kinds if isinstance(kind, Rope)]
    alibis = [kind for kind in kinds if isinstance(kind, Alibi)]
    if ropes:
        yield "rotary"
    if alibis:
        yield "ALiBi"
    if None in kinds and (ropes or alibis):
        yield "none in some layers"
    if len(ropes) > 1:
        yield f"{len(ropes)} bases"
    for mixer in _mixers(spec):
        if isinstance(mixer.position, Rope):
            yield from _rope(mixer.position, mixer.head_dim)


def _rope(rope: Rope, head_dim: int) -> Iterator[str]:
    if rope.interleaved:
        yield "interleaved"
    if rope.dims < head_dim:
        yield "over part of a head"
    if rope.scaling:
        yield f"{_SCALINGS[type(rope.scaling).__name__]} scaling"


def window(spec: ModelSpec) -> Iterator[str]:
    """Yield which layers look back only so far."""
    windows = [layer.mixer.window for layer in spec.layers]
    if any(windows):
        yield "all layers" if all(windows) else "some layers"


def projections(spec: ModelSpec) -> Iterator[str]:
    """Yield how queries, keys and values are made."""
    for mixer in _mixers(spec):
        if isinstance(mixer.qkv, Latent):
            yield "latent"
        else:
            yield "one matrix" if mixer.qkv == "fused" else "apart"
        into = mixer.qkv.bias if isinstance(mixer.qkv, Latent) else mixer.qkv_bias
        if into or mixer.out_bias:
            some = "biases of q, k, v only" if into else "a bias of the output only"
            yield "biases" if into and mixer.out_bias else some


def qk_norm(spec: ModelSpec) -> Iterator[str]:
    """Yield over what queries and keys are normalized."""
    for mixer in _mixers(spec):
        if mixer.qk_norm:
            yield "each head" if mixer.qk_norm.over == "head" else "all heads"


def norms(spec: ModelSpec) -> Iterator[str]:
    """Yield what norms there are and where they stand."""
    for layer in _layers(spec):
        yield _norm(layer.norm)
        yield _RESIDUALS[layer.residual] or _PLACES[layer.placement]
    if spec.embed.norm:
        yield "after the embedding"
    if spec.final_norm is None:
        yield "none at the end"


def network(spec: ModelSpec) -> Iterator[str]:
    """Yield what a feed-forward network, or one expert, computes."""
    for layer in _layers(spec):
        dense = layer.ffn.expert if isinstance(layer.ffn, MoE) else layer.ffn
        yield _dense(dense)
        if dense.bias:
            yield "biases"


def experts(spec: ModelSpec) -> Iterator[str]:
    """Yield how experts are mixed."""
    mixtures = [layer.ffn for layer in _layers(spec) if isinstance(layer.ffn, MoE)]
    if mixtures and any(isinstance(layer.ffn, Dense) for layer in spec.layers):
        yield "not in all layers"
    for moe in mixtures:
        yield f"{moe.router.score} router"
        if moe.router.groups:
            yield "in groups"
        if moe.router.correction:
            yield "corrected scores"
        if moe.shared:
            yield "shared ones"


def factors(spec: ModelSpec) -> Iterator[str]:
    """Yield caps, bounds and factors."""
    for mixer in _mixers(spec):
        if abs(mixer.scale * mixer.head_dim**0.5 - 1) > 1e-9:
            yield "scores not over √head"
        if mixer.softcap:
            yield "capped scores"
        if mixer.clip:
            yield "clipped q, k, v"
        if mixer.sinks:
            yield "sinks"
    if spec.embed.scale != 1:
        yield "embedding × factor"
    if any(layer.scale != 1 for layer in spec.layers):
        yield "residual × factor"
    if spec.head.scale != 1:
        yield "logits × factor"
    if spec.head.softcap:
        yield "capped logits"


def head(spec: ModelSpec) -> Iterator[str]:
    """Yield whose rows make the logits."""
    yield "tied" if spec.head.tied else "its own"
    if spec.head.bias:
        yield "bias"
    if spec.embed.width:
        yield "narrow embedding"


COLUMNS: dict[str, Callable[[ModelSpec], Iterable[str]]] = {
    "position": position,
    "window": window,
    "q, k, v": projections,
    "q/k norm over": qk_norm,
    "norms": norms,
    "network": network,
    "experts": experts,
    "caps and factors": factors,
    "head": head,
}


def _layers(spec: ModelSpec) -> list[LayerSpec]:
    return list(dict.fromkeys(spec.layers))


def _mixers(spec: ModelSpec) -> list[Attention]:
    return list(dict.fromkeys(layer.mixer for layer in spec.layers))


def _norm(norm: Norm) -> str:
    bias = " with bias" if norm.bias else ""
    return ("RMS" if norm.kind == "rms" else "layer") + _GAINS[norm.gain] + bias


def _dense(dense: Dense) -> str:
    act = "clamped swish" if isinstance(dense.act, ClampedSwish) else _ACTS[dense.act]
    fused = ", one matrix" if dense.gate == "fused" else ""
    return f"{act} gate{fused}" if dense.gate else act


def table() -> str:
    """Return one row per family."""
    forms = [read_config(json.loads(form.config().to_json_string())) for form in FORMS]
    published = [read_config(config) for config, _ in PUBLISHED.values()]
    lines = [
        "| `model_type` | " + " | ".join(COLUMNS) + " | checked on |",
        "|---|" + "---|" * (len(COLUMNS) + 1),
    ]
    for kinds in families():
        of_forms, of_published = (
            [spec for spec in specs if spec.family in kinds] for specs in (forms, published)
        )
        specs = [*of_published, *of_forms]
        if not specs:
            raise SystemExit(f"the family {kinds[0]} has neither a published config nor a form")
        cells = [
            "; ".join(dict.fromkeys(said for spec in specs for said in tell(spec))) or "–"
            for tell in COLUMNS.values()
        ]
        checked = f"{_number(of_published, 'model')}, {_number(of_forms, 'form')}"
        lines.append(f"| {', '.join(kinds)} | " + " | ".join([*cells, checked]) + " |")
    return "\n".join(lines)


def _number(things: list[ModelSpec], name: str) -> str:
    return f"{len(things)} {name}" if len(things) == 1 else f"{len(things)} {name}s"


def models() -> str:
    """Return the published models whose configs are counted to the parameter, by family."""
    names = {name: read_config(config).family for name, (config, _) in PUBLISHED.items()}
    lines = []
    for kinds in families():
        own = [name for name, family in names.items() if family in kinds]
        if own:
            lines.append(f"- **{kinds[0]}**: {'; '.join(own)}")
    return "\n".join(lines)


def example() -> str:
    """Return the file of one short family."""
    source = (ROOT / "src" / "puna" / "families" / f"{EXAMPLE}.py").read_text(encoding="utf-8")
    return f"```python\n{source}```"


def page() -> str:
    """Return the page with its made parts made anew."""
    text = PAGE.read_text(encoding="utf-8")
    for name, made in (("table", table()), ("models", models()), ("example", example())):
        start, end = f"<!-- made: {name} -->\n", "<!-- /made -->"
        before, found, rest = text.partition(start)
        if not found:
            raise SystemExit(f"{PAGE.name} has no place for the {name}")
        text = f"{before}{start}\n{made}\n\n{end}{rest.partition(end)[2]}"
    return text


if __name__ == "__main__":
    made = page()
    if "--print" in sys.argv:
        sys.stdout.write(made)
    else:
        PAGE.write_text(made, encoding="utf-8")
