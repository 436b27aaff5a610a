"""Every skill and every kind of prose, with its share. To teach cria more, add a module and a row."""

# ruff: noqa: E501 (a template stays on one line)

from __future__ import annotations

from text.core import Prose, Skill
from text.examples import EXAMPLE
from text.facts import FACT, FACT_PROSE
from text.formats import FORMAT
from text.fun import FUN
from text.memory import MEMORY
from text.outside import OUTSIDE
from text.passages import PASSAGE, PASSAGE_PROSE
from text.reviews import REVIEW, REVIEW_PROSE
from text.stories import STORY, STORY_PROSE
from text.sums import SUM
from text.talk import TALK
from text.topics import TOPIC
from text.town import TOWN_PROSE

SKILLS: tuple[Skill, ...] = (
    STORY,
    PASSAGE,
    OUTSIDE,
    REVIEW,
    FORMAT,
    SUM,
    FACT,
    MEMORY,
    EXAMPLE,
    TOPIC,
    TALK,
    FUN,
)
PROSE: tuple[Prose, ...] = (STORY_PROSE, TOWN_PROSE, PASSAGE_PROSE, REVIEW_PROSE, FACT_PROSE)

# Every kind of prose and every skill takes its share; what is left of the chat text, because a
# skill has no more to say or by its share, goes to talks that mix short turns of these skills.
MIXED_SHARE = 0.14
MIXED_SKILLS: tuple[Skill, ...] = (
    TALK, TALK, TALK, FACT, FACT, SUM, SUM, OUTSIDE, OUTSIDE, FORMAT, FORMAT, REVIEW, PASSAGE,
    STORY, FUN, TOPIC,
)  # fmt: skip
