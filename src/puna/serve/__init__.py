"""HTTP as the OpenAI SDK speaks it: chat completions and models, answered by the engine."""

from puna.serve.app import create_app
from puna.serve.run import serve

__all__ = ["create_app", "serve"]
