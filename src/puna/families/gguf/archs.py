"""The records by name and by family. A new one goes into `ARCHS`."""

from __future__ import annotations

from puna.families.gguf.dense import OLMO2, PHI3, STARCODER2
from puna.families.gguf.gemma import GEMMA, GEMMA2, GEMMA3
from puna.families.gguf.llama import GRANITE, LLAMA, OLMO, SMOLLM3
from puna.families.gguf.mixtures import DEEPSEEK2, GPT_OSS
from puna.families.gguf.older import BLOOM, FALCON, GPT2, GPTNEOX, MPT
from puna.families.gguf.qwen import QWEN2, QWEN3, QWEN3MOE

ARCHS = (
    LLAMA,
    QWEN2,
    QWEN3,
    QWEN3MOE,
    GEMMA,
    GEMMA2,
    GEMMA3,
    PHI3,
    OLMO,
    OLMO2,
    SMOLLM3,
    GRANITE,
    STARCODER2,
    GPT_OSS,
    DEEPSEEK2,
    FALCON,
    BLOOM,
    GPTNEOX,
    GPT2,
    MPT,
)
BY_NAME = {arch.name: arch for arch in ARCHS}
BY_FAMILY = {family: arch for arch in ARCHS for family in arch.families}
