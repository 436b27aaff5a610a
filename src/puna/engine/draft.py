"""Guessing what comes next, so that one step may confirm several tokens.

Every guess is one sequence of tokens, not a distribution, and a token that the sampler picks is
kept where it is what was guessed. That is the exact rule of speculative sampling (Leviathan et al.
2023) for a draft that has all its weight on one token x: x is kept with probability
min(1, p(x) / 1) = p(x), and otherwise a token is drawn from p without x, renormalized. A draw from
p does both at once. So the sampler runs as it always does, with the same chances in the same
order, and what is said does not depend on what was guessed.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from puna.engine.sequence import Drafting
from puna.engine.sequence import Sequence as Running
from puna.errors import UsageError

# How fast trust follows what was accepted; below the least of it, how long nothing is proposed.
_PACE, _LEAST, _REST = 0.25, 0.15, 16


class Drafter(Protocol):
    """Proposes how a text goes on."""

    def propose(self, tokens: Sequence[int], count: int) -> Sequence[int]:
        """Return up to `count` ids that may follow `tokens`; none where it has no idea."""


@dataclass(frozen=True, slots=True)
class PromptLookup:
    """What followed the last tokens when they came last (prompt lookup, Saxena 2023).

    Args:
        longest, shortest: tokens that have to be the same; the longest match goes first.
    """

    longest: int = 4
    shortest: int = 2

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.longest:
            raise UsageError(
                f"prompt lookup compares 1 token or more, and at least as many at most: not "
                f"{self.shortest} to {self.longest}"
            )

    def propose(self, tokens: Sequence[int], count: int) -> Sequence[int]:
        """See `Drafter.propose`; a match that reaches the end of the text goes round."""
        text = array("i", tokens)
        raw, width = text.tobytes(), text.itemsize
        for size in range(min(self.longest, len(text) - 1), self.shortest - 1, -1):
            if (end := _before(raw, raw[-size * width :], width)) is not None:
                period = len(text) - end
                return [text[end + n % period] for n in range(count)]
        return []


@dataclass(frozen=True, slots=True)
class Speculation:
    """How far ahead to guess.

    Args:
        most: tokens of a draft; fewer where fewer were accepted lately.
        busy: with more sequences than this at once nothing is guessed, since a step then has
            work enough for each weight that it reads.
        drafter: who guesses.
    """

    most: int = 8
    busy: int = 4
    drafter: Drafter = field(default_factory=PromptLookup)

    def __post_init__(self) -> None:
        if min(self.most, self.busy) < 1:
            raise UsageError("speculation drafts one token at least, for one sequence at least")

    def ahead(self, sequences: int) -> int:
        """Return the most tokens that are drafted for each of so many at once."""
        return self.most if sequences <= self.busy else 0

    def draft(self, sequence: Running, vocab: int) -> list[int]:
        """Return what may follow a sequence's tokens; [] where a guess would not pay."""
        state = sequence.drafting
        room = sequence.span - len(sequence.tokens) - 1
        if state.quiet > 0:
            state.quiet -= 1
            return []
        count = min(round(self.most * state.trust) or 1, room)
        if count < 1:
            return []
        try:
            proposed = list(self.drafter.propose(sequence.tokens, count))[:count]
        except Exception:  # whoever guesses is no part of the request, which goes on without
            state.quiet = sequence.span
            return []
        wrong = (n for n, id in enumerate(proposed) if type(id) is not int or not 0 <= id < vocab)
        return proposed[: next(wrong, len(proposed))]


USUAL = Speculation()


def judge(state: Drafting, proposed: int, accepted: int) -> None:
    """Take note of how many tokens of a draft were accepted."""
    if not proposed:
        return
    state.proposed += proposed
    state.accepted += accepted
    state.trust += _PACE * (accepted / proposed - state.trust)
    if state.trust < _LEAST:
        state.quiet = _REST


def _before(raw: bytes, end: bytes, width: int) -> int | None:
    """Return the index of the token after the last place, but the end itself, that reads `end`."""
    place = raw.rfind(end, 0, len(raw) - width)
    while place % width and place >= 0:  # found across the border of two numbers
        place = raw.rfind(end, 0, place + len(end) - 1)
    return None if place < 0 else (place + len(end)) // width
