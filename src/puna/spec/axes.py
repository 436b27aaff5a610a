"""The records. A sub-record that is present is the flag; a wrong combination raises when made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from puna.errors import ConfigError

_MOST_EXPERTS = 1 << 17

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


@dataclass(frozen=True, slots=True)
class LongRopeScaling:
    """LongRoPE (Ding et al. 2024): a divisor per frequency, of which there are two lists.

    `long` serves sequences admitted with more than `original_context` tokens, `short` the others.
    `attention_factor` multiplies cosine and sine.
    """

    short: tuple[float, ...]
    long: tuple[float, ...]
    original_context: int
    attention_factor: float = 1.0


RopeScaling = LinearScaling | DynamicScaling | YarnScaling | Llama3Scaling | LongRopeScaling


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
        if isinstance(self.scaling, DynamicScaling):
            _require(self.dims > 2, "dynamic rope scaling needs more than two dims")
        if isinstance(self.scaling, LongRopeScaling):
            sizes = {len(self.scaling.short), len(self.scaling.long)}
            _require(sizes == {self.dims // 2}, "longrope needs one divisor for each frequency")


@dataclass(frozen=True, slots=True)
class Alibi:
    """Linear biases instead of positions (Press et al. 2021).

    `divided`: the bias is divided by √head_dim together with the scores (Falcon); otherwise it is
    added after scaling (BLOOM). `rounded`: slope times key position is rounded to bfloat16, as the
    published Falcon code does; the position then counts from the start of the sequence.
    `steepest` is the exponent of the last slope, 2^-steepest, for a power of two heads (MPT).
    """

    divided: bool = False
    rounded: bool = False
    steepest: float = 8.0


@dataclass(frozen=True, slots=True)
class LearnedPositions:
    """A table of position vectors added to the embedding; rows start at `offset`."""

    rows: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Norm:
    """Root-mean-square or layer normalization over the last axis, computed in float32.

    `gain` is what the normalized values are multiplied by: the `weight`, `one_plus` the weight
    (Gemma), or `none`.
    """

    kind: Literal["rms", "layer"]
    eps: float
    bias: bool = False
    gain: Literal["weight", "one_plus", "none"] = "weight"

    def __post_init__(self) -> None:
        _require(self.eps > 0, f"norm epsilon must be positive, not {self.eps}")
        _require(not (self.kind == "rms" and self.bias), "an rms norm has no bias")
        combined = {("rms", "weight"), ("rms", "one_plus"), ("layer", "weight"), ("layer", "none")}
        _require((self.kind, self.gain) in combined, f"no {self.kind} norm has gain {self.gain}")
        _require(not (self.gain == "none" and self.bias), "a norm without a weight has no bias")


@dataclass(frozen=True, slots=True)
class QKNorm:
    """Norms of queries and keys before they are turned, over each `head` or over `all` heads."""

    norm: Norm
    over: Literal["head", "all"]


@dataclass(frozen=True, slots=True)
class Latent:
    """Projections through a narrow middle (multi-head latent attention, DeepSeek-V2 2024).

    Keys and values come from one latent of `kv_rank` per token; `rope_dim` turned dims of the key
    are shared by all heads and the other dims of a head are not turned. `q_rank` of None projects
    the queries directly. `norm` stands in the middle, and its `bias` is that of the maps down.
    """

    kv_rank: int
    q_rank: int | None
    rope_dim: int
    norm: Norm
    bias: bool = False


@dataclass(frozen=True, slots=True)
class Attention:
    """Causal attention with `heads` query heads that share `kv_heads` key/value heads.

    `qkv` says how the checkpoint stores the projections, and so what one adapter may target:
    `split` (three matrices), `fused` (one; here its rows are all q, then all k, then all v), or
    through a `Latent`. `window` is the number of tokens a token sees, itself included. `scale`
    multiplies q·k, `softcap` c bends the scores to c·tanh(score / c) (Gemma 2), `clip` bounds what
    the projections give, `sinks` adds one learned score per head that takes attention and gives
    nothing (gpt-oss). `value_dim` is the width of a value where it differs from `head_dim`.
    """

    heads: int
    kv_heads: int
    head_dim: int
    scale: float
    position: Rope | Alibi | None
    qkv: Literal["split", "fused"] | Latent = "split"
    qkv_bias: bool = False
    out_bias: bool = False
    window: int | None = None
    qk_norm: QKNorm | None = None
    softcap: float | None = None
    clip: float | None = None
    sinks: bool = False
    value_dim: int | None = None

    def __post_init__(self) -> None:
        _require(min(self.heads, self.kv_heads, self.head_dim) > 0, "attention sizes must be > 0")
        _require(
            self.heads % self.kv_heads == 0,
            f"{self.heads} attention heads cannot share {self.kv_heads} key/value heads evenly",
        )
        if isinstance(self.position, Rope):
            _require(self.position.dims <= self.head_dim, "more rotary dims than the head has")
        _require(self.window is None or self.window > 0, "a sliding window must be positive")
        if isinstance(self.qkv, Latent):
            turned = self.position.dims if isinstance(self.position, Rope) else None
            _require(turned == self.qkv.rope_dim < self.head_dim, "a latent turns its rope dims")
            _require(self.kv_heads == self.heads, "a latent serves every head alike")
            _require(self.qk_norm is None and self.clip is None, "a latent has norms of its own")
        else:
            _require(self.value_dim is None, "only a latent has values of another width")

    @property
    def q_width(self) -> int:
        """Rows of the query projection."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Rows of the key projection, and of the value projection where they are alike."""
        return self.kv_heads * self.head_dim

    @property
    def v_dim(self) -> int:
        """Width of one value."""
        return self.value_dim or self.head_dim


