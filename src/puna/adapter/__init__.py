"""LoRA on the built model: attach, read, merge, write, in PEFT's layout."""

from puna.adapter.attach import attach, detach, merge
from puna.adapter.lora import LoraLinear
from puna.adapter.peft import read_adapter, write_adapter

__all__ = ["LoraLinear", "attach", "detach", "merge", "read_adapter", "write_adapter"]
