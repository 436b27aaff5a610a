"""Requests made of ids → completions made of ids: scheduler, KV pages, sampler. Knows no text."""

from puna.engine.buffers import buffers_of
from puna.engine.draft import USUAL, Drafter, PromptLookup, Speculation
from puna.engine.draft_model import DraftModel
from puna.engine.engine import Engine
from puna.engine.layout import Group, Layout, Pages, View, arrange, lay_out
from puna.engine.native import STEP_ROWS, tiles_serve
from puna.engine.pages import PAGE, Chunk, PagePool, groups_of, windows_of
from puna.engine.request import Completion, Constraint, Event, Request, Timing, Usage, Watch
from puna.engine.runner import Runner, TorchRunner
from puna.engine.sampling import Sampling
from puna.engine.scheduler import PROMPTS_SHARE
from puna.engine.storage import cache_dtype, columns, value_bytes
from puna.engine.thread import EngineThread

__all__ = [
    "PAGE",
    "PROMPTS_SHARE",
    "STEP_ROWS",
    "USUAL",
    "Chunk",
    "Completion",
    "Constraint",
    "DraftModel",
    "Drafter",
    "Engine",
    "EngineThread",
    "Event",
    "Group",
    "Layout",
    "PagePool",
    "Pages",
    "PromptLookup",
    "Request",
    "Runner",
    "Sampling",
    "Speculation",
    "Timing",
    "TorchRunner",
    "Usage",
    "View",
    "Watch",
    "arrange",
    "buffers_of",
    "cache_dtype",
    "columns",
    "groups_of",
    "lay_out",
    "tiles_serve",
    "value_bytes",
    "windows_of",
]
