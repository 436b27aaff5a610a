"""Whole jobs, as the command line and the examples call them."""

from puna.jobs.evaluate import check_page, evaluate_file, report_page
from puna.jobs.keys import server_key
from puna.jobs.merge import Merged, merge_adapter
from puna.jobs.tune import Lora, Opened, Tuned, open_base, tune

__all__ = [
    "Lora",
    "Merged",
    "Opened",
    "Tuned",
    "check_page",
    "evaluate_file",
    "merge_adapter",
    "open_base",
    "report_page",
    "server_key",
    "tune",
]
