"""SmolLM3: every fourth layer goes without rotary positions."""

from __future__ import annotations

from dataclasses import replace

from puna.errors import ConfigError
from puna.families import llama
from puna.families.keys import Keys
from puna.families.layers import each_mixer, read_windows
from puna.spec import ModelSpec

MODEL_TYPES = ("smollm3",)
names = llama.names


def read(keys: Keys) -> ModelSpec:
    """Read a SmolLM3 config; where there is a window, the layers without rotation have it."""
    spec = llama.read_body(
        keys,
        "smollm3",
        llama.read_ffn(keys, bias=keys.switch("mlp_bias", default=False)),
        attention_bias=keys.switch("attention_bias", default=False),
        theta=2e6,
        context=32_768,
        kv_heads=4,
        tied=True,
    )
    turning = _turning_layers(keys, len(spec.layers))
    keys.skip("max_window_layers")  # another family's key, which nothing reads here
    window = keys.nullable_count("sliding_window", absent=None)
    if not keys.switch("use_sliding_window", default=False):
        window = None
    windows = read_windows(
        keys, len(spec.layers), window, lambda i: window is not None and not turning[i]
    )
    return each_mixer(
        spec,
        lambda i, m: replace(m, position=m.position if turning[i] else None, window=windows[i]),
    )


def _turning_layers(keys: Keys, layers: int) -> list[bool]:
    """Return for each layer whether it has rotary positions: a 1 in `no_rope_layers` means yes."""
    interval = keys.count("no_rope_layer_interval", default=4)
    listed = keys.take("no_rope_layers", default=None)
    if listed is None:
        return [(i + 1) % interval != 0 for i in range(layers)]
    said = isinstance(listed, list) and all(turns in (0, 1) for turns in listed)
    if not said or len(listed) < layers:
        raise ConfigError(
            f"config key no_rope_layers must list a 0 or 1 for each of {layers} layers, "
            f"not {listed!r:.60}",
            remedy="correct config.json",
        )
    return [bool(turns) for turns in listed[:layers]]
