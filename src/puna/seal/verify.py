"""An opened model held against its seal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from puna.errors import SealError
from puna.model import Decoder
from puna.seal.agree import agreement, moved
from puna.seal.axes import axes_of, differences
from puna.seal.bits import bits_of
from puna.seal.digests import SEAL_KEY, changes
from puna.seal.judge import Check, Verdict, judge, judge_effect, judge_stop, worst
from puna.seal.look import with_rows
from puna.seal.record import Seal, Stop
from puna.spec import ModelSpec
from puna.text import TextParts


class Opened(Protocol):
    """What of an opened model is looked at."""

    @property
    def model(self) -> Decoder:
        """The decoder, filled."""

    @property
    def spec(self) -> ModelSpec:
        """Its axes."""

    @property
    def text(self) -> TextParts:
        """Tokenizer, template, special ids."""

    @property
    def adapter(self) -> int | None:
        """The slot of the adapter it was opened with."""

    @property
    def stored(self) -> str:
        """The number format of the file its weights came from."""


@dataclass(frozen=True, slots=True)
class Seals:
    """The seals of an opened model and of its adapter, as far as they have one.

    `own_template` is false where the user put another template in the place of theirs.
    """

    model: Seal | None = None
    adapter: Seal | None = None
    own_template: bool = True


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of holding a model against its seal."""

    name: str
    checks: tuple[Check, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of its checks."""
        return worst(self.checks)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        checks = [asdict(check) for check in self.checks]
        for check in checks:  # JSON has no infinity, which is how far what is no number lies
            figures = check["figures"]
            odd = [k for k, v in figures.items() if isinstance(v, float) and not math.isfinite(v)]
            check["figures"] = {**figures, **dict.fromkeys(odd)}
        return {"name": self.name, "verdict": self.verdict, "checks": checks}

    @property
    def remarks(self) -> tuple[Check, ...]:
        """The checks that do not agree."""
        return tuple(check for check in self.checks if check.verdict != "agrees")

    @property
    def first(self) -> str:
        """The first check that has the worst verdict, in words."""
        check = next(check for check in self.checks if check.verdict == self.verdict)
        return f"{check.name}: {check.said}"

    def insist(self) -> None:
        """See that nothing differs.

        Raises:
            SealError: something differs; with the figures of the first that does.
        """
        if self.verdict == "differs":
            raise SealError(
                f"{self.name} is not what was sealed; {self.first}",
                remedy=f"puna verify {self.name} shows all of it; "
                f"--ignore-key {SEAL_KEY} goes on all the same",
            )


def verify(opened: Opened, seals: Seals, *, name: str) -> Verification:
    """Run the golden prompts of a model, and of its adapter, and hold them against the seals."""
    tuned = None if opened.adapter is None else seals.adapter
    outer = tuned or seals.model
    if outer is None:
        return Verification(name, ())
    # An adapter may bring a template of its own, which the base's seal knows nothing of.
    own = seals.own_template and (opened.adapter is None or tuned is not None)
    checks = [_axes(opened, outer), _ids(opened, outer, chats=own)]
    if seals.model is not None:
        checks.append(_answers(opened, seals.model, None, "base itself" if tuned else "answers"))
    if tuned is not None and opened.adapter is not None:
        checks += _adapter(opened, tuned, opened.adapter)
    return Verification(name, (*checks, *_stop(opened, outer.stop)))


def compare(opened: Opened, seal: Seal, *, name: str, chats: bool = True) -> Verification:
    """Hold a model, with the adapter it was opened with, against what another does."""
    answers = _answers(opened, seal, opened.adapter, "answers")
    return Verification(name, (_axes(opened, seal), _ids(opened, seal, chats=chats), answers))


def check_digests(name: str, then: Mapping[str, str], now: Mapping[str, str]) -> Check:
    """Hold digests of what `name` says against those sealed."""
    found = changes(then, now)
    if not found:
        return Check(name, "agrees", f"all {len(then)} are as they were sealed")
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return Check(name, "differs", ", ".join(found[:5]) + more, {"changed": found})


def _beyond(opened: Opened, seal: Seal) -> str | None:
    """Return why golden prompts cannot be run on a model."""
    largest = max(max(golden.ids) for golden in seal.prompts)
    longest = max(len(golden.ids) for golden in seal.prompts)
    if largest < opened.spec.vocab and longest <= opened.spec.context:
        return None
    return (
        f"cannot be compared: prompts of {longest} ids up to {largest} are beyond a vocabulary of "
        f"{opened.spec.vocab} or a context of {opened.spec.context}"
    )


def _answers(opened: Opened, seal: Seal, adapter: int | None, name: str) -> Check:
    if (why := _beyond(opened, seal)) is not None:
        return Check(name, "differs", why)
    bits = bits_of((seal.dtype, seal.stored, opened.stored, _dtype(opened)))
    return judge(name, agreement(opened.model, seal.prompts, adapter), bits)


def _adapter(opened: Opened, seal: Seal, slot: int) -> list[Check]:
    base = seal.base()
    checks = [_answers(opened, base, None, "base")] if base else []
    if _beyond(opened, seal) is None:
        bare = with_rows(opened.model, seal.prompts, None)
        checks.append(judge_effect(agreement(opened.model, bare, slot)))
    return [*checks, _answers(opened, seal, slot, "answers with it")]


def _axes(opened: Opened, seal: Seal) -> Check:
    found = differences(seal.axes, axes_of(opened.spec, opened.text))
    if not found:
        return Check("architecture", "agrees", "as sealed")
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return Check("architecture", "differs", "; ".join(found[:3]) + more, {"differences": found})


def _ids(opened: Opened, seal: Seal, *, chats: bool) -> Check:
    prompts = [golden for golden in seal.prompts if chats or not golden.messages]
    found = moved(prompts, opened.text, context=opened.spec.context)
    left = len(seal.prompts) - len(prompts)
    aside = f"; {left} chats not looked at, since another template is in use" if left else ""
    if not found:
        said = f"all {len(prompts)} golden prompts have the ids they had{aside}"
        return Check("prompts", "agrees", said, {"changed": []})
    named = "; ".join(f"{one.name}: {one.how}" for one in found[:3])
    said = f"{len(found)} of {len(prompts)} golden prompts have other ids: {named}{aside}"
    return Check("prompts", "differs", said, {"changed": [asdict(one) for one in found]})


def _stop(opened: Opened, stop: Stop | None) -> list[Check]:
    if stop is None:
        return []
    tokenizer = opened.text.tokenizer
    known = tokenizer is not None and stop.id < tokenizer.vocab_size
    piece = tokenizer.piece(stop.id) if tokenizer is not None and known else str(stop.id)
    return [judge_stop(stop.probability, piece, stop.examples)]


def _dtype(opened: Opened) -> str:
    return str(opened.model.dtype).removeprefix("torch.")
