"""What forms GGUF can tell, and models of them with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from puna.families import name_table, read_config
from puna.loading import Parts, load_parts
from puna.model import Segments, build, initialize
from puna.weights import save_folder
from tests.parity.forms import FORMS, Form

Config = dict[str, Any]

# Forms that GGUF or llama.cpp has no words for, and the word that the refusal must name.
REFUSED = {
    "llama-rope-dynamic": "DynamicScaling",
    "falcon-7b-bias-untied": "biases",
    "falcon-7b-sequential": "sequential residual",
    "falcon-rw": "ALiBi",
    "falcon-rw-12-heads": "ALiBi",
    "gpt-neox-full-rotary-no-bias": "without biases",
    "gpt-neox-rope-dynamic": "DynamicScaling",
    # llama.cpp computes these architectures without windows, and there is no published model that
    # has one.
    "qwen2-upper-windows": "a sliding window",
    "qwen3-layer-types-biases": "a sliding window",
    "qwen3-moe-window": "a sliding window",
    # It loads no biases behind attention and in networks but where published models have them,
    # and there it asks for them.
    "gemma-biases-untied": "biases",
    "olmo-clipped-tied-biases": "biases",
    "olmo2-multi-query-rope-linear": "biases",
    "smollm3-listed-windows-biases": "biases",
    "qwen3-moe-every-other-bias": "biases",
    "deepseek-v2-biases": "biases",
    "starcoder2-no-biases-untied": "without biases",
    # Scales and caps that no key says: they follow from sizes, or are always there.
    "gemma2": "a scale of the scores",
    "gemma2-no-caps-layer-types": "without a cap",
    "gemma3-text": "a scale of the scores",
    "gemma3-text-rope-linear-capped": "a scale of the scores",
    "gemma3-pictures": "a scale of the scores",
    "gpt2-scale-by-layer": "a scale of the scores",
    "gpt2-unscaled-upcast": "a scale of the scores",
    "mpt-softmax-scale-untied": "a scale of the scores",
    "gpt2-untied-inner-relu": "relu",
    "gpt-oss": "a swish with other bounds",
    "gpt-oss-windows-last-no-bias": "a swish with other bounds",
    "gpt-oss-mxfp4": "a swish with other bounds",
    "qwen3-moe-some-dense-unnormalized": "dense layers",
    "deepseek-v2-group-limited": "judged by their best expert",
    "deepseek-v3-yarn-one-group": "mscale",
    "deepseek-v3-half-rotary-no-q-rank": "biases",
    # Families that llama.cpp does not run.
    **dict.fromkeys(("gptj-partial-rotary", "gptj-full-rotary-tied-inner"), "family gptj"),
    **dict.fromkeys(("gpt-neo-global-and-local", "gpt-neo-local-untied"), "family gpt_neo"),
    **dict.fromkeys(("opt-norm-before", "opt-350m", "opt-350m-untied"), "family opt"),
    **dict.fromkeys(("opt-no-last-norm", "opt-galactica"), "family opt"),
}
# The same forms with what GGUF cannot say put back to what it implies.
CHANGED: dict[str, Config] = {
    "qwen2-upper-windows": {"use_sliding_window": False, "layer_types": None},
    "gemma2": {"query_pre_attn_scalar": 12},
    "gemma2-no-caps-layer-types": {
        "query_pre_attn_scalar": 8,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    },
    "gemma3-text": {"query_pre_attn_scalar": 14},
    "gemma3-text-rope-linear-capped": {"query_pre_attn_scalar": 10},
    "gemma3-pictures": {"query_pre_attn_scalar": 10},
    "olmo-clipped-tied-biases": {"attention_bias": False},
    "olmo2-multi-query-rope-linear": {"attention_bias": False},
    "gpt2-untied-inner-relu": {"activation_function": "gelu_new"},
    "gpt-oss": {"swiglu_limit": 7.0},
    "gpt-oss-windows-last-no-bias": {
        "swiglu_limit": 7.0,
        "attention_bias": True,
        "tie_word_embeddings": False,
    },
    "qwen3-moe-some-dense-unnormalized": {"mlp_only_layers": [], "norm_topk_prob": True},
    "deepseek-v3-half-rotary-no-q-rank": {"rope_interleave": True, "attention_bias": False},
    "deepseek-v3-yarn-one-group": {
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 10_000.0,
            "factor": 4.0,
            "original_max_position_embeddings": 16,
            "mscale": 0.8,
            "mscale_all_dim": 0.8,
        }
    },
}
TOLD = [form for form in FORMS if form.id not in REFUSED or form.id in CHANGED]


def config_of(form: Form) -> Config:
    config: Config = form.config().to_diff_dict()
    return {**config, "model_type": form.config().model_type}


def told_config(form: Form) -> Config:
    """Return the config of a form, changed to what GGUF can say."""
    config, changes = config_of(form), CHANGED.get(form.id, {})
    if "text_config" in config:
        return {**config, "text_config": {**config["text_config"], **changes}}
    return {**config, **changes}


def model_of(config: Config, folder: Path, seed: int = 1) -> Parts:
    """Save a random model as a folder, large enough weights to matter, and open it."""
    spec = read_config(config)
    model = build(spec, device="cpu")
    initialize(model, seed=seed, std=0.2)
    with torch.no_grad():
        for parameter in model.parameters():  # norms away from one, biases from zero
            parameter.add_(torch.randn(parameter.shape) * 0.05)
            if parameter.ndim == 1:  # norms to which one can be added without a loss
                parameter.copy_((parameter * 4096).round() / 4096)
    save_folder(model, name_table(spec), folder, config=config)
    return load_parts(folder, device="cpu")


@torch.no_grad()
def logits(parts: Parts, count: int = 23) -> torch.Tensor:
    ids = torch.randint(parts.spec.vocab, (count,), generator=torch.Generator().manual_seed(2))
    ctx = Segments([count])
    return parts.model.head(parts.model(ids, ctx.positions, ctx), ctx.rows)


def parameters(parts: Parts) -> dict[str, torch.Tensor]:
    return dict(parts.model.named_parameters())
