"""A small model that drafts for a large one (Leviathan et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence

from puna.engine.engine import Engine
from puna.engine.request import Request
from puna.errors import PunaError
from puna.model import Decoder
from puna.spec import ModelSpec


class DraftModel:
    """Drafts what a model of the same vocabulary says greedily.

    It is an engine of its own, and that engine's prefix cache is why a draft costs about as many
    of its tokens as it has: what it computed for the last draft is found again.

    Args:
        model: filled with weights.
        spec: of that model.
        cache_tokens: what its cache holds; by default as any engine's.
    """

    def __init__(self, model: Decoder, spec: ModelSpec, *, cache_tokens: int | None = None) -> None:
        self._engine = Engine(
            model, spec, max_sequences=1, cache_tokens=cache_tokens, speculation=None
        )

    def propose(self, tokens: Sequence[int], count: int) -> Sequence[int]:
        """See `Drafter.propose`.

        Raises:
            PunaError: the tokens are not this model's, or too many for its context.
        """
        (done,) = self._engine.run([Request("draft", tuple(tokens), count)])
        if done.finish == "error":
            raise PunaError(f"the draft model failed: {done.error}")
        return done.token_ids
