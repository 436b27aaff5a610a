"""The records. A sub-record that is present is the flag; a wrong combination raises when made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from puna.errors import ConfigError

Activation = Literal["silu", "gelu", "gelu_tanh", "relu"]


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ConfigError(what, remedy="correct the value in config.json")


@dataclass(frozen=True, slots=True)
class LinearScaling:
    """Positions divided by `factor` (position interpolation, Chen et al. 2023)."""

    factor: float


@dataclass(frozen=True, slots=True)
class DynamicScaling:
    """NTK-aware base that grows with the sequence beyond `original_context` tokens.

    The base depends on the length of the whole sequence; for one that grows, Puna fixes that
    length at admission (prompt plus the tokens asked for), so keys never need a second rotation.
    """

    factor: float
    original_context: int


@dataclass(frozen=True, slots=True)
class YarnScaling:
    """YaRN (Peng et al. 2023): interpolate low frequencies, keep high ones, scale attention.

    `attention_factor` multiplies cosine and sine. `truncate` rounds the ramp to whole dims.
    """

    factor: float
    original_context: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float = 1.0
    truncate: bool = True


@dataclass(frozen=True, slots=True)
class Llama3Scaling:
    """Llama 3.1's rule: wavelengths above a bound are divided by `factor`, with a smooth ramp."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_context: int


RopeScaling = LinearScaling | DynamicScaling | YarnScaling | Llama3Scaling


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary positions (Su et al. 2021) over the first `dims` of each head.

    `interleaved` pairs neighbours (2i, 2i+1); otherwise dim i goes with i + dims/2.
    """

    theta: float
    dims: int
    interleaved: bool = False
    scaling: RopeScaling | None = None

    def __post_init__(self) -> None:
        _require(self.dims > 0 and self.dims % 2 == 0, f"rotary dims must be even, not {self.dims}")
        _require(self.theta > 0, f"rope theta must be positive, not {self.theta}")


@dataclass(frozen=True, slots=True)
class Alibi:
    """Linear biases instead of positions (Press et al. 2021).

    `divided`: the bias is divided by √head_dim together with the scores (Falcon); otherwise it is
    added after scaling (BLOOM). `rounded`: slope times key position is rounded to bfloat16, as the
    published Falcon code does; the position then counts from the start of the sequence.
    """

    divided: bool = False
    rounded: bool = False


@dataclass(frozen=True, slots=True)
class LearnedPositions:
    """A table of position vectors added to the embedding; rows start at `offset`."""

    rows: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Norm:
    """Root-mean-square or layer normalization over the last axis, computed in float32."""

    kind: Literal["rms", "layer"]
    eps: float
    bias: bool = False

    def __post_init__(self) -> None:
        _require(self.eps > 0, f"norm epsilon must be positive, not {self.eps}")
        _require(not (self.kind == "rms" and self.bias), "an rms norm has no bias")


@dataclass(frozen=True, slots=True)
class Attention:
    """Causal attention with `heads` query heads that share `kv_heads` key/value heads.

    `qkv` says how the checkpoint stores the projections, and so what one adapter may target:
    `split` (three matrices) or `fused` (one; here its rows are all q, then all k, then all v).
    `window` is the number of tokens a token sees, itself included. `scale` multiplies q·k.
    """

    heads: int
    kv_heads: int
    head_dim: int
    scale: float
    position: Rope | Alibi | None
    qkv: Literal["split", "fused"] = "split"
    qkv_bias: bool = False
    out_bias: bool = False
    window: int | None = None

    def __post_init__(self) -> None:
        _require(min(self.heads, self.kv_heads, self.head_dim) > 0, "attention sizes must be > 0")
        _require(
            self.heads % self.kv_heads == 0,
            f"{self.heads} attention heads cannot share {self.kv_heads} key/value heads evenly",
        )
        if isinstance(self.position, Rope):
            _require(self.position.dims <= self.head_dim, "more rotary dims than the head has")
        _require(self.window is None or self.window > 0, "a sliding window must be positive")

    @property
    def q_width(self) -> int:
        """Rows of the query projection."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Rows of the key projection, and of the value projection."""
        return self.kv_heads * self.head_dim


@dataclass(frozen=True, slots=True)
class Dense:
    """A feed-forward network: `down(act(gate(x)) * up(x))` if gated, else `down(act(up(x)))`."""

    width: int
    act: Activation
    gated: bool
    bias: bool = False


@dataclass(frozen=True, slots=True)
class MoE:
    """A mixture of `experts` dense networks of which a softmax router picks `top_k` per token.

    The chosen gates are renormalized to sum to one (Mixtral).
    """

    experts: int
    top_k: int
    expert: Dense

    def __post_init__(self) -> None:
        _require(
            0 < self.top_k <= self.experts,
            f"a router cannot pick {self.top_k} of {self.experts} experts",
        )


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """One block: where its norms stand and how its two halves join the residual stream.

    `sequential`: x += attn(norm(x)); x += ffn(norm(x)).
    `parallel_shared`: x += attn(n) + ffn(n) with one norm. `parallel_split`: with a norm each.
    """

    mixer: Attention
    ffn: Dense | MoE
    norm: Norm
    residual: Literal["sequential", "parallel_shared", "parallel_split"] = "sequential"


@dataclass(frozen=True, slots=True)
class Embed:
    """What stands before the first block: token table, optional positions, optional norm."""

    norm: Norm | None = None
    positions: LearnedPositions | None = None
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Head:
    """The product that turns a hidden state into logits; `tied` reuses the token table."""

    tied: bool
    bias: bool = False
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A decoder, complete. `context` is the longest sequence it was made for, in tokens."""

    family: str
    vocab: int
    width: int
    context: int
    embed: Embed
    layers: tuple[LayerSpec, ...]
    final_norm: Norm
    head: Head

    def __post_init__(self) -> None:
        _require(self.vocab > 0 and self.width > 0, "vocabulary and width must be positive")
        _require(self.context > 0, "the context must be positive")
        _require(len(self.layers) > 0, "a model needs at least one layer")
