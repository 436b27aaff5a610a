"""Layers that differ: the window of each, and a change made to each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from puna.errors import ConfigError
from puna.families.keys import Keys
from puna.spec import Attention, LayerSpec, ModelSpec

_SLIDING, _FULL = "sliding_attention", "full_attention"


def each_layer(spec: ModelSpec, change: Callable[[int, LayerSpec], LayerSpec]) -> ModelSpec:
    """Return a spec whose layers are changed, each given its number."""
    return replace(spec, layers=tuple(change(i, layer) for i, layer in enumerate(spec.layers)))


def each_mixer(spec: ModelSpec, change: Callable[[int, Attention], Attention]) -> ModelSpec:
    """Return a spec whose layers attend otherwise, each given its number."""
    return each_layer(spec, lambda i, layer: replace(layer, mixer=change(i, layer.mixer)))


def read_windows(
    keys: Keys, layers: int, window: int | None, slides: Callable[[int], bool]
) -> tuple[int | None, ...]:
    """Return the window of each layer: `layer_types` says which have one, else `slides` does.

    Raises:
        ConfigError: a list of another length, a kind of layer that this decoder cannot do, or
            layers with a window where none is given.
    """
    kinds = keys.take("layer_types", default=None)
    if kinds is None:
        kinds = [_SLIDING if slides(i) else _FULL for i in range(layers)]
    if not isinstance(kinds, list) or len(kinds) != layers:
        raise ConfigError(
            f"config key layer_types must list {layers} layers, not {kinds!r:.60}",
            remedy="correct config.json",
        )
    unknown = [kind for kind in kinds if kind not in (_SLIDING, _FULL)]
    if unknown or (window is None and _SLIDING in kinds):
        what = f"{unknown[0]!r:.60}" if unknown else f"{_SLIDING!r}, but there is no sliding_window"
        raise ConfigError(
            f"config key layer_types asks for {what}", remedy=f"known: {_FULL}, {_SLIDING}"
        )
    return tuple(window if kind == _SLIDING else None for kind in kinds)


def read_upper_windows(keys: Keys, layers: int) -> tuple[int | None, ...]:
    """Return the windows of Qwen's layers: none, unless switched on from some layer upward."""
    window = keys.nullable_count("sliding_window", absent=4096)
    first = keys.index("max_window_layers", default=28)
    if not keys.switch("use_sliding_window", default=False):
        window = None
    return read_windows(keys, layers, window, lambda i: window is not None and i >= first)
