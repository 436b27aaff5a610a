"""Requests made of ids → completions made of ids: scheduler, KV pages, sampler. Knows no text."""

from puna.engine.engine import Engine
from puna.engine.pages import PAGE, Group, Layout, PagePool, Pages
from puna.engine.request import Completion, Event, Request, Timing, Usage, Watch
from puna.engine.sampling import Sampling
from puna.engine.thread import EngineThread

__all__ = [
    "PAGE",
    "Completion",
    "Engine",
    "EngineThread",
    "Event",
    "Group",
    "Layout",
    "PagePool",
    "Pages",
    "Request",
    "Sampling",
    "Timing",
    "Usage",
    "Watch",
]
