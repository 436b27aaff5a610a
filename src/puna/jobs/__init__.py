"""Whole jobs, as the command line and the examples call them."""

from puna.jobs.keys import server_key
from puna.jobs.merge import Merged, merge_adapter
from puna.jobs.pages import check_page, report_page
from puna.jobs.quality import Quality, compare_models
from puna.jobs.quantize import Files, Quantized, Watch, quantize_model
from puna.jobs.tune import Lora, Opened, Tuned, check_out, open_base, tune
from puna.jobs.verify import record_seal, verify_model

__all__ = [
    "Files",
    "Lora",
    "Merged",
    "Opened",
    "Quality",
    "Quantized",
    "Tuned",
    "Watch",
    "check_out",
    "check_page",
    "compare_models",
    "merge_adapter",
    "open_base",
    "quantize_model",
    "record_seal",
    "report_page",
    "server_key",
    "tune",
    "verify_model",
]