@dataclass(frozen=True, slots=True)
class ClampedSwish:
    """A gate of bounded input: g·σ(alpha·g)·(u + 1), g ≤ limit and |u| ≤ limit (gpt-oss)."""

    alpha: float
    limit: float

    def __str__(self) -> str:
        return "clamped swish"


@dataclass(frozen=True, slots=True)
class Dense:
    """A feed-forward network: `down(act(gate(x)) * up(x))` if gated, else `down(act(up(x)))`.

    `gate` says how the checkpoint stores gate and up: `split`, or `fused` in one matrix whose rows
    are the gate's, then the up's; None is a network without a gate.
    """

    width: int
    act: Activation | ClampedSwish
    gate: Literal["split", "fused"] | None
    bias: bool = False

    def __post_init__(self) -> None:
        _require(self.width > 0, "a feed-forward network needs a width")
        gated = self.gate is not None
        _require(gated or not isinstance(self.act, ClampedSwish), "a clamped swish needs a gate")


@dataclass(frozen=True, slots=True)
class Groups:
    """Experts in `count` groups of which the best `picked` may be used (DeepSeek-V2 2024).

    A group is as good as its `best` expert, or as the sum of its best `two`.
    """

    count: int
    picked: int
    by: Literal["best", "two"]


@dataclass(frozen=True, slots=True)
class Router:
    """How experts are picked and weighed: by `score` of a linear map, with or without `bias`.

    The gates of the picked are divided by their sum if `renormalized`, and multiplied by `scale`.
    `correction` adds a learned number per expert to the scores for picking, not for weighing.
    """

    score: Literal["softmax", "sigmoid"] = "softmax"
    renormalized: bool = True
    scale: float = 1.0
    bias: bool = False
    correction: bool = False
    groups: Groups | None = None


@dataclass(frozen=True, slots=True)
class MoE:
    """A mixture of `experts` dense networks of which a router picks `top_k` per token.

    `shared` is a network that every token passes as well.
    """

    experts: int
    top_k: int
    expert: Dense
    router: Router = Router()
    shared: Dense | None = None

    def __post_init__(self) -> None:
        _require(
            0 < self.top_k <= self.experts,
            f"a router cannot pick {self.top_k} of {self.experts} experts",
        )
        if (groups := self.router.groups) is None:
            return
        size = self.experts // max(groups.count, 1)
        _require(
            size * groups.count == self.experts and 0 < groups.picked <= groups.count,
            f"{groups.picked} of {groups.count} groups of {self.experts} experts cannot be",
        )
        _require(self.top_k <= size * groups.picked, "the groups hold too few experts")
        _require(groups.by == "best" or size > 1, "two experts judge a group, which has one")


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """One block: where its norms stand and how its two halves join the residual stream.

    `sequential`: x += attn(x), then x += ffn(x). `parallel_shared`: both see the same x through
    one norm. `parallel_split`: with a norm each. `placement` of the norms of a sequential block:
    `pre`, at each half's beginning; `post`, at its end, before the sum (OLMo 2); `sandwich`, both
    (Gemma 2); `after` the sum (Vaswani et al. 2017). What a half gives is multiplied by `scale`.
    """

    mixer: Attention
    ffn: Dense | MoE
    norm: Norm
    residual: Literal["sequential", "parallel_shared", "parallel_split"] = "sequential"
    placement: Literal["pre", "post", "sandwich", "after"] = "pre"
    scale: float = 1.0

    def __post_init__(self) -> None:
        plain = self.placement == "pre" and self.scale == 1.0
        _require(
            plain or self.residual == "sequential",
            "a parallel block has its norms before its halves, and no scale",
        )


@dataclass(frozen=True, slots=True)
class Embed:
    """What stands before the first block: token table, optional positions, optional norm.

    `scale` multiplies the token vectors. `width` is that of the table where it differs from the
    model's; a linear map joins the two (OPT-350m).
    """

    norm: Norm | None = None
    positions: LearnedPositions | None = None
    scale: float = 1.0
    width: int | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """The product that turns a hidden state into logits; `tied` reuses the token table.

    `scale` multiplies the logits and `softcap` c bends them to c·tanh(logit / c). `width` is that
    of the rows of the product where it differs from the model's, as in `Embed`.
    """

    tied: bool
    bias: bool = False
    scale: float = 1.0
    softcap: float | None = None
    width: int | None = None


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A decoder, complete. `context` is the longest sequence it was made for, in tokens.

    `extra_layers` more stand in the checkpoint, guess tokens further ahead and are left out
    (multi-token prediction, DeepSeek-V3 2024).
    """

    family: str
    vocab: int
    width: int
    context: int
    embed: Embed
    layers: tuple[LayerSpec, ...]
    final_norm: Norm | None
    head: Head
    extra_layers: int = 0

    def __post_init__(self) -> None:
        _require(self.vocab > 0 and self.width > 0, "vocabulary and width must be positive")
        _require(self.context > 0, "the context must be positive")
        _require(len(self.layers) > 0, "a model needs at least one layer")
        _require(0 <= self.extra_layers <= len(self.layers), "more extra layers than layers")
        experts = sum(layer.ffn.experts for layer in self.layers if isinstance(layer.ffn, MoE))
        # Each is about to be named and built.
        _require(experts <= _MOST_EXPERTS, f"{experts} experts in all are more than can be meant")
        _require(
            not self.head.tied or self.head.width == self.embed.width,
            "a tied head is as wide as the embedding",
        )
