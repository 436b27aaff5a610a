"""The text of cria: word lists, grammars, and one module per skill.

`registry` is the table of skills; `core` is the grammar engine; everything else is material.
"""

from text.core import Draw, Pool, Prose, Sample, Script, Skill, Turn, articles, forms, sentence_case
from text.registry import MIXED_SHARE, MIXED_SKILLS, PROSE, SKILLS

__all__ = [
    "MIXED_SHARE",
    "MIXED_SKILLS",
    "PROSE",
    "SKILLS",
    "Draw",
    "Pool",
    "Prose",
    "Sample",
    "Script",
    "Skill",
    "Turn",
    "articles",
    "forms",
    "sentence_case",
]
