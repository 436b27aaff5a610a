"""Reading a published config so that no key that could change the function is passed over."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final

from puna.errors import ConfigError

_MISSING: Final = object()


# The page that says which families there are and how to add one.
PAGE: Final = "docs/families.md"

# Keys that cannot change what the decoder computes, each with its reason.
INERT: Final[Mapping[str, str]] = {
    "_name_or_path": "where the file came from",
    "architectures": "the class name of another library; model_type decides",
    "auto_map": "code of the checkpoint, which never runs",
    "transformers_version": "the version that wrote the file",
    "dtype": "the dtype of the files; tensors say it themselves",
    "torch_dtype": "the dtype of the files; tensors say it themselves",
    "license": "read by the license room",
    "initializer_range": "how training began",
    "attention_dropout": "training only",
    "hidden_dropout": "training only",
    "attention_probs_dropout_prob": "training only",
    "hidden_dropout_prob": "training only",
    "attn_pdrop": "training only",
    "embd_pdrop": "training only",
    "tokenizer_class": "read with the tokenizer",
    "resid_pdrop": "training only",
    "embedding_dropout": "training only",
    "residual_dropout": "training only",
    "classifier_dropout": "a head that a language model does not have",
    "router_aux_loss_coef": "training only",
    "router_jitter_noise": "training only",
    "output_router_logits": "what another library returns",
    "use_cache": "what another library keeps",
    "cache_implementation": "how another library keeps keys and values",
    "output_attentions": "what another library returns",
    "output_hidden_states": "what another library returns",
    "return_dict": "what another library returns",
    "return_dict_in_generate": "what another library returns",
    "is_decoder": "every model here is one",
    "bos_token_id": "read with the tokenizer",
    "eos_token_id": "read with the tokenizer",
    "pad_token_id": "read with the tokenizer",
    "sep_token_id": "read with the tokenizer",
    "unk_token_id": "read with the tokenizer",
    "pretraining_tp": "how training was spread; the sum is the same",
    "chunk_size_feed_forward": "how another library slices work; the result is the same",
    "gradient_checkpointing": "training only",
    "id2label": "a head that a language model does not have",
    "label2id": "a head that a language model does not have",
    "num_labels": "a head that a language model does not have",
    "_num_labels": "a head that a language model does not have",
    "problem_type": "a head that a language model does not have",
    "finetuning_task": "a note",
    "task_specific_params": "defaults of generation",
    "max_length": "a default of generation",
    "min_length": "a default of generation",
    "do_sample": "a default of generation",
    "temperature": "a default of generation",
    "top_k": "a default of generation",
    "top_p": "a default of generation",
    "repetition_penalty": "a default of generation",
    "num_beams": "a default of generation",
    "length_penalty": "a default of generation",
    "no_repeat_ngram_size": "a default of generation",
    "num_return_sequences": "a default of generation",
    "max_sequence_length": "the length of training rows; max_position_embeddings is the context",
    "torchscript": "how another library runs",
    "unsloth_version": "the tool that wrote the file",
    "unsloth_fixed": "the tool that wrote the file",
    "masked_softmax_fusion": "a kernel of another library",
    "bias_dropout_fusion": "a kernel of another library",
    "skip_bias_add": "how another library orders one sum",
    "skip_bias_add_qkv": "how another library orders one sum",
    "attention_softmax_in_fp32": "softmax is always computed in float32",
    "_attn_implementation": "a kernel of another library",
    "_attn_implementation_autoset": "a kernel of another library",
}
# What is built once per layer or expert is bounded: a lying file must not exhaust the machine.
MANY: Final = 4096
# Values at which a key changes nothing; any other value is refused.
_NEUTRAL: Final[Mapping[str, Any]] = {
    "is_encoder_decoder": False,
    "add_cross_attention": False,
    "cross_attention_hidden_size": None,
    "tie_encoder_decoder": False,
    "quantization_config": None,
    "pruned_heads": {},
    "layer_types": None,
    "partial_rotary_factor": 1.0,
    "use_bfloat16": False,
}
_ACTIVATIONS: Final = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}


class Keys:
    """A config whose keys are ticked off as they are read.

    Args:
        values: the config, or an object inside it.
        inside: the name of that object, for errors.
        inert: keys that may stay unread, each with its reason; those of a config by default, and
            none inside it.
        where: the file, for errors.
        remedy: what errors say about a value that is missing or wrong.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        inside: str = "",
        inert: Mapping[str, str] | None = None,
        *,
        where: str | None = "config.json",
        remedy: str = "correct it, or get it again from where the model came from",
    ) -> None:
        self._values = values
        self._inside = f"{inside}." if inside else ""
        self._where, self._remedy = where, remedy
        self._read: set[str] = set()
        self._inert = ({} if inside else INERT) if inert is None else inert
        self._inner: list[Keys] = []

    def has(self, key: str) -> bool:
        """Tell whether a key is there and not null; reading it is still to come."""
        return self._values.get(key) is not None

    def take(self, *names: str, default: Any = _MISSING) -> Any:
        """Return the value under the first of `names` that is there and not null.

        Spellings that are both there must agree.
        """
        found = {n: self._values[n] for n in names if self._values.get(n) is not None}
        self._read.update(names)
        if not found:
            if default is _MISSING:
                raise self._wrong(names[0], "is missing")
            return default
        first = next(iter(found.values()))
        if any(value is not first and value != first for value in found.values()):  # NaN is not NaN
            raise self._wrong(" and ".join(found), "disagree")
        return first

    def assume(self, **defaults: Any) -> None:
        """Take these values where a key is absent, as the published class does."""
        self._values = {**defaults, **self._values}

    def config(self, name: str) -> Keys:
        """Return the whole config of a part that stands inside this one; `finish` serves both."""
        values = self.take(name)
        if not isinstance(values, Mapping):
            raise self._wrong(name, f"must be an object, not {values!r:.60}")
        inner = Keys(values, self._inside + name, INERT)
        self._inner.append(inner)
        return inner

    def skip(self, *names: str) -> None:
        """Tick off keys that change nothing in this family, whatever they say."""
        self._read.update(names)

    def count(self, *names: str, default: Any = _MISSING, most: int = (1 << 40) - 1) -> int:
        """Return a whole number from 1 to `most`; a default of None may come back as it is."""
        value = self.take(*names, default=default)
        if value is default and default is not _MISSING:
            return value  # type: ignore[no-any-return]
        if type(value) is not int or value < 1:
            raise self._wrong(names[0], f"must be a positive whole number, not {value!r:.60}")
        if value > most:
            raise self._wrong(names[0], f"must be at most {most:,}, not {value!r:.60}")
        return value

    def layers(self, *names: str, default: Any = _MISSING) -> int:
        """Return a number of layers, which are about to be spelled out one by one."""
        return self.count(*names, default=default, most=MANY)

    def share(self, width: int, heads: int) -> int:
        """Return the dims of one head, an equal share of the width."""
        if heads > width:
            raise self._wrong("hidden_size", f"= {width} is too little for {heads} heads")
        return width // heads

    def nullable_count(self, key: str, *, absent: int | None) -> int | None:
        """Return a positive whole number, None where the key is null, `absent` where it is not."""
        if key not in self._values:
            return absent
        return self.count(key, default=None)

    def index(self, *names: str, default: int) -> int:
        """Return a whole number of at least zero."""
        value = self.take(*names, default=default)
        if type(value) is not int or not 0 <= value < 1 << 40:
            raise self._wrong(
                names[0], f"must be a whole number of at least zero, not {value!r:.60}"
            )
        return value

    def number(self, *names: str, default: Any = _MISSING) -> float:
        """Return a finite number above zero; a default of None may come back as it is."""
        value = self.take(*names, default=default)
        if value is default and default is not _MISSING:
            return value  # type: ignore[no-any-return]
        if not _positive(value):
            raise self._wrong(names[0], f"must be a number above zero, not {value!r:.60}")
        return float(value)

    def nullable_number(self, key: str, *, absent: float | None) -> float | None:
        """Return a number above zero, None where the key is null, `absent` where it is not."""
        if key not in self._values:
            return absent
        return self.number(key, default=None)

    def numbers(self, name: str) -> tuple[float, ...]:
        """Return a list of finite numbers above zero."""
        values = self.take(name)
        if not isinstance(values, list) or not all(_positive(value) for value in values):
            raise self._wrong(name, "must be a list of numbers above zero")
        return tuple(map(float, values))

    def switch(self, *names: str, default: bool) -> bool:
        """Return true or false."""
        value = self.take(*names, default=default)
        if type(value) is not bool:
            raise self._wrong(names[0], f"must be true or false, not {value!r:.60}")
        return value

    def activation(self, *names: str, default: str) -> Any:
        """Return the activation in our spelling."""
        value = self.take(*names, default=default)
        if not isinstance(value, str) or value not in _ACTIVATIONS:
            known = ", ".join(_ACTIVATIONS)
            raise self._wrong(names[0], f"is {value!r:.60}, not one of {known}")
        return _ACTIVATIONS[value]

    def neutral(self, key: str, *values: Any) -> None:
        """Accept a key only at a value that changes nothing, or absent."""
        value = self.take(key, default=None)
        if value is not None and not any(value == v and type(value) is type(v) for v in values):
            raise self._wrong(key, f"is {value!r:.60}, which this decoder cannot do")

    def finish(self, ignore: Iterable[str] = ()) -> None:
        """Refuse every key that was not read and could change the function."""
        ignored = set(ignore)
        left = {
            key: value
            for key, value in self._values.items()
            if key not in self._read and key not in ignored
        }
        for key, value in left.items():
            if key not in self._inert and value is not None:
                if key in _NEUTRAL and value == _NEUTRAL[key]:
                    continue
                shown = key if key.isprintable() and len(key) <= 80 else f"{key!r:.80}"
                raise ConfigError(
                    f"config key {self._inside + key!r:.160} = {value!r:.80} is unknown "
                    "and could change what the model computes",
                    where=self._where,
                    remedy=f"if you know that it does not, pass --ignore-key {shown}; "
                    f"how a family learns a key: {PAGE}",
                )
        for inner in self._inner:
            inner.finish(ignored)

    def _wrong(self, key: str, reason: str) -> ConfigError:
        what = f"config key {self._inside + key} {reason}"
        return ConfigError(what, where=self._where, remedy=self._remedy)


def _positive(value: Any) -> bool:
    # Held against the largest float, so that whole numbers beyond it are never converted.
    return type(value) in (int, float) and 0 < value <= sys.float_info.max
