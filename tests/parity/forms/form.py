"""What one form is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEQUENCES = (50, 1, 23, 37)


@dataclass(frozen=True)
class Form:
    """One form: a name, and what builds its reference model with random weights.

    `repack` changes the saved folder; then the reference is what its library loads from there.
    """

    id: str
    config: Callable[[], Any]
    attention: str = "sdpa"  # BLOOM's reference has its eager path only
    repack: Callable[[Path], None] | None = None
    experts: int = 0  # size of the buffers that correct a router and are no parameters there

    def make(self, folder: Path) -> Any:
        """Save a random checkpoint to `folder` and return the reference model in eval mode."""
        import torch
        from transformers import AutoModelForCausalLM

        torch.manual_seed(len(self.id))
        model = AutoModelForCausalLM.from_config(self.config(), attn_implementation=self.attention)
        with torch.no_grad():
            for parameter in model.parameters():
                # Norms and biases away from one and zero, and logits that tell tokens apart.
                parameter.add_(torch.randn_like(parameter) * 0.1)
            for buffer in model.buffers():
                if buffer.shape == (self.experts,):
                    buffer.add_(torch.randn_like(buffer) * 0.1)
        model.tie_weights()
        model.eval().save_pretrained(folder)
        if self.repack is None:
            return model
        self.repack(folder)
        kind = self.attention
        again = AutoModelForCausalLM.from_pretrained(
            folder, attn_implementation=kind, dtype=torch.float32
        )
        return again.eval()


def rope(kind: str, **settings: Any) -> dict[str, Any]:
    """Settings with an original context of 16, so that every test sequence goes beyond it."""
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10_000.0, **settings}}
